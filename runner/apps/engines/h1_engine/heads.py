"""The head of an answer (RFC 9112 section 4 and 6): judged first, then rendered in one piece."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("AnswerInvalid", "Fields", "read_fields", "server_fields", "status_line")

_PLAIN, _LENGTH, _CODING, _CONNECTION, _DATE, _SERVER, _HOP = range(7)

_TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_REMEMBERED = 512

_REASONS: dict[object, bytes] = {
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

_kinds: dict[bytes, int] = {}
_status_lines: dict[object, bytes] = {}
_server_fields: tuple[int, bytes] = (0, b"")


class AnswerInvalid(RuntimeError):  # noqa: N818 - said of an answer, to the app that gave it
    """The app's answer breaks HTTP or the protocol between server and app."""


class Fields:
    """The header fields of an answer, judged: the bytes to send and what they say about framing."""

    __slots__ = ("block", "close", "dated", "length", "served")

    block: bytes
    length: int | None
    close: bool
    dated: bool
    served: bool


def read_fields(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Judge the header fields an app gives; the framing of the message and the connection stay the server's.

    Raises:
        AnswerInvalid: a name is no token, a value holds CR, LF or NUL, or Content-Length is no single number.
    """
    fields = Fields()
    fields.length, fields.close, fields.dated, fields.served = None, False, False, False
    lines = []
    for name, value in headers:
        kind = _kinds.get(name)
        if kind is None:
            kind = _kind_of(name)
        if kind == _PLAIN or _keep(fields, kind, value):
            lines.append(b"%b: %b\r\n" % (name, value))
    fields.block = block = b"".join(lines)
    count = len(lines)
    # One look at the whole block instead of three at each value (RFC 9110 section 5.5).
    if block.count(b"\n") != count or block.count(b"\r") != count or b"\0" in block:
        raise AnswerInvalid("a header value holds CR, LF or NUL")
    return fields


def status_line(status: object, reason: bytes = b"") -> bytes:
    """Return the first line of an answer; without a reason the registered one is taken.

    Raises:
        AnswerInvalid: the status is no final status, or the reason holds control characters.
    """
    if not reason:
        known = _status_lines.get(status)
        if known is not None:
            return known
    if not isinstance(status, int) or not 200 <= status <= 999:  # noqa: PLR2004 - RFC 9110 section 15
        raise AnswerInvalid(f"{status!r} is not the status of an answer")
    if not reason:
        line = _status_lines[status] = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))
        return line
    if any(byte in reason for byte in (b"\r", b"\n", b"\0")):
        raise AnswerInvalid("the reason phrase holds CR, LF or NUL")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def server_fields() -> bytes:
    """Return the fields Server and Date, the date computed once a second (RFC 9110 section 6.6.1)."""
    global _server_fields  # noqa: PLW0603 - one clock for all engines of the process
    now = int(time.time())
    if now != _server_fields[0]:
        _server_fields = (now, b"server: arun\r\n" + date_field(now))
    return _server_fields[1]


def date_field(seconds: int) -> bytes:
    """Return the field Date for a time in seconds since the epoch, whatever the locale."""
    year, month, day, hour, minute, second, weekday = time.gmtime(seconds)[:7]
    day_name = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[weekday]
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"date: {day_name}, {day:02} {names[month - 1]} {year} {clock} GMT\r\n".encode()


def _kind_of(name: bytes) -> int:
    """Classify a name that was not seen before; only valid names are remembered."""
    if not name or name.translate(None, _TOKEN_BYTES):
        raise AnswerInvalid(f"{name!r} is not a header name")
    kind = {
        b"content-length": _LENGTH,
        b"transfer-encoding": _CODING,
        b"connection": _CONNECTION,
        b"date": _DATE,
        b"server": _SERVER,
        b"keep-alive": _HOP,
        b"proxy-connection": _HOP,
    }.get(name.lower(), _PLAIN)
    if len(_kinds) >= _REMEMBERED:
        _kinds.clear()
    _kinds[bytes(name)] = kind
    return kind


def _keep(fields: Fields, kind: int, value: bytes) -> bool:
    """Note what a field of a special kind says, and say whether the field itself is sent."""
    if kind == _LENGTH:
        if not value.isdigit() or fields.length not in {None, int(value)}:
            raise AnswerInvalid(f"{value!r} is not a Content-Length, or not the only one")
        fields.length = int(value)
    elif kind == _CONNECTION:
        fields.close = fields.close or b"close" in value.lower()
    elif kind == _DATE:
        fields.dated = True
        return True
    elif kind == _SERVER:
        fields.served = True
        return True
    return False  # Transfer-Encoding and other fields of the connection are ours to set
