"""One request and its response, the stream that carries both, and the connection of the stream.

An ``Exchange`` keeps what has come of the request's body and how far the response is; how a message is framed on the wire is
known to its ``Stream`` alone. A subclass calls the app. The state is four flags, which only ever turn true:

======== ========= ======== ========= ==============================================================================
received head_sent answered abandoned
======== ========= ======== ========= ==============================================================================
no       no        no       no        the body of the request is still coming; the app may have been called
yes      no        no       no        the whole request is here, nothing of the response is sent
any      yes       no       no        the response is being sent: it cannot become another one
any      yes       yes      no        the response is complete
any      no        yes      yes       the client is gone, or was refused by the server, before the response began
any      yes       yes      yes       the response was cut, or sent in the place of an app that takes too long
======== ========= ======== ========= ==============================================================================
"""

from __future__ import annotations

import asyncio

from arun.core.native import Protocol, mypyc_attr
from arun.http.errors import ResponseInvalid
from arun.http.fields import read_fields, status_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from arun.http.request import Request

__all__ = ("Carrier", "Exchange", "Record", "Stream")

_FAILED = b"Internal Server Error\n"
_BUSY = b"Service Unavailable\n"
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Carrier(Protocol):
    """A connection of a client, as its streams see it: what is the same for all of them."""

    #: (host, port) of the client, None on a unix socket; (host, port) or (path, None) of the server.
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    #: "https" where the client speaks TLS, to us or to a proxy that says so in a PROXY header.
    scheme: str
    #: What is the same for every request of the connection, in the form in which the app gets it; None at first.
    common: Any
    #: Whether the client speaks TLS to us; only the interface of an app asks for it.
    encrypted: bool
    transport: asyncio.Transport

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """Leave the transport to the protocol of an upgrade; return it and what was received behind the request."""


class Stream(Protocol):
    """One request and its response on a connection; a connection of HTTP/1 is its own stream, for one after the other."""

    @property
    def connection(self) -> Carrier:
        """The connection of the stream."""

    #: The client has closed its side and all that it sent was read, or some of that may not be read yet.
    eof: bool
    half_closed: bool
    #: Nothing more is written.
    closing: bool
    #: The client takes more slowly than the app writes: wait for ``Exchange.changed``.
    write_paused: bool
    #: A file is on its way, and the app has nothing to do.
    sending_file: bool

    def send(self, exchange: Exchange, data: bytes, more: bool) -> None:  # noqa: FBT001 - a keyword costs as much as the call
        """Send a piece of the response's body, the last one unless there is ``more``; the first brings the head.

        Raises:
            ResponseInvalid: the response has not begun or is complete, or its length is not the announced one.
        """

    def send_informational(self, exchange: Exchange, status: int, fields: bytes) -> None:
        """Send an interim response to a client that understands it (RFC 9110 section 15.2)."""

    def send_trailers(self, exchange: Exchange, fields: bytes) -> None:
        """End a response whose body was sent with ``more``; the trailer fields go out where the framing has a place.

        Raises:
            ResponseInvalid: as ``send``.
        """

    async def send_file(self, exchange: Exchange, descriptor: int, offset: int, size: int) -> None:
        """Send a part of an open file as the whole body: ``size`` bytes, or as many as Content-Length announced.

        Raises:
            ResponseInvalid: as ``send``; also when the file is shorter than announced.
            ClientDisconnected: the client has gone, or takes too little for the limits.
            OSError: the file cannot be read.
        """

    def resume(self) -> None:
        """Read on, if reading waited for what has happened now."""

    def await_body(self) -> None:
        """Time the client from now on: the app waits for the body."""

    def end_body(self, exchange: Exchange, status: int) -> None:
        """Refuse a request for what its body holds, or close where its response is complete and its body still to come."""

    def probe(self, exchange: Exchange) -> None:
        """Find out whether a half-closed client is still there; ``eof`` or a reset shows it later."""

    def reset(self, exchange: Exchange) -> None:
        """End the stream in the middle of a response, in a way that does not look like its end."""


class Record(Protocol):
    """What is kept of a request for the logs."""

    request_id: bytes | None
    #: The header line that carries the id to the client; empty where requests have none.
    id_line: bytes

    def end(self, exchange: Exchange, status: int = 0) -> None:
        """Write the line of a request that has ended; ``status`` is that of a response which is not the app's."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange:
    """The life of one request, from its complete head to its complete response."""

    __slots__ = (
        "_chunks",
        "_waiters",
        "abandoned",
        "answered",
        "buffered",
        "expecting",
        "fields",
        "flags",
        "head_sent",
        "length",
        "line",
        "queued",
        "received",
        "record",
        "request",
        "sent",
        "started_at",
        "status",
        "stream",
        "taken",
    )
    #: Set where there is a record: the start of the request and when the app began with it, by the performance counter; and
    #: how many bytes of the response's body were sent, without framing.
    started_at: float
    taken: float
    sent: int
    #: Set where requests are measured: for how many seconds a proxy has had the request before.
    queued: float
    #: Set by ``set_head``: the status line as HTTP/1 has it, the status, the announced length, and what the fields mean for
    #: the server (http/fields.py).
    line: bytes
    status: object
    length: int | None
    flags: int

    def __init__(self, stream: Stream, request: Request) -> None:
        self.stream = stream
        self.request = request
        # the state, see above
        self.received = self.head_sent = self.answered = self.abandoned = False
        #: The app waits for more of the body.
        self.expecting = False
        #: Bytes of the body that have come and were not taken.
        self.buffered = 0
        #: What is kept for the access log, and the request's id; None where neither is on.
        self.record: Record | None = None
        #: The header fields of the response as lines; None before ``set_head``.
        self.fields: bytes | None = None
        self._chunks: list[bytes] | None = None
        #: What calls of the app wait for on the loop; one that is cancelled takes its own away.
        self._waiters: set[asyncio.Future[None]] | None = None

    def start(self) -> None:
        """Begin to call the app; the response comes later, never inside this call."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Make the call of the app end soon, where that is possible."""

    def retire(self) -> None:
        """Note that the instance stops: what has begun gets its response within the grace."""

    def changed(self) -> None:
        """Look again: body has come, the client has gone, or writing goes on. Calls that wait on the loop are woken."""
        if waiters := self._waiters:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def change(self) -> None:
        """Wait for the next change; what is waited for may have come then, or not."""
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = set()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def writable(self) -> None:
        """Wait until the client has taken enough that more may be written, or the response is over."""
        while self.stream.write_paused and not self.answered:
            await self.change()

    def works(self) -> bool:
        """Return whether the app works on this request, and does not wait for its client."""
        if self.abandoned:
            return True  # there is no client to wait for
        stream = self.stream
        return not (self.answered or self.expecting or stream.write_paused or stream.sending_file)

    def stack(self) -> str:
        """Return where the app is, as lines of a traceback."""
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

    def end_chunk(self) -> None:
        """Note where a chunk of the body ends, for an app that asks for it (RFC 9112 section 7.1)."""

    def take(self) -> bytes:
        """Return what has come of the body, and let the client send more."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks, self.buffered, self.expecting = None, 0, False
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.stream.resume()
        return data

    def expect_body(self) -> None:
        """Ask a client that waits for it to send the body (RFC 9110 section 10.1.1)."""
        request = self.request
        if request.expects:
            request.expects = False
            if not (self.head_sent or self.received or self._chunks):
                self.stream.send_informational(self, 100, b"")
        if not self.expecting:
            self.expecting = True
            self.stream.await_body()

    # ---- the response

    @property
    def sent_status(self) -> int:
        """The status of the response, 0 while none is sent."""
        return self.status if self.head_sent and isinstance(self.status, int) else 0

    def response_fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the header fields of the response that are the app's, and its length, with names in lower case."""
        if self.fields is None:
            return
        if self.length is not None:
            yield b"content-length", b"%d" % self.length
        for line in self.fields.splitlines():
            name, _, value = line.partition(b": ")
            yield name.lower(), value

    def set_head(self, status: object, headers: Iterable[tuple[bytes, bytes]], reason: bytes = b"") -> None:
        """Store status and header fields, from any thread; the stream sends them with the first piece of the body.

        Raises:
            ResponseInvalid: they break HTTP, or the response has begun before.
        """
        if self.fields is not None:
            raise ResponseInvalid("the response has begun already")
        line = status_line(status, reason)
        self.fields, self.length, self.flags = read_fields(headers)
        self.line = line
        self.status = status

    def fail(self, explanation: bytes = _FAILED) -> None:
        """Respond with 500, or reset the stream if a response has begun, so that it does not pass for complete."""
        if self.answered:
            return
        if self.head_sent:
            self.stream.reset(self)
            return
        self.fields = None
        self.set_head(500, (_TEXT,))
        self.stream.send(self, explanation, False)

    def decline(self) -> None:
        """Respond with 503 in the app's place: too many requests run, or wait."""
        self.set_head(503, (_TEXT, (b"retry-after", b"1")))
        self.stream.send(self, _BUSY, False)

    def time_out(self) -> None:
        """Respond with 503 as the app takes too long, or cut what it has begun; what it still sends is dropped."""
        if not self.answered:
            if self.head_sent:
                self.stream.reset(self)
            else:
                self.fields = None
                self.decline()
        self.abandoned = True
        self.changed()

    def complete(self) -> None:
        """Note that the whole response is sent; called by the stream."""
        self.answered = True
        if self.record is not None:
            self.record.end(self)
        self._chunks = None

    def refuse(self, status: int, sent: int) -> None:
        """Give the response up for a refusal by the server, with a body of ``sent`` bytes."""
        self.fields = None
        if self.record is not None:
            self.sent = sent
            self.record.end(self, status)
        self.answered = True
        self.abandon()

    def abandon(self) -> None:
        """Give the response up: no client is there to read it."""
        if self.record is not None and not self.answered:
            self.record.end(self)
        self.answered = self.abandoned = True
        self._chunks = None
        self.changed()
