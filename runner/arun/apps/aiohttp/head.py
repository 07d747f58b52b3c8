"""The head of a response as aiohttp gives it, judged and rendered (RFC 9110 sections 5.1, 8.6 and 15)."""

from __future__ import annotations

import re

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from arun.http.bounded_cache import BoundedCache
from arun.http.fields import CLOSE, DATED, SERVED, TOKEN_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fields = tuple[tuple[str, str], ...]
    Head = tuple[bytes, int | None, int]
    PlainHead = tuple[int, bytes, bytes]

__all__ = ("Heads", "first_lines", "plain_head", "plain_heads")

_PLAIN, _LENGTH, _CONNECTION, _HOP, _DATE, _SERVER = range(6)
#: The fields Server and Date are aiohttp's to set, and the app's to take out.
_OWN = DATED | SERVED
#: What neither a field nor a reason phrase may hold.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Characters of a value that is worth remembering: short ones come again.
_SHORT = 64
#: Bytes of the lines of a head that is worth it.
_REMEMBERED = 1024
_DIGITS = 3
_FINAL = 200
_BODILESS = frozenset((204, 304))


class Heads:
    """Reads heads for one server, and remembers what comes again: responses of one kind in one second are alike.

    ``server`` and ``date`` say whether responses tell the name of the server and the time.
    """

    __slots__ = ("_date", "_lines", "_server", "known")

    def __init__(self, *, server: bool, date: bool) -> None:
        self._date = date
        self._server = b"Server: arun\r\n" if server else b""
        self._lines: BoundedCache[tuple[str, str], bytes] = BoundedCache(lambda field: _line(*field))
        #: What ``read`` has returned for fields before.
        self.known: BoundedCache[Fields, Head] = BoundedCache(self._judge)

    def read(self, fields: Fields) -> Head:
        """Return the fields of a response as an exchange keeps them: the lines, Content-Length, and what they say.

        What the app has taken out of its fields, or put in, stays so: the server adds neither its name nor the time.

        Raises:
            ValueError: a name is no token, a length no number, or there is a control character.
        """
        head = self._judge(fields)
        if len(head[0]) <= _REMEMBERED:
            self.known.keep(fields, head)
        return head

    def _judge(self, fields: Fields) -> Head:
        known = self._lines.get
        block, length, flags = b"", None, _OWN
        for field in fields:
            line = known(field)
            if line is not None:
                block += line
                continue
            name, value = field
            kind = _kinds[name]
            if kind == _LENGTH:
                if length is not None and length != _lengths[value]:
                    raise ValueError(f"{value!r} is not the only Content-Length")
                length = _lengths[value]
            elif kind == _CONNECTION:
                flags |= CLOSE * ("close" in value.lower())
            elif kind != _HOP:
                block += self._judged_line(field, kind)
        return block, length, flags

    def _judged_line(self, field: tuple[str, str], kind: int) -> bytes:
        """Return the line of a field that was not seen before."""
        name, value = field
        if kind == _SERVER and value == SERVER_SOFTWARE:  # aiohttp's own; what the app sets itself stays
            line = self._server
        elif kind == _DATE and not self._date and value == rfc822_formatted_time():
            return b""
        else:
            line = _line(name, value)
        if len(value) <= _SHORT:
            self._lines.keep(field, line)
        return line


def _line(name: str, value: str) -> bytes:
    if _CONTROLS.search(value):
        raise ValueError(f"the field {name} holds a control character")
    return f"{name}: {value}\r\n".encode()


def _kind(name: str) -> int:
    """Classify the name of a field.

    Raises:
        ValueError: it is no token (RFC 9110 section 5.6.2).
    """
    if not name or not name.isascii() or name.encode().translate(None, TOKEN_BYTES):
        raise ValueError(f"{name!r} is not a header name")
    return {
        "content-length": _LENGTH,
        "connection": _CONNECTION,
        "transfer-encoding": _HOP,
        "keep-alive": _HOP,
        "proxy-connection": _HOP,
        "date": _DATE,
        "server": _SERVER,
    }.get(name.lower(), _PLAIN)


def _status_line(text: str) -> tuple[int, bytes]:
    _, status, reason = text.split(" ", 2)
    if len(status) != _DIGITS or not status.isdigit() or status < "100" or _CONTROLS.search(reason):
        raise ValueError(f"{status} {reason!r} is not the status of a response")
    return int(status), f"HTTP/1.1 {status} {reason}\r\n".encode()


def _length(value: str) -> int:
    """Return the number that a Content-Length holds (RFC 9110 section 8.6).

    Raises:
        ValueError: it is none.
    """
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} is not a Content-Length")
    return int(value)


def plain_head(key: tuple[Any, ...]) -> PlainHead:
    """Return status, first line and fields of a response by ``(status, reason, *fields)``; a status of 0 where aiohttp has to add to it.

    Raises:
        ValueError: a name is no token, or there is a control character.
    """
    status, reason, fields = key[0], key[1], key[2:]
    has_type, block = False, b""
    for name, value in fields:
        if _kinds[name] != _PLAIN:
            return 0, b"", b""
        has_type = has_type or name.lower() == "content-type"
        block += _line(name, value)
    if not has_type or status < _FINAL or status in _BODILESS:
        return 0, b"", b""
    status, line = _status_line(f"HTTP/1.1 {status} {reason}")
    if len(block) <= _REMEMBERED:
        plain_heads.keep(key, (status, line, block))
    return status, line, block


_kinds: BoundedCache[str, int] = BoundedCache(_kind)
_lengths: BoundedCache[str, int] = BoundedCache(_length)
#: The status, and the first line of a response as it is sent, for one as aiohttp gives it.
first_lines: BoundedCache[str, tuple[int, bytes]] = BoundedCache(_status_line)
#: What ``plain_head`` has returned before.
plain_heads: BoundedCache[tuple[Any, ...], PlainHead] = BoundedCache(plain_head)
