"""How what a client sent is written into a line of the access log, so that it can forge neither a field nor a line.

Both forms can be undone: the line determines the bytes that were logged. Escaped values are cached, as the same targets,
agents and addresses come again and again.
"""

from __future__ import annotations

from arun.http.bounded_cache import BoundedCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Escapes = BoundedCache[bytes | str | None, str]

__all__ = ("json_escapes", "text_escapes")

#: How many values are cached, and the longest of them, in bytes: together at most some hundred kilobytes.
_CACHED = 1024
_LONGEST = 256


def _escapes(nothing: str, escaped: Callable[[bytes], str]) -> Escapes:
    """Return a value's escaped form by the value; that of None is ``nothing``."""

    def written(value: bytes | str | None) -> str:
        if value is None:
            return nothing
        return escaped(value.encode("latin-1", "backslashreplace") if isinstance(value, str) else value)

    return BoundedCache(written, entries=_CACHED, longest=_LONGEST)


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").translate(_TEXT)


def _json(raw: bytes) -> str:
    from json.encoder import encode_basestring_ascii

    return encode_basestring_ascii(raw.decode("latin-1"))


#: Apache's and nginx's way: ``\xHH`` for what is not printable ASCII, a backslash before a quote and a backslash.
_TEXT = {byte: rf"\x{byte:02x}" for byte in (*range(0x20), *range(0x7F, 0x100))}
_TEXT |= {ord('"'): r"\"", ord("\\"): r"\\"}


def text_escapes() -> Escapes:
    """Return what writes a value between the quotes of a text line; nothing is written as a dash."""
    return _escapes("-", _text)


def json_escapes() -> Escapes:
    """Return what writes a value as JSON: a string with one character for each byte (latin-1), or null."""
    return _escapes("null", _json)
