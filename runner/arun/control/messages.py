"""One request and one response of HTTP/1.1 as values: read strictly (RFC 9112), written with a length and closed after it."""

from __future__ import annotations

from arun.core.values import Value

__all__ = ("LONGEST_BODY", "LONGEST_HEAD", "TEXT", "Malformed", "Request", "Response", "encoded", "read_head")

#: Bytes of a head, and of a body: a request here is a path, or a text for a page.
LONGEST_HEAD, LONGEST_BODY = 8192, 65_536
TEXT, JSON = "text/plain; charset=utf-8", "application/json"

_END = b"\r\n\r\n"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Malformed(Exception):  # noqa: N818 - it is a message that is so
    """A request that gets this status, whatever else it says."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Request(Value):
    """One request; field names are in lower case, and of a field that is repeated the last value counts."""

    method: str
    path: str
    fields: dict[str, str]
    body: bytes = b""

    def prefers_json(self) -> bool:
        """Return whether the client asks for JSON, and not for text before it."""
        accept = self.fields.get("accept", "").lower()
        json, text = accept.find("application/json"), accept.find("text/plain")
        return json >= 0 and (text < 0 or json < text)


class Response(Value):
    """One response; ``fields`` are beside those that every response has."""

    status: int
    body: bytes
    kind: str = TEXT
    fields: tuple[tuple[str, str], ...] = ()

    @classmethod
    def line(cls, status: int, text: str, *fields: tuple[str, str]) -> Response:
        """Return a response of one line of text."""
        return cls(status, f"{text}\n".encode(errors="replace"), TEXT, fields)


def read_head(data: bytes, longest_body: int) -> tuple[Request, int, int] | None:
    """Return the request with which the bytes begin, without its body, and where that begins and ends.

    None while the head is incomplete. A body may have ``longest_body`` bytes.

    Raises:
        Malformed: it is none, or longer than it may be.
    """
    end = data.find(_END)
    if end < 0:
        if len(data) > LONGEST_HEAD:
            raise Malformed(431, "the head of the request is too long")
        if data and data[0] not in _TOKEN:
            raise Malformed(400, "this is no request of HTTP")
        return None
    if end > LONGEST_HEAD:
        raise Malformed(431, "the head of the request is too long")
    first, *lines = data[:end].split(b"\r\n")
    method, path = _request_line(first)
    fields: dict[str, str] = {}
    for line in lines:
        name, value = _field(line)
        if name == "content-length" and fields.get(name, value) != value:
            raise Malformed(400, "two lengths")
        fields[name] = value
    if "transfer-encoding" in fields:
        raise Malformed(501, "a request here has a Content-Length, or no body")
    length = fields.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise Malformed(400, "Content-Length is no number")
    if len(length) > len(str(LONGEST_BODY)) or int(length) > longest_body:
        raise Malformed(413, f"a body has {longest_body} bytes at most")
    begins = end + len(_END)
    return Request(method, path, fields), begins, begins + int(length)


def _request_line(line: bytes) -> tuple[str, str]:
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or not _TOKEN.issuperset(parts[0]):  # noqa: PLR2004 - method, target, version
        raise Malformed(400, "this is no request of HTTP")
    method, target, version = parts
    if not version.startswith(b"HTTP/"):
        raise Malformed(400, "this is no request of HTTP")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise Malformed(505, "this speaks HTTP/1")
    if not target.startswith(b"/") or any(byte <= 32 or byte >= 127 for byte in target):  # noqa: PLR2004 - printable ASCII
        raise Malformed(400, "the target is no path")
    return method.decode(), target.partition(b"?")[0].decode()


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not name or not _TOKEN.issuperset(name):
        raise Malformed(400, "a header field is malformed")
    value = value.strip(b" \t")
    if any(byte < 32 and byte != 9 for byte in value):  # noqa: PLR2004 - control characters but the tab
        raise Malformed(400, "a header field holds control characters")
    return name.decode().lower(), value.decode("latin-1")


def encoded(response: Response, *, has_body: bool = True) -> bytes:
    """Return the response as bytes, without its body for HEAD."""
    reason = _REASONS.get(response.status, "")
    fields = (
        ("content-type", response.kind),
        ("content-length", str(len(response.body))),
        ("cache-control", "no-store"),
        ("connection", "close"),
        *response.fields,
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {response.status} {reason}\r\n{head}\r\n".encode("latin-1", "replace") + (
        response.body if has_body else b""
    )
