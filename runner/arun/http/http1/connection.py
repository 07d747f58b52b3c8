"""One HTTP/1 connection: its transport, the order of its responses, which is that of its requests, and its time-outs.

It is the ``Stream`` of all its exchanges, one after the other (http/exchange.py).
"""

from __future__ import annotations

import asyncio
from collections import deque

from arun.http.endpoints import endpoints_of
from arun.http.errors import ClientDisconnected, ResponseInvalid
from arun.http.fields import refusal
from arun.http.http1.framing import STATUS_BEGINNING, Framing, around_chunk, informational, last_chunk
from arun.http.http1.parser import RequestParser
from arun.http.pace import Rate
from arun.http.transport import (
    GONE,
    HALF_CLOSED,
    Uptake,
    client_end,
    half_close,
    keep_asking,
    let_reset,
    send_part,
    unsent,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arun.http.endpoints import Endpoints
    from arun.http.exchange import Exchange
    from arun.http.request import Request
    from arun.http.server import HttpServer

__all__ = ("Http1Connection",)

#: Seconds a client has to read the response and stop sending before its connection is closed (RFC 9112 section 9.6).
_LINGER = 1.0
#: Seconds that a client which has taken everything has for the end of TLS (close_notify, RFC 8446 section 6.1).
_FAREWELL = 5.0
#: Seconds in which a connection that was accepted before a stop may still send its first request.
_FIRST_REQUEST = 1.0
#: Seconds of silence until the kernel probes a half-closed client: systems keep a closed connection twice as long.
_SILENT = 30
#: Fewer bytes of a body are joined to what goes before and behind them.
_JOINED = 65_536


class Http1Connection(asyncio.Protocol):
    """A client's connection, whose requests become exchanges of the app."""

    __slots__ = (
        "_ahead",
        "_current",
        "_endpoints",
        "_http",
        "_options",
        "_probed",
        "_queue",
        "_refused",
        "_refused_with",
        "_served",
        "_timer",
        "_uptake",
        "client",
        "closing",
        "common",
        "data_received",
        "encrypted",
        "eof",
        "framing",
        "half_closed",
        "parser",
        "scheme",
        "sending_file",
        "server",
        "since",
        "transport",
        "write_paused",
    )
    #: Every response may be the last one of an HTTP/1 connection.
    is_endless = False
    transport: asyncio.Transport
    since: float

    def __init__(self, http: HttpServer, endpoints: Endpoints | None = None) -> None:
        self._http = http
        self._options = http.options
        self.parser = parser = RequestParser(self, http)
        #: The transport calls the parser: a call in between is felt in each request.
        self.data_received: Callable[[bytes], None] = parser.feed  # type: ignore[assignment]
        self.framing = Framing()
        #: What a gate knows of the connection; None where the socket shows everything.
        self._endpoints = endpoints
        self.eof = self.half_closed = self.closing = self.write_paused = self.sending_file = False
        self.common: Any = None
        #: The first bytes of the next head were sent already.
        self._ahead = False
        #: The exchange for which a half-closed client was probed.
        self._probed: Exchange | None = None
        #: Requests that were answered, the last one by its head at least.
        self._served = 0
        self._current: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        #: The status of the refusal that is the last response, and what is known of its request.
        self._refused_with = 0
        self._refused: Exchange | None = None
        #: How the client takes what it was sent, while it is waited for.
        self._uptake: Uptake | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, and the addresses of both of its ends."""
        self.transport = transport  # type: ignore[assignment] # uvloop's transports inherit nothing to assert
        self.client, self.server, self.scheme, self.encrypted = self._endpoints or endpoints_of(transport)
        self._http.joined(self)
        if 0 < self._options.limit_connections < len(self._http.connections):
            self.parser.end()
            self.refuse(503, None)
        elif self._http.stopping:
            self.retire()

    def eof_received(self) -> bool:
        """Keep the writing side open while there is something to answer."""
        self.eof = self.half_closed = True
        if self.parser.receiving is not None and not self.parser.receiving.answered:
            self.parser.break_off(400, why="its body was cut off, it is not complete (RFC 9112 section 8)")
        if self.closing or not (self._current or self._queue or self._refused_with):
            return False
        for exchange in (self._current, *self._queue):
            if exchange is not None:
                exchange.changed()
        return not self.encrypted  # asyncio has no half-closed TLS

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it went makes no difference
        """Drop everything, and abandon what still runs for this client."""
        self.eof = self.half_closed = self.closing = True
        self.write_paused = False
        self.parser.let_go()
        if self._timer is not None:
            self._timer.cancel()
        for exchange in (self._current, *self._queue, self._refused):
            if exchange is not None:
                exchange.abandon()
        self._current = self._refused = self._probed = None
        self._queue.clear()
        self._http.left(self)

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than the app writes."""
        self.write_paused = True
        self._uptake = None
        self.since = self._http.now

    def resume_writing(self) -> None:
        """Let the app write again, or the next request begin."""
        self.write_paused = False
        self.since = self._http.now
        if self._current is not None:
            self._current.changed()
        elif not self.closing:
            self._advance()

    # ---- called by the parser

    def accept(self, request: Request) -> Exchange:
        """Begin to answer a request, or queue it behind those before it."""
        http = self._http
        exchange = http.application.exchange(self, request)
        if http.request_log is not None:
            http.request_log.start_record(exchange)
        if self._current is None and not self.write_paused:
            self._current = exchange
            http.run(exchange)
        else:
            self._queue.append(exchange)
            self.pause()
        return exchange

    def pause(self) -> None:
        """Read no more for now: the client is ahead of the server."""
        if not (self.parser.paused or self.closing):
            self.parser.paused = True
            self.transport.pause_reading()

    def drained(self) -> None:
        """Note that the rest of a request has come whose response was complete before."""
        self.since = self._http.now
        if self._is_done():
            self.close()

    def refuse(self, status: int, broken: Exchange | None) -> None:
        """Refuse what the client sends, after the responses before; ``broken`` is the request that it broke off."""
        self._refused_with = status
        if broken is not None and broken is not self._current:
            self._queue.remove(broken)
        elif broken is not None:
            if broken.head_sent:
                self.reset(broken)
                return
            self._current = None
        log = self._http.request_log
        if log is not None and broken is None and (head := self.parser.head_so_far()) is not None:
            broken = self._http.application.exchange(self, head)  # for the log only
            log.start_record(broken)
        self._refused = broken
        if self._current is None and not self._queue:
            self._send_refusal()

    # ---- the stream of an exchange

    @property
    def connection(self) -> Http1Connection:
        """The connection of the stream: itself."""
        return self

    def send(self, exchange: Exchange, data: bytes, more: bool) -> None:  # noqa: FBT001 - the hot path
        """Send a piece of the response's body; see :class:`arun.http.exchange.Stream`, here and below."""
        if exchange.answered:
            raise ResponseInvalid("the response is complete already")
        framing, head, tail, problem = self.framing, b"", b"", ""
        if not exchange.head_sent:
            head = framing.head(exchange, data, more, self._may_go_on(exchange), self._http.own_fields)
        if framing.left == len(data) and not framing.bodiless:  # nearly always: the whole of a body, or the rest of it
            framing.left = 0
            if exchange.record is not None:
                exchange.sent += len(data)
        else:
            data, problem = framing.body(exchange, data, more)
            if framing.chunked:
                head, tail = around_chunk(head, len(data), more)
        exchange.head_sent = True
        self._write(head, data, tail)
        if not more or problem:
            self._finished(exchange)
        if problem:
            raise ResponseInvalid(problem)

    def send_informational(self, exchange: Exchange, status: int, fields: bytes) -> None:
        """Send an interim response, which a client of HTTP/1.0 does not know (RFC 9110 section 15.2)."""
        if exchange.request.version == "1.1":
            self._write(informational(status, fields))

    def send_trailers(self, exchange: Exchange, fields: bytes) -> None:
        """End a response; only a chunked one has a place for the trailer fields."""
        if not (fields and self.framing.chunked) or self.framing.bodiless:
            self.send(exchange, b"", False)
            return
        if exchange.answered:
            raise ResponseInvalid("the response is complete already")
        self._write(last_chunk(fields))
        self._finished(exchange)

    async def send_file(self, exchange: Exchange, descriptor: int, offset: int, size: int) -> None:
        """Send a part of an open file as the whole body, by sendfile(2) where that works."""
        if exchange.fields is not None and not exchange.head_sent and exchange.length is None:
            exchange.length = size
        self.send(exchange, b"", True)
        framing = self.framing
        if framing.left and not framing.bodiless:
            self.sending_file = True
            try:
                sent = await send_part(self.transport, descriptor, offset, min(size, framing.left), self._options)
            except TimeoutError:
                self.abort()
                raise ClientDisconnected("the client takes too little") from None
            finally:
                self.sending_file = False
            framing.left -= sent
            if exchange.record is not None:
                exchange.sent += sent
        self.send(exchange, b"", False)

    def await_body(self) -> None:
        """Time the client from now on: the app waits for the body."""
        self.since = self._http.now

    def resume(self) -> None:
        """Read on, if reading waited for what has happened now."""
        parser = self.parser
        if not parser.paused or self._queue or self.closing or parser.is_full:
            return
        parser.paused = False
        parser.go_on()
        if not (parser.paused or self.closing):
            # An app's task may be what calls: its context variables are not those in which the loop reads on.
            self._http.context.copy().run(self.transport.resume_reading)

    def end_body(self, exchange: Exchange, status: int) -> None:
        """Refuse a request for what its body holds, or close where it is answered and its body is still to come."""
        if not exchange.answered:
            self.parser.break_off(status, exchange)
        elif self.parser.receiving is exchange:
            self.close()

    def probe(self, exchange: Exchange) -> None:
        """Send bytes with which the response goes on in any case: a client that has closed both sides answers with a reset.

        The next sweep finds that, or a later one, as the kernel goes on probing.
        """
        if self._probed is exchange or self.closing or self.write_paused or self.encrypted:
            return
        self._probed = exchange
        if not exchange.head_sent:
            self.transport.write(STATUS_BEGINNING)
            self._ahead = True
        elif self.framing.chunked:
            self.transport.write(b"0")  # a zero before the size of the next chunk (RFC 9112 section 7.1)
        keep_asking(self.transport, _SILENT)

    def reset(self, exchange: Exchange) -> None:
        """End the connection in the middle of a response, in a way that does not look like its end."""
        self._current, self.closing = None, True
        self.since = self._http.now
        self.parser.end()
        exchange.abandon()
        self._drop_queue()
        if exchange.head_sent and (self.framing.ends_with_connection or self._probed is exchange):
            self.abort()
        else:
            self.transport.close()

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """Leave the transport to the protocol of an upgrade; return it and what was received behind the request."""
        received = bytes(self.parser.held or b"")
        self.closing = True
        self._current = None
        if self._timer is not None:
            self._timer.cancel()
        self.parser.let_go()
        self.transport.resume_reading()
        self._http.connections.discard(self)
        return self.transport, received

    # ---- called by the server

    def sweep(self, now: float) -> None:
        """Close or cut the connection if its client has kept it waiting for too long.

        Only the client is timed here: while the app works, nothing happens to its connection.
        """
        parser, options = self.parser, self._options
        if (parser.paused or self.eof) and self._has_gone():
            return
        if self.closing or self.write_paused:
            self._sweep_writing(now)
        elif parser.in_head:
            if 0 < options.timeout_header <= now - self.since:
                parser.break_off(408)
        elif parser.receiving is not None:
            if parser.body_is_overdue(now):
                if parser.receiving.answered:
                    self.close()
                else:
                    parser.break_off(408)
        elif self._is_idle():
            limit = options.timeout_keep_alive if self._served else options.timeout_header
            if now - self.since >= limit and (self._served or limit > 0):
                self._end_idling(now)

    def retire(self) -> None:
        """Close, unless a request has begun; the last response closes it then."""
        if self._current is not None and self._http.stopping:
            self._current.retire()
        if self.closing or not self._is_idle():
            return
        if not self._served and self._timer is None:
            self._timer = self._http.loop.call_later(_FIRST_REQUEST, self.retire)
        else:
            self.close()

    def abort(self) -> None:
        """Cut the connection now, with a reset: a plain end could pass for the end of a response."""
        self.closing = True
        self.parser.end()
        let_reset(self.transport)
        self.transport.abort()

    def close(self, *, linger: bool = False) -> None:
        """Close when everything is sent; lingering, what the client still sends is dropped, so that it can read the response."""
        self.closing = True
        self._uptake = None
        self.since = self._http.now
        self.parser.end()
        self._drop_queue()
        if not linger or self.eof or not half_close(self.transport):
            self.transport.close()
            return
        if self.parser.paused:
            self.parser.paused = False
            self.transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._http.loop.call_later(_LINGER, self._end_linger)

    # ---- inner life

    def _write(self, head: bytes, data: bytes = b"", tail: bytes = b"") -> None:
        """Send bytes, unless the client is gone; long data is not copied, and uvloop makes one system call of all."""
        if self.closing:
            return
        if self._ahead and head:
            self._ahead, head = False, head[len(STATUS_BEGINNING) :]
        if len(data) >= _JOINED:
            self.transport.writelines([piece for piece in (head, data, tail) if piece])
        elif head or data or tail:
            self.transport.write(head + data + tail)

    def _may_go_on(self, exchange: Exchange) -> bool:
        """Return whether the response may promise that another request is taken after it; count it."""
        http = self._http
        self._served += 1
        if self._served >= http.last_response:
            return False
        if exchange.request.expects and not exchange.received:
            return False  # the body may still come, or not
        return not http.closes_idle or (not http.draining and bool(self._queue or self.parser.held))

    def _finished(self, exchange: Exchange) -> None:
        """Go on after a complete response: to the next request, to waiting for one, or to the end."""
        exchange.complete()
        if not self.closing:
            self._current = None
            parser, http = self.parser, self._http
            if not self.framing.keep_alive:
                self.close(linger=parser.has_pending or bool(self._queue))
            else:
                self.since = http.now
                if exchange.request.upgrades:
                    parser.decline_upgrade()
                if self._queue or parser.paused or self.eof or self._refused_with or self.write_paused or http.stopping:
                    self._advance()
        exchange.changed()

    def _has_gone(self) -> bool:
        """Check on a client that is not read from; return whether it has gone, and cut it then."""
        end = client_end(self.transport)
        if end == GONE:
            self.transport.abort()
            return True
        if end == HALF_CLOSED and not self.half_closed:
            self.half_closed = True
            if self._current is not None:
                self._current.changed()
        return False

    def _end_idling(self, now: float) -> None:
        """Close, unless the client still takes the last response: a TLS transport does not show that."""
        if self.encrypted and unsent(self.transport):
            self._sweep_writing(now)
        else:
            self.close()

    def _sweep_writing(self, now: float) -> None:
        """Cut a connection whose client takes nothing of what it was sent, or too little, or does not answer the end of TLS."""
        uptake, options = self._uptake, self._options
        if uptake is None:
            uptake = self._uptake = Uptake(self.transport, Rate(options.min_response_rate, options.rate_grace))
        has_moved, is_slow = uptake.look(now)
        waiting = unsent(self.transport)
        limit = options.timeout_write if waiting else _FAREWELL
        if (is_slow and waiting) or (not has_moved and 0 < limit <= now - self.since):
            self.abort()
        elif has_moved:
            self.since = now

    def _end_linger(self) -> None:
        """Close a connection whose client has had its time, once it has taken everything."""
        if unsent(self.transport):
            self._timer = self._http.loop.call_later(_LINGER, self._end_linger)
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        return not (self._current or self._queue or self._refused_with or self.parser.has_pending)

    def _is_done(self) -> bool:
        """Whether nothing is left to answer, and nothing more will come that should be."""
        return (self.eof or self._http.stopping) and not self.closing and self._is_idle()

    def _advance(self) -> None:
        """Begin the next request that waits; without one, read on."""
        if self.write_paused:
            return
        if self._queue:
            self._current = self._queue.popleft()
            self._http.run(self._current)
        self.resume()
        if self._current is not None or self._queue or self.closing:
            return
        if self._refused_with:
            self._send_refusal()
        elif self.eof or self._is_done():
            self.close()

    def _send_refusal(self) -> None:
        status, exchange, log = self._refused_with, self._refused, self._http.request_log
        more = b"" if exchange is None or exchange.record is None else exchange.record.id_line
        response, size = refusal(status, self._http.own_fields + more)
        self._write(response)
        if exchange is not None:
            self._refused = None
            exchange.refuse(status, size)
        elif log is not None:
            log.refused(self, status, size)
        self.close(linger=True)

    def _drop_queue(self) -> None:
        while self._queue:
            self._queue.popleft().abandon()
        if self._refused is not None:
            self._refused.abandon()
            self._refused = None
