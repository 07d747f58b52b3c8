"""How HTTP/1 delimits a response on its connection (RFC 9112 sections 6 and 7): its head, and the framing of its body."""

from __future__ import annotations

from arun.http.bounded_cache import BoundedCache
from arun.http.errors import ResponseInvalid
from arun.http.fields import CLOSE, DATED, SERVED, missing_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.http.exchange import Exchange

__all__ = ("STATUS_BEGINNING", "Framing", "around_chunk", "informational", "last_chunk")

#: What every head begins with, also that of an interim response.
STATUS_BEGINNING = b"HTTP/1.1 "
_NO_BODY = frozenset((204, 304))
_OWN = DATED | SERVED
_LAST_CHUNK = b"0\r\n\r\n"
#: The lines of lengths; many responses are as long as others.
_lengths: BoundedCache[int, bytes] = BoundedCache(lambda length: b"content-length: %d\r\n" % length)
_INFORMATIONAL = {100: b"Continue", 103: b"Early Hints"}


class Framing:
    """The framing of the response that a connection sends now; ``head`` decides it, ``body`` holds the app to it."""

    __slots__ = ("bodiless", "chunked", "keep_alive", "left")

    def __init__(self) -> None:
        #: There is no body, whatever the app sends (RFC 9110 section 6.4.1).
        self.bodiless = False
        self.chunked = False
        #: Bytes of the body that the app has still to send; None where no length was announced.
        self.left: int | None = None
        #: The connection may serve another request after this response.
        self.keep_alive = False

    @property
    def ends_with_connection(self) -> bool:
        """Whether the client takes the end of the connection for the end of the response."""
        return self.left is None and not self.chunked and not self.bodiless

    def head(  # noqa: C901 - the hot path
        self,
        exchange: Exchange,
        data: bytes,
        more: bool,  # noqa: FBT001 - as in Stream
        keep: bool,  # noqa: FBT001 - as in Stream
        own: bytes,
    ) -> bytes:
        """Render the head of a response; ``data``, the first piece of the body, decides how the body is framed.

        ``keep`` is whether the server wants to keep the connection, ``own`` are the header lines of its own.

        Raises:
            ResponseInvalid: the app has sent a body before status and headers.
        """
        block, request = exchange.fields, exchange.request
        if block is None:
            raise ResponseInvalid("a response begins with its status and headers")
        flags, length = exchange.flags, exchange.length
        keep = keep and request.keep_alive and not flags & CLOSE
        framing, is_head = b"", request.method == "HEAD"
        self.bodiless, self.chunked, self.left = is_head, False, None
        if exchange.status in _NO_BODY:
            self.bodiless = True
        elif length is not None or not (more or (is_head and not data)):
            if length is None:
                length = exchange.length = len(data)
            self.left = length
            framing = _lengths.get(length) or _lengths[length]
        elif request.version == "1.1" and not is_head:
            self.chunked, framing = True, b"transfer-encoding: chunked\r\n"
        elif not is_head:
            keep = False  # the end of the connection is the end of the body
        self.keep_alive = keep
        if not keep:
            framing += b"connection: close\r\n"
        elif request.version == "1.0":
            framing += b"connection: keep-alive\r\n"
        if exchange.record is not None:
            framing += exchange.record.id_line
        if flags & _OWN:
            own = b"" if flags & _OWN == _OWN else missing_fields(own, flags)
        return exchange.line + block + own + framing + b"\r\n"

    def body(self, exchange: Exchange, data: bytes, more: bool) -> tuple[bytes, str]:  # noqa: FBT001 - as in Stream
        """Return what is sent of a piece of the body, and what is wrong with its length, if anything.

        A client never takes the excess for the next response.
        """
        problem = ""
        if self.bodiless:
            data = b""
        elif (left := self.left) is not None:
            if len(data) == left:
                self.left = 0
            elif len(data) > left:
                self.keep_alive = False
                data, problem = data[:left], "the body is longer than its Content-Length"
            else:
                self.left = left = left - len(data)
                if not more:
                    self.keep_alive = False
                    problem = f"the body is {left} bytes shorter than its Content-Length"
        if exchange.record is not None:
            exchange.sent += len(data)
        return data, problem


def around_chunk(head: bytes, size: int, more: bool) -> tuple[bytes, bytes]:  # noqa: FBT001 - as in Stream
    """Return what is sent before and behind a piece of a chunked body, behind a head if it is the first (RFC 9112 section 7.1)."""
    end = b"" if more else _LAST_CHUNK
    return (b"%b%x\r\n" % (head, size), b"\r\n" + end) if size else (head, end)


def informational(status: int, fields: bytes) -> bytes:
    """Return an interim response (RFC 9110 section 15.2)."""
    return b"%b%d %b\r\n%b\r\n" % (STATUS_BEGINNING, status, _INFORMATIONAL.get(status, b""), fields)


def last_chunk(trailers: bytes) -> bytes:
    """Return the end of a chunked body with trailer fields (RFC 9112 section 7.1.2)."""
    return b"0\r\n%b\r\n" % trailers
