"""The header fields of a response, checked once and rendered in one piece (RFC 9112 sections 4 and 5)."""

from __future__ import annotations

import time

from arun.http.bounded_cache import BoundedCache
from arun.http.errors import ResponseInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

__all__ = (
    "CLOSE",
    "DATED",
    "SERVED",
    "SERVER",
    "TOKEN_BYTES",
    "missing_fields",
    "own_fields",
    "read_fields",
    "refusal",
    "status_line",
)

#: The statuses of a refusal after which the client may try again, and in how many seconds (RFC 9110 section 10.2.3).
_RETRY: Final = {503: b"retry-after: 1\r\n"}

_PLAIN: Final = 0
_LENGTH: Final = 8
_CONNECTION: Final = 16
_HOP: Final = 24
_LF: Final = 10
_CR: Final = 13
#: What fields mean for the server itself: the connection ends; the app has set Date, or Server.
CLOSE: Final = 1
DATED: Final = 2
SERVED: Final = 4

#: The characters of a field's name (RFC 9110 section 5.6.2).
TOKEN_BYTES: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Bytes of a header value that is worth caching: short ones come again.
_SHORT: Final = 64
SERVER: Final = b"server: arun\r\n"

_REASONS: Final[dict[object, bytes]] = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    203: b"Non-Authoritative Information",
    204: b"No Content",
    205: b"Reset Content",
    206: b"Partial Content",
    207: b"Multi-Status",
    208: b"Already Reported",
    226: b"IM Used",
    300: b"Multiple Choices",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    305: b"Use Proxy",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    418: b"I'm a Teapot",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    423: b"Locked",
    424: b"Failed Dependency",
    425: b"Too Early",
    426: b"Upgrade Required",
    428: b"Precondition Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    451: b"Unavailable For Legal Reasons",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    506: b"Variant Also Negotiates",
    507: b"Insufficient Storage",
    508: b"Loop Detected",
    511: b"Network Authentication Required",
}

_status_lines: Final[dict[object, bytes]] = {}


def read_fields(
    headers: Iterable[Any],
) -> tuple[bytes, int | None, int]:
    """Check the header fields of an app; those of the framing and the connection stay the server's own.

    A field is a tuple of bytes nearly always, but any pair is one, and of whatever an app takes for bytes.
    Returns the fields as they are sent, the value of Content-Length, which is not among them, and what they mean for
    the server: a sum of CLOSE, DATED and SERVED.

    Raises:
        ResponseInvalid: a name is no token, a value holds CR, LF or NUL, or Content-Length is no single number.
    """
    block, length, flags = b"", None, 0
    for field in headers:
        known = _known_fields.get(field) if type(field) is tuple else None
        if known is None:
            name, value = field
            kind = _kinds[name]
            if kind == _PLAIN:
                known = _line(name, value)
            elif kind == _LENGTH:
                known = _length(value)
            else:
                # Transfer-Encoding and other fields of the connection are ours to set
                if kind == _CONNECTION:
                    flags |= CLOSE * (b"close" in value.lower())
                elif kind != _HOP:
                    flags |= kind
                    block += _line(name, value)
                continue
            if len(value) <= _SHORT:
                _fields.keep((bytes(name), bytes(value)), known)
        if isinstance(known, bytes):
            block += known
        else:
            if length is not None and length != known:
                raise ResponseInvalid(f"{field[1]!r} is not a Content-Length, or not the only one")
            length = known
    return block, length, flags


def status_line(status: object, reason: bytes = b"") -> bytes:
    """Return the first line of a response; without a reason the registered one is taken.

    Raises:
        ResponseInvalid: the status is no final status, or the reason holds control characters.
    """
    if not reason:
        known = _status_lines.get(status)
        if known is not None:
            return known
    if not isinstance(status, int) or not 200 <= status <= 999:  # noqa: PLR2004 - RFC 9110 section 15
        raise ResponseInvalid(f"{status!r} is not the status of a response")
    if not reason:
        line = _status_lines[status] = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))
        return line
    if any(byte in reason for byte in (b"\r", b"\n", b"\0")):
        raise ResponseInvalid("the reason phrase holds CR, LF or NUL")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def refusal(status: int, fields: bytes) -> tuple[bytes, int]:
    """Return a whole response that refuses a request and ends its connection, and the size of its body.

    ``fields`` are further lines of the head.
    """
    line = status_line(status)
    body = line.rstrip().partition(b" ")[2][4:] + b"\n"
    head = b"%b%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (line, fields, _RETRY.get(status, b""), len(body)) + body, len(body)


def own_fields(server: bool, date: bool) -> bytes:  # noqa: FBT001 - options of the same names
    """Return the fields Server and Date that every response has (RFC 9110 sections 6.6.1 and 10.2.4)."""
    return (SERVER if server else b"") + (date_field(int(time.time())) if date else b"")


def missing_fields(own: bytes, flags: int) -> bytes:
    """Return those of the fields Server and Date that the app has not set itself."""
    server = SERVER if own.startswith(SERVER) else b""
    date = own[len(server) :]
    return (b"" if flags & SERVED else server) + (b"" if flags & DATED else date)


def date_field(seconds: int) -> bytes:
    """Return the field Date for a time in seconds since the epoch, whatever the locale."""
    year, month, day, hour, minute, second, weekday = time.gmtime(seconds)[:7]
    day_name = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[weekday]
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"date: {day_name}, {day:02} {names[month - 1]} {year} {clock} GMT\r\n".encode()


def _line(name: Any, value: Any) -> bytes:
    """Check a field that is not in the cache, and return it as it is sent."""
    if _LF in value or _CR in value or 0 in value:  # RFC 9110 section 5.5
        raise ResponseInvalid("a header value holds CR, LF or NUL")
    return b"%b: %b\r\n" % (name, value)


def _kind_of(name: Any) -> int:
    """Classify the name of a field."""
    if not name or name.translate(None, TOKEN_BYTES):
        raise ResponseInvalid(f"{name!r} is not a header name")
    return {
        b"content-length": _LENGTH,
        b"transfer-encoding": _HOP,
        b"connection": _CONNECTION,
        b"date": DATED,
        b"server": SERVED,
        b"keep-alive": _HOP,
        b"proxy-connection": _HOP,
    }.get(name.lower(), _PLAIN)


def _length(value: Any) -> int:
    if not value.isdigit():
        raise ResponseInvalid(f"{value!r} is not a Content-Length, or not the only one")
    return int(value)


_kinds: Final[BoundedCache[bytes, int]] = BoundedCache(_kind_of)
#: Fields that were checked before: plain ones as they are sent, lengths as numbers.
_fields: Final[BoundedCache[tuple[bytes, bytes], bytes | int]] = BoundedCache(lambda field: _line(*field))
_known_fields: Final = _fields.known
