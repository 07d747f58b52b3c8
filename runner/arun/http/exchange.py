"""One request and its answer on a connection: the body coming in, and the framing of what goes out.

What calls the app is a subclass; nothing here knows of ASGI or WSGI.
"""

from __future__ import annotations

from arun.http.fields import CLOSE, DATED, SERVED, SERVER, AnswerInvalid, read_fields, status_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from arun.http.http1.connection import Connection
    from arun.http.request import Request
    from arun.http.request_log import Record, Records

__all__ = ("ClientDisconnected", "Exchange", "missing_fields")

_JOINED = 65_536
_NO_BODY = frozenset((204, 304))
_FAILED = b"Internal Server Error\n"
_LAST_CHUNK = b"0\r\n\r\n"
_BUSY = b"Service Unavailable\n"
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class ClientDisconnected(ConnectionError):  # noqa: N818 - the event's name; ASGI asks for a subclass of OSError
    """The client went away before the answer was complete."""


class Exchange:
    """The life of one request, from its complete head to its complete answer."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_chunks",
        "_fields",
        "_left",
        "_line",
        "_status",
        "abandoned",
        "answered",
        "began",
        "begun",
        "buffered",
        "connection",
        "expecting",
        "keep_alive",
        "received",
        "record",
        "request",
        "sent",
    )
    #: Where there is a record: when the request began, by the performance counter, and the bytes of the answer's body
    #: that were sent, without their framing.
    began: float
    sent: int

    def __init__(self, connection: Connection, request: Request) -> None:
        self.connection = connection
        self.request = request
        #: The whole request body has arrived.
        self.received = False
        #: Bytes of the answer are on their way, so that it cannot become another.
        self.begun = False
        #: The answer is complete, or given up; nothing more is written.
        self.answered = False
        #: The client, or what it sends, broke off; nothing the app still says reaches it.
        self.abandoned = False
        #: The connection may serve another request after this one.
        self.keep_alive = False
        #: The app waits for more of the body.
        self.expecting = False
        #: Bytes of the body that arrived and were not taken.
        self.buffered = 0
        #: What is kept for the access log, and the request's id; None where neither is on.
        self.record: Record | Records | None = None
        self._chunks: list[bytes] | None = None
        self._line = b""
        self._status: object = 0
        self._fields: tuple[bytes, int | None, int] | None = None
        self._bodiless = self._chunked = False
        self._left: int | None = None

    def start(self) -> None:
        """Begin to call the app; the answer comes later, never inside this call."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Make the call of the app end soon, if that can be done."""

    def retire(self) -> None:
        """Note that the instance stops: what has begun is answered within the grace."""

    def changed(self) -> None:
        """Look again: body has arrived, the client went away, or writing goes on."""

    def works(self) -> bool:
        """Say whether the app has this request in hand, and does not wait for its client."""
        if self.abandoned:
            return True  # nobody is there who could be waited for
        connection = self.connection
        return not (self.answered or self.expecting or connection.write_paused or connection.sending_file)

    def stack(self) -> str:
        """Say where the app is."""
        raise NotImplementedError

    # ---- the request's body

    def feed(self, data: bytes) -> None:
        """Keep a piece of the body until the app asks for it."""
        if self._chunks is None:
            self._chunks = [data]
        else:
            self._chunks.append(data)
        self.buffered += len(data)
        self.changed()

    def take(self) -> bytes:
        """Return what has arrived of the body, and let the client send more."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks, self.buffered, self.expecting = None, 0, False
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.connection.resume()
        return data

    def expect_body(self) -> None:
        """Ask a client that waits for it to send the body (RFC 9110 section 10.1.1)."""
        if self.request.expects and not (self.begun or self.received or self._chunks):
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.request.expects = False
        if not self.expecting:
            self.expecting = True
            self.connection.since = self.connection.engine.now

    # ---- the answer

    @property
    def status(self) -> int:
        """The status of the answer, 0 as long as none was sent."""
        return self._status if self.begun and isinstance(self._status, int) else 0

    def answer_fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the header fields of the answer that are the app's, and its length, with names in lower case."""
        if self._fields is None:
            return
        block, length, _ = self._fields
        if length is not None:
            yield b"content-length", b"%d" % length
        for line in block.splitlines():
            name, _, value = line.partition(b": ")
            yield name.lower(), value

    @property
    def is_chunked(self) -> bool:
        """Whether the body of the answer is sent in chunks."""
        return self._chunked

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection is what tells the client the end of the answer."""
        return self._left is None and not self._chunked and not self._bodiless

    def begin(self, status: object, headers: Iterable[tuple[bytes, bytes]], reason: bytes = b"") -> None:
        """Take status and header fields; they are sent with the first piece of the body.

        Raises:
            AnswerInvalid: they break HTTP, or the answer has begun before.
        """
        if self._fields is not None:
            raise AnswerInvalid("the answer has begun already")
        line = status_line(status, reason)
        self._fields = read_fields(headers)
        self._line = line
        self._status = status

    def write(self, data: bytes, *, more: bool) -> None:  # noqa: C901 - the hot path: a call for each step is felt
        """Send a piece of the body, the last one unless there is ``more``.

        Raises:
            AnswerInvalid: the answer has not begun or is complete, or its length is not the one it announced.
        """
        if self.answered:
            raise AnswerInvalid("the answer is complete already")
        head = b"" if self.begun else self._head(data, more=more)
        problem = ""
        if self._bodiless:
            data = b""
        elif self._left is not None:
            data, problem = self._measured(data, more=more)
        if self.record is not None:
            self.sent += len(data)
        if self._chunked:
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + (b"" if more else _LAST_CHUNK)
        if head:
            self.begun = True
            if len(data) < _JOINED:
                data = head + data
            else:
                self.connection.write(head)
        if data:
            self.connection.write(data)
        if not more or problem:
            self._complete()
        if problem:
            raise AnswerInvalid(problem)

    async def write_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send a part of an open file as the whole body: ``size`` bytes, or as many as Content-Length announced.

        Raises:
            AnswerInvalid: as in ``write``; also when the file is shorter than what was announced.
            ClientDisconnected: the client has gone, or took nothing, or too little, for the times of the limits.
            OSError: the file cannot be read.
        """
        from arun.http.pace import Rate
        from arun.http.sendfile import Patience, send_file

        if self._fields is not None and not self.begun and self._fields[1] is None:
            self._fields = (self._fields[0], size, self._fields[2])
        self.write(b"", more=True)
        if self._left and not self._bodiless:
            connection, part = self.connection, min(size, self._left)
            limits = connection.engine.options.limits
            patience = Patience(limits.write_timeout, Rate(limits.response_rate, limits.rate_grace))
            connection.sending_file = True
            try:
                sent = await send_file(connection.transport, descriptor, offset, part, patience)
            except TimeoutError:
                connection.abort()
                raise ClientDisconnected("the client takes too little") from None
            finally:
                connection.sending_file = False
            self._left -= sent
            if self.record is not None:
                self.sent += sent
        self.write(b"", more=False)

    def end(self, trailers: bytes) -> None:
        """End an answer whose body was sent with ``more``; the trailer fields go to a client that can take them."""
        if not (trailers and self._chunked) or self._bodiless:
            self.write(b"", more=False)
            return
        if self.answered:
            raise AnswerInvalid("the answer is complete already")
        self.connection.write(b"0\r\n%b\r\n" % trailers)
        self._complete()

    def fail(self, explanation: bytes = _FAILED) -> None:
        """Answer 500, or cut the connection if an answer has begun, so that nobody takes it for complete."""
        if self.answered:
            return
        if self.begun:
            self.connection.cut(self)
            return
        self._fields = None
        self.begin(500, (_TEXT,))
        self.write(explanation, more=False)

    def decline(self) -> None:
        """Answer 503 without a call of the app: as many run as may."""
        self.begin(503, (_TEXT, (b"retry-after", b"1")))
        self.write(_BUSY, more=False)

    def time_out(self) -> None:
        """Answer 503 as the app takes too long, or cut what it has begun; what it still says is dropped."""
        if not self.answered:
            if self.begun:
                self.connection.cut(self)
            else:
                self._fields = None
                self.decline()
        self.abandoned = True
        self.changed()

    def refused(self, status: int, sent: int) -> None:
        """Give the answer up for a refusal with a body of ``sent`` bytes, which is not the app's."""
        self._fields = None
        if self.record is not None:
            self.sent = sent
            self.record.end(self, status)
        self.answered = True
        self.abandon()

    def abandon(self) -> None:
        """Give the answer up: nobody is there to read it."""
        if self.record is not None and not self.answered:
            self.record.end(self)
        self.answered = self.abandoned = True
        self._chunks = None
        self.changed()

    def _complete(self) -> None:
        self.answered = True
        if self.record is not None:
            self.record.end(self)
        self._chunks = None
        self.connection.finished(self)
        self.changed()

    def _measured(self, data: bytes, *, more: bool) -> tuple[bytes, str]:
        """Hold the body to its Content-Length; a client never takes the rest for the next answer."""
        left = self._left or 0
        if len(data) == left:
            self._left = 0
            return data, ""
        if len(data) > left:
            self.keep_alive = False
            return data[:left], "the body is longer than its Content-Length"
        self._left = left = left - len(data)
        if left and not more:
            self.keep_alive = False
            return data, f"the body is {left} bytes shorter than its Content-Length"
        return data, ""

    def _head(self, data: bytes, *, more: bool) -> bytes:  # noqa: C901 - as in write
        """Render the head; the first piece of the body decides how the body is framed (RFC 9112 section 6)."""
        fields, request = self._fields, self.request
        if fields is None:
            raise AnswerInvalid("an answer begins with its status and headers")
        block, length, says = fields
        keep = self.connection.may_go_on(self) and request.keep_alive and not says & CLOSE
        framing, is_head = b"", request.method == "HEAD"
        if self._status in _NO_BODY:
            self._bodiless = True
        elif length is not None or not (more or (is_head and not data)):
            if length is None:
                length = len(data)
                self._fields = (block, length, says)
            self._left = length
            framing = b"content-length: %d\r\n" % length
        elif request.version == "1.1" and not is_head:
            self._chunked, framing = True, b"transfer-encoding: chunked\r\n"
        elif not is_head:
            keep = False  # the end of the connection is the end of the body
        if is_head:
            self._bodiless = True
        self.keep_alive = keep
        if not keep:
            framing += b"connection: close\r\n"
        elif request.version == "1.0":
            framing += b"connection: keep-alive\r\n"
        if self.record is not None:
            framing += self.record.id_line
        own = self.connection.engine.own_fields
        if says & (DATED | SERVED):
            own = missing_fields(own, says)
        return self._line + block + own + framing + b"\r\n"


def missing_fields(own: bytes, says: int) -> bytes:
    """Return those of the fields Server and Date that the app has not set itself."""
    server = SERVER if own.startswith(SERVER) else b""
    date = own[len(server) :]
    return (b"" if says & SERVED else server) + (b"" if says & DATED else date)
