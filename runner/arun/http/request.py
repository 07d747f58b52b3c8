"""One request as its head tells it, judged by the rules of RFC 9112 and by the limits of the instance."""

from __future__ import annotations

from arun.http.targets import FRAGMENT, split_target, valid_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.http.limits import Limits

__all__ = ("Request",)

#: The fields that a server itself must look at.
_NOTED = frozenset(
    (b"content-length", b"transfer-encoding", b"expect", b"x-forwarded-for", b"x-forwarded-proto", b"forwarded")
)


class Request:
    """The head of one request, as it was sent; ``judge`` fills in what it means.

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
        "target",
        "version",
        "was_forwarded",
    )

    def __init__(
        self, method: str, version: str, target: bytes, headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> None:
        self.method = method
        self.version = version
        self.target = self.path = target
        self.query = b""
        self.headers = headers
        self.keep_alive = keep_alive
        #: The client waits for ``100 Continue`` before it sends the body (RFC 9110 section 10.1.1).
        self.expects = False
        self.length: int | None = None
        #: Whether a proxy, or somebody who wants to pass for one, has said whose request it is, and in which words.
        self.was_forwarded = False
        self.forwarded: bytes | None = None
        self.forwarded_for: bytes | None = None
        self.forwarded_proto: bytes | None = None
        #: The Host field, valid once :meth:`judge` has returned 0.
        self.host: bytes | None = None
        self._hosts = 0
        self._coding: bytes | None = None

    def asks_for(self, protocol: bytes) -> bool:
        """Say whether this is an upgrade to a protocol that begins with a GET, as that of WebSocket does."""
        if self.method != "GET" or self.version != "1.1":
            return False
        asked = b",".join(value for name, value in self.headers if name == b"upgrade")
        return protocol in (token.strip(b" \t") for token in asked.lower().split(b","))

    @property
    def framing(self) -> bytes:
        """The field that frames the body; empty if there is no body."""
        if self._coding is not None:
            return b"transfer-encoding: chunked"
        return b"content-length: %d" % self.length if self.length else b""

    def judge(self, known_host: bytes | None) -> int:
        """Read the fields that matter to a server, and return 0 or the status with which the request is refused.

        ``known_host`` is a Host that this connection has sent before and that need not be looked at again.
        """
        for name, value in self.headers:
            if name == b"host":
                self.host = value
                self._hosts += 1
            elif name in _NOTED:
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
                self.path, _, self.query = target.partition(b"?")
                return 0
            return self._judge_target()
        return self._judge_oddity() or self._judge_target()

    def exceeds(self, limits: Limits, size: int) -> int:
        """Return 0, or the status for a head of ``size`` bytes that is longer than it may be, or a body that will be."""
        if 0 < limits.request_line < len(self.method) + len(self.target) + 10:  # two spaces and the version
            return 414
        if 0 < limits.request_fields < len(self.headers):
            return 431
        if size > limits.request_head and self._head_size() > limits.request_head:  # a body may have come with it
            return 431
        largest = limits.request_field_size
        if 0 < largest < size and any(len(name) + len(value) > largest for name, value in self.headers):
            return 431
        if self.length is not None and 0 < limits.request_body < self.length:
            return 413
        return 0

    def _head_size(self) -> int:
        return len(self.target) + sum(len(name) + len(value) for name, value in self.headers)

    def _note(self, name: bytes, value: bytes) -> None:
        """Remember a field that the server itself acts on."""
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

    def _judge_oddity(self) -> int:
        """Judge what is not plain: another version, a coding, no Host or several."""
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
        said = b",".join(value for name, value in self.headers if name == b"connection")
        return b"close" in (word.strip(b" \t").lower() for word in said.split(b","))

    def _judge_target(self) -> int:
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
