"""One connection: its transport, and the order of its answers, which is the order of its requests."""

from __future__ import annotations

import asyncio
from collections import deque
from sys import byteorder

from runner.apps.engines.h1_engine.heads import server_fields, status_line
from runner.apps.engines.h1_engine.intake import Intake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.apps.engines.h1_engine.engine import H1Engine
    from runner.apps.engines.h1_engine.exchange import Exchange
    from runner.apps.engines.h1_engine.request import Request

__all__ = ("Connection",)

#: Seconds a client has to read the answer and stop sending before its connection is closed (RFC 9112 section 9.6).
_LINGER = 1.0
#: Seconds in which a connection that was accepted before a stop may still send its first request.
_FIRST_REQUEST = 1.0
#: struct linger: on, 0 seconds.
_RESET = (1).to_bytes(4, byteorder) + bytes(4)


class Connection(asyncio.Protocol):
    """A client's connection, whose requests become exchanges of its engine."""

    #: The client has closed its side: it may still read.
    eof = False
    #: No byte is written any more.
    closing = False
    #: The transport's buffer is full: wait before more is written.
    write_paused = False
    _fresh = True
    _refusal = 0
    _idle_since = 0.0
    _current: Exchange | None = None
    _timer: asyncio.TimerHandle | None = None
    _transport: asyncio.Transport

    def __init__(self, engine: H1Engine) -> None:
        self._engine = engine
        self._intake = Intake(self)
        self._queue: deque[Exchange] = deque()

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and note who is at both of its ends."""
        # An assertion of its type would be wrong: uvloop's transports inherit nothing.
        self._transport = transport  # type: ignore[assignment]
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        #: (host, port) of the client, None on a unix socket; (host, port) or (path, None) of the server.
        self.client: tuple[str, int] | None = peer[:2] if isinstance(peer, tuple) else None
        self.server: tuple[str, int | None] | None = own[:2] if isinstance(own, tuple) else (own, None) if own else None
        self._engine.connections.add(self)
        if self._engine.stopping:
            self.retire()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._intake.feed(data)

    def eof_received(self) -> bool:
        """Keep the writing side open while there is something to answer."""
        self.eof = True
        if self.closing or not (self._current or self._queue or self._refusal):
            return False
        for exchange in (self._current, *self._queue):
            if exchange is not None:
                exchange.changed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it went makes no difference
        """Let go of everything, and tell those who still work for this client."""
        self.eof = self.closing = True
        self.write_paused = False
        self._intake.close()
        if self._timer is not None:
            self._timer.cancel()
        for exchange in (self._current, *self._queue):
            if exchange is not None:
                exchange.abandon()
        self._current = None
        self._queue.clear()
        self._engine.left(self)

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than the app writes."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let the app write again, or the next request begin."""
        self.write_paused = False
        if self._current is not None:
            self._current.changed()
        elif not self.closing:
            self._advance()

    # ---- what the intake says

    def accept(self, request: Request) -> Exchange:
        """Begin to answer a request, or let it wait for the answers before its own."""
        self._fresh = False
        exchange = self._engine.exchange(self, request)
        if self._engine.records:
            self._engine.records.begin(exchange)
        if self._current is None and not self.write_paused:
            self._current = exchange
            exchange.start()
        else:
            self._queue.append(exchange)
            self.pause()
        return exchange

    def pause(self) -> None:
        """Let the client wait, which is ahead of us."""
        if not (self._intake.paused or self.closing):
            self._intake.paused = True
            self._transport.pause_reading()

    def drained(self) -> None:
        """Note that the rest of a request has come whose answer was complete before."""
        if self._is_done():
            self.close()

    def refuse(self, status: int, broken: Exchange | None) -> None:
        """Refuse what the client sends, after the answers that it still gets; ``broken`` is what it interrupted."""
        self._refusal = status
        if broken is not None and broken is not self._current:
            self._queue.remove(broken)
        elif broken is not None:
            if broken.begun:
                self.cut(broken)
                return
            self._current = None
            broken.abandon()
        if self._current is None and not self._queue:
            self._answer_refusal()

    # ---- what an exchange says

    def write(self, data: bytes) -> None:
        """Send bytes, unless nobody is there any more."""
        if not self.closing:
            self._transport.write(data)

    def log(self, exchange: Exchange) -> None:
        """Write the line of a request that has ended."""
        if self._engine.records:
            self._engine.records.end(exchange)

    def may_go_on(self, exchange: Exchange) -> bool:
        """Say whether the answer may promise that another request is taken after it."""
        if exchange.request.expects and not exchange.received:
            return False  # whether the body still comes, nobody knows
        if self._engine.stopping or not self._engine.options.keep_alive > 0:
            return bool(self._queue or self._intake.held)
        return True

    def finished(self, exchange: Exchange) -> None:
        """Go on after a complete answer: to the next request, to waiting for one, or to the end."""
        if self.closing:
            return
        self._current = None
        if not exchange.keep_alive:
            self.close(linger=self._intake.has_begun or bool(self._queue))
            return
        self._idle_since = self._engine.loop.time()
        if self._timer is None:
            self._timer = self._engine.loop.call_later(self._engine.options.keep_alive, self._close_if_idle)
        self._advance()

    def cut(self, exchange: Exchange) -> None:
        """End the connection in the middle of an answer, in a way that does not look like the answer's end."""
        self._current, self.closing = None, True
        self._intake.end()
        exchange.abandon()
        self._drop_queue()
        if exchange.ends_with_connection:
            self.abort()
        else:
            self._transport.close()

    def resume(self) -> None:
        """Read on, if reading waited for what has happened now."""
        intake = self._intake
        if not intake.paused or self._queue or self.closing or intake.is_full:
            return
        intake.paused = False
        intake.go_on()
        if not (intake.paused or self.closing):
            self._transport.resume_reading()

    # ---- what the engine says

    def retire(self) -> None:
        """Close the connection unless a request has begun on it; the last answer then closes it."""
        if self.closing or not self._is_idle():
            return
        if self._fresh and self._timer is None:
            self._timer = self._engine.loop.call_later(_FIRST_REQUEST, self.retire)
        else:
            self.close()

    def abort(self) -> None:
        """Cut the connection now, with a reset: a plain end could pass for the end of an answer."""
        from socket import SO_LINGER, SOL_SOCKET

        self.closing = True
        self._intake.end()
        own = self._transport.get_extra_info("socket")
        if own is not None and self.client is not None:
            own.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._transport.abort()

    def close(self, *, linger: bool = False) -> None:
        """Close when all is sent; lingering, what the client still sends is dropped, lest it loses the answer."""
        self.closing = True
        self._intake.end()
        self._drop_queue()
        if not linger or self.eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        if self._intake.paused:
            self._intake.paused = False
            self._transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._engine.loop.call_later(_LINGER, self._transport.close)

    # ---- inner life

    def _is_idle(self) -> bool:
        return not (self._current or self._queue or self._refusal or self._intake.has_begun)

    def _is_done(self) -> bool:
        """Whether nothing is left to answer, and nothing more will come that should be."""
        return (self.eof or self._engine.stopping) and not self.closing and self._is_idle()

    def _advance(self) -> None:
        """Begin the next request that waits; without one, read on."""
        if self.write_paused:
            return
        if self._queue:
            self._current = self._queue.popleft()
            self._current.start()
        self.resume()
        if self._current is not None or self._queue or self.closing:
            return
        if self._refusal:
            self._answer_refusal()
        elif self.eof or self._is_done():
            self.close()

    def _answer_refusal(self) -> None:
        line = status_line(self._refusal)
        text = line.rstrip().partition(b" ")[2][4:] + b"\n"
        head = b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.write(head % (line, server_fields(), len(text)) + text)
        if self._engine.records:
            self._engine.records.refused(self, self._refusal, len(text))
        self.close(linger=True)

    def _drop_queue(self) -> None:
        while self._queue:
            self._queue.popleft().abandon()

    def _close_if_idle(self) -> None:
        left = self._engine.options.keep_alive
        if self._is_idle():
            left += self._idle_since - self._engine.loop.time()
        if left > 0:
            self._timer = self._engine.loop.call_later(left, self._close_if_idle)
        elif not self.closing:
            self.close()
