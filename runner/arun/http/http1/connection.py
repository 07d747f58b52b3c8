"""One connection: its transport, the order of its answers, which is the order of its requests, and its time-outs."""

from __future__ import annotations

from collections import deque

from arun.http.endpoints import server_end
from arun.http.fields import refusal
from arun.http.http1.parser import Intake
from arun.http.pace import Pace, Rate
from arun.http.transport import GONE, HALF_CLOSED, client_end, half_close, keep_asking, let_reset, taken, unsent

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from arun.http.endpoints import Endpoints
    from arun.http.exchange import Exchange
    from arun.http.request import Request
    from arun.http.server import H1Engine

__all__ = ("Connection",)

#: Seconds a client has to read the answer and stop sending before its connection is closed (RFC 9112 section 9.6).
_LINGER = 1.0
#: Seconds that a client which has taken all has for the end of TLS (close_notify, RFC 8446 section 6.1).
_FAREWELL = 5.0
#: Seconds in which a connection that was accepted before a stop may still send its first request.
_FIRST_REQUEST = 1.0
#: What every head begins with, also that of an interim answer.
_AHEAD = b"HTTP/1.1 "
#: Seconds of silence after which a half-closed client is asked whether it is still there: half of what its system keeps
#: of a connection that it has closed.
_SILENT = 30


class Connection(Intake):
    """A client's connection, whose requests become exchanges of its engine."""

    __slots__ = (
        "_ahead",
        "_current",
        "_probed",
        "_queue",
        "_reading",
        "_refused",
        "_refused_with",
        "_taken",
        "_timer",
        "client",
        "closing",
        "common",
        "encrypted",
        "endpoints",
        "eof",
        "half_closed",
        "scheme",
        "sending_file",
        "served",
        "server",
        "transport",
        "write_paused",
    )
    transport: asyncio.Transport
    #: (host, port) of the client, None on a unix socket; (host, port) or (path, None) of the server.
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None

    def __init__(self, engine: H1Engine) -> None:
        super().__init__(engine)
        #: What a gate knows of the connection; None where the socket tells it all.
        self.endpoints: Endpoints | None = None
        #: How the client speaks to us, or to the proxy in front that begins with a PROXY header.
        self.scheme = "http"
        self.encrypted = False
        #: The client has closed its side, and all that it sent before was read: it may still take its answers.
        self.eof = False
        #: It has, and some of what it sent may not be read yet.
        self.half_closed = False
        #: The first bytes of the next head were sent already.
        self._ahead = False
        #: The exchange for which a half-closed client was probed.
        self._probed: Exchange | None = None
        #: No byte is written any more.
        self.closing = False
        #: The transport's buffer is full: wait before more is written.
        self.write_paused = False
        #: A file is on its way: there is nothing for the app to do.
        self.sending_file = False
        #: What is the same for every request of this connection, in the form in which the app is told it.
        self.common: dict[str, Any] | None = None
        #: Requests that were answered, the last one by its head at least.
        self.served = 0
        self._current: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        #: The status of the refusal that is the last answer, and what is known of its request.
        self._refused_with = 0
        self._refused: Exchange | None = None
        #: What the client had taken at the last look; a figure that changes.
        self._taken = 0
        #: How fast the client takes it, as long as it is waited for.
        self._reading: Pace | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and note who is at both of its ends."""
        # An assertion of its type would be wrong: uvloop's transports inherit nothing.
        self.transport = transport  # type: ignore[assignment]
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.client = peer[:2] if isinstance(peer, tuple) else None
        self.server = server_end(own)
        if self.endpoints is not None:
            self.client, self.server, self.scheme, self.encrypted = self.endpoints
        self.engine.joined(self)
        if 0 < self._limits.limit_connections < len(self.engine.connections):
            self.end()
            self.refuse(503, None)
        elif self.engine.stopping:
            self.retire()

    def eof_received(self) -> bool:
        """Keep the writing side open while there is something to answer."""
        self.eof = self.half_closed = True
        if self.receiving is not None and not self.receiving.answered:
            self.break_off(400)  # RFC 9112 section 8: a request whose body was cut off is not complete
        if self.closing or not (self._current or self._queue or self._refused_with):
            return False
        for exchange in (self._current, *self._queue):
            if exchange is not None:
                exchange.changed()
        return not self.encrypted  # asyncio has no half-closed TLS

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it went makes no difference
        """Let go of everything, and tell those who still work for this client."""
        self.eof = self.half_closed = self.closing = True
        self.write_paused = False
        self.let_go()
        if self._timer is not None:
            self._timer.cancel()
        for exchange in (self._current, *self._queue, self._refused):
            if exchange is not None:
                exchange.abandon()
        self._current = self._refused = self._probed = None
        self._queue.clear()
        self.engine.left(self)

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than the app writes."""
        self.write_paused = True
        self._reading = None
        self.since = self.engine.now

    def resume_writing(self) -> None:
        """Let the app write again, or the next request begin."""
        self.write_paused = False
        self.since = self.engine.now
        if self._current is not None:
            self._current.changed()
        elif not self.closing:
            self._advance()

    # ---- what the intake says

    def accept(self, request: Request) -> Exchange:
        """Begin to answer a request, or let it wait for the answers before its own."""
        engine = self.engine
        exchange = engine.exchange(self, request)
        if engine.records is not None:
            engine.records.begin(exchange)
        if self._current is None and not self.write_paused:
            self._current = exchange
            engine.begin(exchange)
        else:
            self._queue.append(exchange)
            self.pause()
        return exchange

    def pause(self) -> None:
        """Let the client wait, which is ahead of us."""
        if not (self.paused or self.closing):
            self.paused = True
            self.transport.pause_reading()

    def drained(self) -> None:
        """Note that the rest of a request has come whose answer was complete before."""
        self.since = self.engine.now
        if self._is_done():
            self.close()

    def refuse(self, status: int, broken: Exchange | None) -> None:
        """Refuse what the client sends, after the answers that it still gets; ``broken`` is what it interrupted."""
        self._refused_with = status
        if broken is not None and broken is not self._current:
            self._queue.remove(broken)
        elif broken is not None:
            if broken.begun:
                self.cut(broken)
                return
            self._current = None
        records = self.engine.records
        if records is not None and broken is None and (head := self.head_so_far()) is not None:
            broken = self.engine.exchange(self, head)  # never begun, and told of
            records.begin(broken)
        self._refused = broken
        if self._current is None and not self._queue:
            self._answer_refusal()

    # ---- what an exchange says

    def write(self, data: bytes) -> None:
        """Send bytes, unless nobody is there any more."""
        if not self.closing:
            if self._ahead:
                self._ahead, data = False, data[len(_AHEAD) :]
            self.transport.write(data)

    def probe(self, exchange: Exchange) -> None:
        """Find out whether a half-closed client still waits for its answer, or has gone: once for each answer.

        It is sent bytes that its answer goes on with in any case. A client that has closed both sides answers them with a
        reset, which the next sweep finds; so it does later on, when the kernel asks whether it is still there.
        """
        if self._probed is exchange or self.closing or self.write_paused or self.encrypted:
            return
        self._probed = exchange
        if not exchange.begun:
            self.transport.write(_AHEAD)
            self._ahead = True
        elif exchange.is_chunked:
            self.transport.write(b"0")  # a zero before the size of the next chunk (RFC 9112 section 7.1)
        keep_asking(self.transport, _SILENT)

    def may_go_on(self, exchange: Exchange) -> bool:
        """Say whether the answer may promise that another request is taken after it."""
        engine = self.engine
        self.served += 1
        if self.served >= engine.last_answer:
            return False
        if exchange.request.expects and not exchange.received:
            return False  # whether the body still comes, nobody knows
        if engine.closes_idle:
            return not engine.draining and bool(self._queue or self.held)
        return True

    def finished(self, exchange: Exchange) -> None:
        """Go on after a complete answer: to the next request, to waiting for one, or to the end."""
        if self.closing:
            return
        self._current = None
        if not exchange.keep_alive:
            self.close(linger=self.has_begun or bool(self._queue))
            return
        self.since = self.engine.now
        if self._queue or self.paused or self.eof or self._refused_with or self.write_paused or self.engine.stopping:
            self._advance()

    def cut(self, exchange: Exchange) -> None:
        """End the connection in the middle of an answer, in a way that does not look like the answer's end."""
        self._current, self.closing = None, True
        self.since = self.engine.now
        self.end()
        exchange.abandon()
        self._drop_queue()
        if exchange.begun and (exchange.ends_with_connection or self._probed is exchange):
            self.abort()
        else:
            self.transport.close()

    def resume(self) -> None:
        """Read on, if reading waited for what has happened now."""
        if not self.paused or self._queue or self.closing or self.is_full:
            return
        self.paused = False
        self.go_on()
        if not (self.paused or self.closing):
            # An app's task may be what calls: its context variables are not those in which the loop reads on.
            self.engine.context.copy().run(self.transport.resume_reading)

    def hand_over(self) -> bytes:
        """Leave the transport to the protocol of an upgrade, and return what was received behind the request."""
        received = bytes(self.held or b"")
        self.closing = True
        self._current = None
        if self._timer is not None:
            self._timer.cancel()
        self.let_go()
        self.transport.resume_reading()
        self.engine.connections.discard(self)
        return received

    # ---- what the engine says

    def sweep(self, now: float) -> None:
        """Close or cut the connection if its client has kept us waiting for longer than it may.

        Nothing but the client is timed here: while the app works, nothing happens to its connection.
        """
        if (self.paused or self.eof) and self._has_gone():
            return
        limits, waited = self._limits, now - self.since
        if self.closing or self.write_paused:
            self._sweep_writing(now)
        elif self.begun:
            if 0 < limits.timeout_header <= waited:
                self.break_off(408)
        elif self.receiving is not None:
            self._sweep_body(self.receiving, now)
        elif self._is_idle():
            limit = self.engine.options.timeout_keep_alive if self.served else limits.timeout_header
            if waited >= limit and (self.served or limit > 0):
                self._end_idling(now)

    def retire(self) -> None:
        """Close the connection unless a request has begun on it; the last answer then closes it."""
        if self._current is not None and self.engine.stopping:
            self._current.retire()
        if self.closing or not self._is_idle():
            return
        if not self.served and self._timer is None:
            self._timer = self.engine.loop.call_later(_FIRST_REQUEST, self.retire)
        else:
            self.close()

    def abort(self) -> None:
        """Cut the connection now, with a reset: a plain end could pass for the end of an answer."""
        self.closing = True
        self.end()
        let_reset(self.transport)
        self.transport.abort()

    def close(self, *, linger: bool = False) -> None:
        """Close when all is sent; lingering, what the client still sends is dropped, lest it loses the answer."""
        self.closing = True
        self._reading = None
        self.since = self.engine.now
        self.end()
        self._drop_queue()
        if not linger or self.eof or not half_close(self.transport):
            self.transport.close()
            return
        if self.paused:
            self.paused = False
            self.transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.engine.loop.call_later(_LINGER, self._end_linger)

    # ---- inner life

    def _has_gone(self) -> bool:
        """Look after a client that is not read from; return whether it has gone, and was let go."""
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
        """Close, unless the client still takes the last answer, of which a TLS transport tells nothing."""
        if self.encrypted and unsent(self.transport):
            self._sweep_writing(now)
        else:
            self.close()

    def _sweep_body(self, exchange: Exchange, now: float) -> None:
        """Break off a body that does not come, or too slowly, while it is waited for."""
        limits, pace = self._limits, self._pace
        if self.paused or not (exchange.answered or exchange.expecting):
            if pace is not None:
                pace.rest()
            return
        if pace is None:
            pace = self._pace = Pace(Rate(limits.min_body_rate, limits.rate_grace))
        is_slow = pace.look(now, self._body_size)
        if is_slow or 0 < limits.timeout_body <= now - self.since:
            if exchange.answered:
                self.close()
            else:
                self.break_off(408)

    def _sweep_writing(self, now: float) -> None:
        """Cut a connection whose client takes nothing of what it was sent, or too little, or does not answer the end of TLS.

        The rate is looked at when something was taken: a client that reads by the megabyte takes nothing in between.
        """
        limits, pace = self._limits, self._reading
        before, self._taken = self._taken, taken(self.transport)
        if pace is None:
            pace = self._reading = Pace(Rate(limits.min_response_rate, limits.rate_grace))
            pace.look(now, 0)
        elif (
            pace.look(now, pace.moved + max(0, self._taken - before))
            and self._taken > before
            and unsent(self.transport)
        ):
            self.abort()
            return
        if self._taken != before:
            self.since = now
            return
        limit = limits.timeout_write if unsent(self.transport) else _FAREWELL
        if 0 < limit <= now - self.since:
            self.abort()

    def _end_linger(self) -> None:
        """Close a connection whose client has had its time, once it has taken all that it was sent."""
        if unsent(self.transport):
            self._timer = self.engine.loop.call_later(_LINGER, self._end_linger)
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        return not (self._current or self._queue or self._refused_with or self.has_begun)

    def _is_done(self) -> bool:
        """Whether nothing is left to answer, and nothing more will come that should be."""
        return (self.eof or self.engine.stopping) and not self.closing and self._is_idle()

    def _advance(self) -> None:
        """Begin the next request that waits; without one, read on."""
        if self.write_paused:
            return
        if self._queue:
            self._current = self._queue.popleft()
            self.engine.begin(self._current)
        self.resume()
        if self._current is not None or self._queue or self.closing:
            return
        if self._refused_with:
            self._answer_refusal()
        elif self.eof or self._is_done():
            self.close()

    def _answer_refusal(self) -> None:
        status, exchange, records = self._refused_with, self._refused, self.engine.records
        more = b"" if exchange is None or exchange.record is None else exchange.record.id_line
        response, size = refusal(status, self.engine.own_fields + more)
        self.write(response)
        if exchange is not None:
            self._refused = None
            exchange.refused(status, size)
        elif records is not None:
            records.refused(self, status, size)
        self.close(linger=True)

    def _drop_queue(self) -> None:
        while self._queue:
            self._queue.popleft().abandon()
        if self._refused is not None:
            self._refused.abandon()
            self._refused = None
