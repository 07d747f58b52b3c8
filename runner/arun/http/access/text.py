"""Lines of text: the values of a format, and what each of them follows from."""

from __future__ import annotations

import os
from time import localtime

from arun.http.access.escapes import text_escapes
from arun.http.access.line import Clock, field
from arun.http.access.parts import BY_CLIENT, BY_FIELDS, BY_REQUEST, FRESH, LineLog, Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arun.core.access_format import Atom
    from arun.http.access.escapes import Escapes
    from arun.http.access.line import AccessLog, Entry

__all__ = ("text_log",)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NOTHING = "-"
_AUTHORIZATION = b"authorization"
_FIELDS = {"referer": b"referer", "user_agent": b"user-agent", "host": b"host", "traceparent": b"traceparent"}
#: Fields that many requests have in common, and that are no secret: texts with these are kept.
_COMMON = frozenset((b"referer", b"user-agent", b"host"))


def text_log(pieces: Iterable[str | Atom], write: Callable[[str], None]) -> AccessLog:
    """Return what writes a line, with its end, of each request."""
    clock, escaped = Clock(_local_time), text_escapes()
    values = _values(escaped, clock)
    found = [piece if isinstance(piece, str) else _piece(piece, values, escaped) for piece in pieces]
    return LineLog(found, clock, write)


def _piece(atom: Atom, values: dict[str, str | Piece], escaped: Escapes) -> str | Piece:
    """Return an atom as a value of the line, or as its text where that never changes."""
    if atom.value == "environment":
        value = os.environ.get(atom.name)
        return escaped[None if value is None else os.fsencode(value)]
    if atom.value == "answer_field":
        sought = atom.name.lower().encode()
        return Piece(lambda entry: escaped[field(entry.response_fields, sought)], needs_response_fields=True)
    name = atom.name.lower().encode() if atom.value == "request_field" else _FIELDS.get(atom.value)
    if name is None:
        return values[atom.value]
    follows = BY_FIELDS if name in _COMMON else FRESH
    return Piece(lambda entry: escaped[field(entry.request_fields, name)], follows, field=name)


def _values(escaped: Escapes, clock: Clock) -> dict[str, str | Piece]:
    """Return the values that are no header fields, by the names of their atoms."""
    return {
        "client": Piece(lambda entry: escaped[entry.client], BY_CLIENT),
        "ident": _NOTHING,
        "user": Piece(
            lambda entry: _user(escaped, field(entry.request_fields, _AUTHORIZATION)), BY_CLIENT, unless=_AUTHORIZATION
        ),
        "time": Piece(lambda _: clock.text, BY_CLIENT),
        "request": Piece(lambda entry: _request_line(escaped, entry), BY_REQUEST),
        "method": Piece(lambda entry: escaped[entry.method or None], BY_REQUEST),
        "path": Piece(lambda entry: escaped[entry.target.partition(b"?")[0]], BY_REQUEST),
        "query": Piece(lambda entry: escaped[entry.target.partition(b"?")[2]], BY_REQUEST),
        "marked_query": Piece(lambda entry: escaped[_marked_query(entry.target)], BY_REQUEST),
        "protocol": Piece(lambda entry: f"HTTP/{entry.version}", BY_REQUEST),
        "status": Piece(lambda entry: str(entry.status or _NOTHING), BY_REQUEST),
        "size": Piece(lambda entry: str(entry.sent), BY_REQUEST),
        "size_or_dash": Piece(lambda entry: str(entry.sent or _NOTHING), BY_REQUEST),
        "scheme": Piece(lambda entry: escaped[entry.scheme], BY_REQUEST),
        "seconds": Piece(lambda entry: str(int(entry.seconds)), needs_seconds=True),
        "milliseconds": Piece(lambda entry: str(int(entry.seconds * 1000)), needs_seconds=True),
        "microseconds": Piece(lambda entry: str(int(entry.seconds * 1000000)), needs_seconds=True),
        "decimal_seconds": Piece(lambda entry: f"{entry.seconds:.6f}", needs_seconds=True),
        "process": f"<{os.getpid()}>",
        "process_number": str(os.getpid()),
        "request_id": Piece(lambda entry: escaped[entry.request_id]),
    }


def _request_line(escaped: Escapes, entry: Entry) -> str:
    return f"{escaped[entry.method]} {escaped[entry.target]} HTTP/{entry.version}" if entry.method else _NOTHING


def _marked_query(target: bytes) -> bytes:
    _, mark, query = target.partition(b"?")
    return mark + query


def _user(escaped: Escapes, authorization: bytes | None) -> str:
    """Return the user that Basic credentials name (RFC 7617), as it is written; the password is never looked at."""
    if authorization is None or authorization[:6].lower() != b"basic ":
        return _NOTHING
    from binascii import Error, a2b_base64

    try:
        return escaped[a2b_base64(authorization[6:]).partition(b":")[0] or None].replace(" ", r"\x20")
    except Error:
        return _NOTHING


def _local_time(second: int) -> str:
    """Return the local time as Apache writes it, ``[24/Nov/2026:20:42:40 +0000]``."""
    now = localtime(second)
    sign, minutes = "-" if now.tm_gmtoff < 0 else "+", abs(now.tm_gmtoff) // 60
    day = f"{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"[{day}:{clock} {sign}{minutes // 60:02}{minutes % 60:02}]"
