"""One request and its answer on a connection: the body coming in, and the framing of what goes out.

What calls the app is a subclass; nothing here knows of ASGI or WSGI.
"""

from __future__ import annotations

from runner.apps.engines.h1_engine.heads import AnswerInvalid, Fields, read_fields, server_fields, status_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.apps.engines.h1_engine.protocol import Connection
    from runner.apps.engines.h1_engine.request import Request

__all__ = ("ClientDisconnected", "Exchange")

_JOINED = 65_536
_NO_BODY = frozenset((204, 304))
_FAILED = b"Internal Server Error\n"


class ClientDisconnected(ConnectionError):  # noqa: N818 - the event's name; ASGI asks for a subclass of OSError
    """The client went away before the answer was complete."""


class Exchange:
    """The life of one request, from its complete head to its complete answer."""

    #: The whole request body has arrived.
    received = False
    #: The answer is complete, or given up; nothing more is written.
    answered = False
    #: The client, or what it sends, broke off; nothing the app still says reaches it.
    abandoned = False
    #: The connection may serve another request after this one.
    keep_alive = False
    #: Bytes of the body that arrived and were not taken.
    buffered = 0
    #: When the head was complete, in seconds of ``time.perf_counter``; only told where the access log is on.
    began = 0.0
    #: What the engine calls the request, and the header line that says so; None where it has no ids.
    request_id: bytes | None = None
    id_line = b""
    #: Bytes of the body that were sent without an announced length.
    streamed = 0
    _chunks: list[bytes] | None = None
    _line = b""
    _status: object = 0
    _fields: Fields | None = None
    _sent_head = False
    _bodiless = False
    _chunked = False
    _left: int | None = None

    def __init__(self, connection: Connection, request: Request) -> None:
        self.connection = connection
        self.request = request

    def start(self) -> None:
        """Begin to call the app; the answer comes later, never inside this call."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Make the call of the app end soon, if that can be done."""

    def changed(self) -> None:
        """Look again: body has arrived, the client went away, or writing goes on."""

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
        self._chunks, self.buffered = None, 0
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.connection.resume()
        return data

    def expect_body(self) -> None:
        """Ask a client that waits for it to send the body (RFC 9110 section 10.1.1)."""
        if self.request.expects and not (self._sent_head or self.received or self._chunks):
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.request.expects = False

    # ---- the answer

    @property
    def status(self) -> int:
        """The status of the answer, 0 as long as none was sent."""
        return self._status if self._sent_head and isinstance(self._status, int) else 0

    @property
    def sent(self) -> int:
        """Bytes of the body that were handed to the connection, without their framing."""
        fields = self._fields
        if self._bodiless or fields is None or fields.length is None or self._left is None:
            return self.streamed
        return fields.length - self._left

    def answer_fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the header fields of the answer that are the app's, and its length, with names in lower case."""
        fields = self._fields
        if fields is None:
            return
        if fields.length is not None:
            yield b"content-length", b"%d" % fields.length
        for line in fields.block.splitlines():
            name, _, value = line.partition(b": ")
            yield name.lower(), value

    @property
    def begun(self) -> bool:
        """Whether bytes of the answer are on their way, so that it cannot become another."""
        return self._sent_head

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

    def write(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body, the last one unless there is ``more``.

        Raises:
            AnswerInvalid: the answer has not begun or is complete, or its length is not the one it announced.
        """
        if self.answered:
            raise AnswerInvalid("the answer is complete already")
        head = b"" if self._sent_head else self._head(data, more=more)
        problem = ""
        if self._bodiless:
            data = b""
        elif self._left is not None:
            data, problem = self._measured(data, more=more)
        elif self._chunked:
            self.streamed += len(data)
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + (b"" if more else b"0\r\n\r\n")
        else:
            self.streamed += len(data)
        if head and len(data) < _JOINED:
            data, head = head + data, b""
        self._sent_head = True
        if head:
            self.connection.write(head)
        if data:
            self.connection.write(data)
        if not more or problem:
            self._complete()
        if problem:
            raise AnswerInvalid(problem)

    def fail(self, explanation: bytes = _FAILED) -> None:
        """Answer 500, or cut the connection if an answer has begun, so that nobody takes it for complete."""
        if self.answered:
            return
        if self._sent_head:
            self.connection.cut(self)
            return
        self._fields = None
        self.begin(500, ((b"content-type", b"text/plain; charset=utf-8"),))
        self.write(explanation, more=False)

    def abandon(self) -> None:
        """Give the answer up: nobody is there to read it."""
        if self.began and not self.answered:
            self.connection.log(self)
        self.answered = self.abandoned = True
        self._chunks = None
        self.changed()

    def _complete(self) -> None:
        self.answered = True
        if self.began:
            self.connection.log(self)
        self._chunks = None
        self.connection.finished(self)
        self.changed()

    def _measured(self, data: bytes, *, more: bool) -> tuple[bytes, str]:
        """Hold the body to its Content-Length; a client never takes the rest for the next answer."""
        left = self._left or 0
        if len(data) > left:
            self.keep_alive = False
            return data[:left], "the body is longer than its Content-Length"
        self._left = left = left - len(data)
        if left and not more:
            self.keep_alive = False
            return data, f"the body is {left} bytes shorter than its Content-Length"
        return data, ""

    def _head(self, data: bytes, *, more: bool) -> bytes:
        """Render the head; the first piece of the body decides how the body is framed (RFC 9112 section 6)."""
        fields, request = self._fields, self.request
        if fields is None:
            raise AnswerInvalid("an answer begins with its status and headers")
        framing, keep = b"", request.keep_alive and not fields.close and self.connection.may_go_on(self)
        length, is_head = fields.length, request.method == "HEAD"
        if self._status in _NO_BODY:
            self._bodiless = True
        elif length is not None or not (more or (is_head and not data)):
            self._left = fields.length = length = len(data) if length is None else length
            framing = b"content-length: %d\r\n" % length
        elif request.version == "1.1" and not is_head:
            self._chunked, framing = True, b"transfer-encoding: chunked\r\n"
        elif not is_head:
            keep = False  # the end of the connection is the end of the body
        self._bodiless = self._bodiless or is_head
        self.keep_alive = keep
        if not keep:
            framing += b"connection: close\r\n"
        elif request.version == "1.0":
            framing += b"connection: keep-alive\r\n"
        ours = server_fields() if not (fields.dated or fields.served) else _missing(fields)
        if self.id_line:
            framing += self.id_line
        return b"%b%b%b%b\r\n" % (self._line, fields.block, ours, framing)


def _missing(fields: Fields) -> bytes:
    """Return those of the fields Server and Date that the app has not set itself."""
    server, _, date = server_fields().partition(b"\r\n")
    return (b"" if fields.served else server + b"\r\n") + (b"" if fields.dated else date)
