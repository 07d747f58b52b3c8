"""One request as its head tells it: gathered field by field, then judged by the rules of RFC 9112."""

from __future__ import annotations

from runner.apps.engines.h1_engine.targets import split_target, valid_host

__all__ = ("NOTED", "Request")

#: The fields a server itself must look at.
NOTED = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"expect", b"x-forwarded-for", b"x-forwarded-proto")
)


class Request:
    """The head of one request; what stands on the class is what holds until a field says otherwise.

    No slots and few assignments: an attribute that keeps its default costs nothing per request.
    """

    method = ""
    version = "1.1"
    target = b""
    path = b""
    query = b""
    keep_alive = False
    #: The client waits for ``100 Continue`` before it sends the body (RFC 9110 section 10.1.1).
    expects = False
    length: int | None = None
    forwarded_for: bytes | None = None
    forwarded_proto: bytes | None = None
    _host: bytes | None = None
    _hosts = 0
    _coding: bytes | None = None

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def framing(self) -> bytes:
        """The field that frames the body; empty if there is no body."""
        if self._coding is not None:
            return b"transfer-encoding: chunked"
        return b"content-length: %d" % self.length if self.length else b""

    def note(self, name: bytes, value: bytes) -> None:
        """Remember a field that the server itself acts on."""
        if name == b"host":
            self._host = value
            self._hosts += 1
        elif name == b"content-length":
            self.length = int(value)  # the parser took digits only
        elif name == b"transfer-encoding":
            self._coding = value if self._coding is None else self._coding + b", " + value
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name == b"x-forwarded-for":
            self.forwarded_for = value if self.forwarded_for is None else self.forwarded_for + b"," + value
        elif name == b"x-forwarded-proto":
            self.forwarded_proto = value

    def judge(self, known_host: bytes | None) -> int:
        """Finish the head and return 0, or the status with which the request is refused.

        ``known_host`` is a Host that this connection has sent before and that need not be looked at again.
        """
        version, target = self.version, self.target
        if version != "1.1":
            if version != "1.0":
                return 505
            if self._coding is not None:
                return 400  # RFC 9112 section 6.1: the framing of such a message is faulty
            self.expects = False
        if self.method == "CONNECT":
            return 501
        if self._coding is not None and self._coding.lower() != b"chunked":
            return 501
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            return 400  # RFC 9112 section 3.2
        if self._hosts and self._host != known_host and not valid_host(self._host or b""):
            return 400
        if target[:1] == b"/" and b"#" not in target:
            self.path, _, self.query = target.partition(b"?")
            return 0
        return self._judge_target()

    @property
    def host(self) -> bytes | None:
        """The Host field, once :meth:`judge` has found it valid."""
        return self._host

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
