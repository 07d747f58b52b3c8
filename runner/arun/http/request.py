"""One request as its head describes it, checked against RFC 9112 and the limits of the instance."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from arun.http.options import HttpOptions

__all__ = ("ESCAPE", "NOTED", "Request", "RootPath", "has_connection", "split_target", "unquoted", "valid_host")

#: The fields that the server itself reads, or httptools does.
NOTED: Final = frozenset(
    (
        b"host",
        b"connection",
        b"proxy-connection",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"forwarded",
    )
)
#: What a percent escape, a fragment and a query begin with. "in" takes a number at once; of bytes it first tries to make one, and
#: builds the error of that: ten times the cost, for each request.
ESCAPE: Final = 0x25
FRAGMENT: Final = 0x23
QUERY: Final = 0x3F

_HOST_BYTES: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+;="
_HEX: Final = b"0123456789abcdefABCDEF"
_LITERAL_BYTES: Final = _HEX + b":."
_DIGITS: Final = 2


class Request:
    """The head of one request, as it was sent; ``validate`` fills in what it means.

    Slots with values from the start: a read of one costs a tenth of a look at a default on the class.
    """

    __slots__ = (
        "_coding",
        "_hosts",
        "expects",
        "forwarded",
        "forwarded_for",
        "forwarded_proto",
        "headers",
        "host",
        "keep_alive",
        "length",
        "method",
        "path",
        "query",
        "size",
        "target",
        "upgrades",
        "version",
        "was_forwarded",
    )

    def __init__(
        self,
        method: str,
        version: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        keep_alive: bool,  # noqa: FBT001 - see above
    ) -> None:
        self.method = method
        self.version = version
        self.target = self.path = target
        self.query = b""
        self.headers = headers
        self.keep_alive = keep_alive
        #: The client waits for ``100 Continue`` before it sends the body (RFC 9110 section 10.1.1).
        self.expects = False
        #: The app takes the connection over after this request (RFC 9110 section 7.8).
        self.upgrades = False
        self.length: int | None = None
        #: Bytes of the head and of what came in the same piece.
        self.size = 0
        #: Whether there are forwarding headers, of a proxy or of a client that poses as one, and their values.
        self.was_forwarded = False
        self.forwarded: bytes | None = None
        self.forwarded_for: bytes | None = None
        self.forwarded_proto: bytes | None = None
        #: The Host field, valid once :meth:`validate` has returned 0.
        self.host: bytes | None = None
        self._hosts = 0
        self._coding: bytes | None = None

    def asks_for(self, protocol: bytes) -> bool:
        """Return whether this is an upgrade to a protocol that begins with a GET, as that of WebSocket does."""
        if self.method != "GET" or self.version != "1.1":
            return False
        protocols = b",".join(value for name, value in self.headers if name == b"upgrade")
        return protocol in (token.strip(b" \t") for token in protocols.lower().split(b","))

    @property
    def framing(self) -> bytes:
        """The field that frames the body; empty if there is no body."""
        if self._coding is not None:
            return b"transfer-encoding: chunked"
        return b"content-length: %d" % self.length if self.length else b""

    def validate(self, noted: list[tuple[bytes, bytes]], known_host: bytes | None) -> int:
        """Read the fields that matter to a server; return 0, or the status with which the request is refused.

        ``noted`` are the header fields in NOTED, ``known_host`` is a Host that this connection has sent before, so that it needs
        no check.
        """
        for name, value in noted:
            if name == b"host":
                self.host = value
                self._hosts += 1
            else:
                self._note(name, value)
        target = self.target
        if (
            self.version == "1.1"
            and self._hosts == 1
            and self._coding is None
            and self.method != "CONNECT"
            and (self.host == known_host or valid_host(self.host or b""))
        ):
            if target[:1] == b"/" and FRAGMENT not in target:
                if QUERY in target:
                    self.path, _, self.query = target.partition(b"?")
                return 0
            return self._validate_target()
        return self._validate_oddity() or self._validate_target()

    def exceeds(self, limits: HttpOptions, size: int) -> int:
        """Return 0, or the status for a head of ``size`` bytes that is longer than it may be, or a body that will be."""
        if 0 < limits.limit_request_line < len(self.method) + len(self.target) + 10:  # two spaces and the version
            return 414
        if 0 < limits.limit_request_fields < len(self.headers):
            return 431
        if (
            size > limits.limit_request_head and self._head_size() > limits.limit_request_head
        ):  # a body may have come with it
            return 431
        largest = limits.limit_request_field_size
        if 0 < largest < size and any(len(name) + len(value) > largest for name, value in self.headers):
            return 431
        if self.length is not None and 0 < limits.limit_request_body < self.length:
            return 413
        return 0

    def _head_size(self) -> int:
        return len(self.target) + sum(len(name) + len(value) for name, value in self.headers)

    def _note(self, name: bytes, value: bytes) -> None:
        """Keep a field that the server itself acts on."""
        if name == b"content-length":
            self.length = int(value)  # the parser took digits only
        elif name == b"transfer-encoding":
            self._coding = value if self._coding is None else self._coding + b", " + value
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name == b"x-forwarded-for":
            self.forwarded_for = value if self.forwarded_for is None else self.forwarded_for + b"," + value
            self.was_forwarded = True
        elif name == b"x-forwarded-proto":
            self.forwarded_proto = value
            self.was_forwarded = True
        elif name == b"forwarded":
            self.forwarded = value if self.forwarded is None else self.forwarded + b"," + value
            self.was_forwarded = True

    def _validate_oddity(self) -> int:
        """Check what is not plain: another version, a coding, no Host or several."""
        version = self.version
        if version != "1.1":
            if version != "1.0":
                return 505
            if self._coding is not None:
                return 400  # RFC 9112 section 6.1: the framing of such a message is faulty
            self.expects = False
            self.keep_alive = self.keep_alive and not self._says_close()  # the parser looks for keep-alive only
        if self.method == "CONNECT":
            return 501
        if self._coding is not None and self._coding.lower() != b"chunked":
            return 501
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            return 400  # RFC 9112 section 3.2
        if self._hosts and not valid_host(self.host or b""):
            return 400
        return 0

    def _says_close(self) -> bool:
        options = b",".join(value for name, value in self.headers if name == b"connection")
        return b"close" in (word.strip(b" \t").lower() for word in options.split(b","))

    def _validate_target(self) -> int:
        try:
            self.path, self.query, authority = split_target(self.target)
        except ValueError:
            return 400
        if self.path.startswith(b"*") and (self.path != b"*" or self.method != "OPTIONS"):
            return 400
        if authority is not None:  # it replaces Host (RFC 9112 section 3.2.2)
            kept = [field for field in self.headers if field[0] != b"host"]
            self.headers[:] = [(b"host", authority), *kept]
        return 0


class RootPath:
    """The path under which a proxy shows the app (``root_path``)."""

    def __init__(self, path: str) -> None:
        #: As bytes, and in the escapes in which a client would send it.
        self._plain = self._quoted = path.encode()
        if path:
            from urllib.parse import quote

            self._quoted = quote(path, safe="/!$&'()*+,:;=@~").encode()

    def mounted(self, path: bytes) -> bytes:
        """Return the path of a request below the root, whether or not the proxy in front takes that prefix away."""
        root = self._plain
        if not root or not path.startswith(b"/"):
            return path
        plain = unquoted(path)
        return path if plain == root or plain.startswith(root + b"/") else self._quoted + path


def has_connection(fields: list[tuple[bytes, bytes]]) -> bool:
    """Return whether options of the connection are among the fields."""
    for name, _ in fields:  # noqa: SIM110 - a generator costs more than the fields
        if name == b"connection" or name == b"proxy-connection":  # noqa: PLR1714 - so does a set
            return True
    return False


def split_target(target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Split a request target into its path as it was sent, its query, and its authority (absolute-form only).

    Raises:
        ValueError: a fragment, or an absolute form that is not of http or names no valid host.
    """
    if FRAGMENT in target:
        raise ValueError("a request target has no fragment")
    authority = None
    if not target.startswith((b"/", b"*")):
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() not in {b"http", b"https"}:
            raise ValueError("neither a path nor a URL of http")
        end = min(place for place in (rest.find(b"/"), rest.find(b"?"), len(rest)) if place >= 0)
        authority, target = rest[:end], rest[end:]
        if not authority or not valid_host(authority):
            raise ValueError("the URL names no valid host")
    path, _, query = target.partition(b"?")
    return path or b"/", query, authority


def valid_host(value: bytes) -> bool:
    """Return whether a Host field holds ``host [":" port]`` or nothing (RFC 3986 section 3.2)."""
    if value.startswith(b"["):
        literal, bracket, port = value[1:].partition(b"]")
        if not bracket or not literal or literal.translate(None, _LITERAL_BYTES):
            return False
        return not port or (port.startswith(b":") and _is_port(port[1:]))
    host, colon, port = value.partition(b":")
    if host.translate(None, _HOST_BYTES) or (ESCAPE in host and not _escapes_are_whole(host)):
        return False
    return not colon or (bool(host) and _is_port(port))


def unquoted(path: bytes) -> bytes:
    """Return a path with its percent escapes decoded; other percent signs stay."""
    if ESCAPE not in path:
        return path
    first, *rest = path.split(b"%")
    decoded = [first]
    for part in rest:
        digits = part[:_DIGITS]
        try:
            if len(digits) != _DIGITS or not digits.isalnum():
                raise ValueError  # noqa: TRY301 - int() takes more than two hexadecimal digits: signs, spaces, _
            decoded += (bytes((int(digits, 16),)), part[_DIGITS:])
        except ValueError:
            decoded += (b"%", part)
    return b"".join(decoded)


def _escapes_are_whole(text: bytes) -> bool:
    return all(len(part) >= _DIGITS and not part[:_DIGITS].translate(None, _HEX) for part in text.split(b"%")[1:])


def _is_port(text: bytes) -> bool:
    return not text or (text.isdigit() and len(text) <= 5 and int(text) <= 65_535)  # noqa: PLR2004 - a TCP port
