"""One connection: bytes become requests, one after the other, and their answers become bytes in the same order.

Framing (RFC 9112) is llhttp's work, as strict as it comes; what it leaves to the server is judged in ``request``.
"""

from __future__ import annotations

import asyncio
from collections import deque

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from runner.apps.engines.h1_engine.heads import server_fields, status_line
from runner.apps.engines.h1_engine.request import NOTED, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.apps.engines.h1_engine.engine import H1Engine
    from runner.apps.engines.h1_engine.exchange import Exchange

__all__ = ("Connection",)

#: Bytes given to the parser at once: what one client can make us parse ahead of its own answers.
_SLICE = 16_384
#: Bytes of a request body that wait for the app before the client has to.
_BODY_WAITING = 65_536
#: Bytes of a head, of chunk framing or of trailers without anything to show for it.
_HEAD_LIMIT = 65_536
#: Bytes of a body that nobody read which are read and dropped, so that the connection can be used again.
_DISCARDED = 262_144
#: Seconds a client has to read the answer and stop sending before its connection is closed (RFC 9112 section 9.6).
_LINGER = 1.0
#: Seconds in which a connection that was accepted before a stop may still send its first request.
_FIRST_REQUEST = 0.25


class _ReadingOver(Exception):  # noqa: N818 - no error: it stops the parser, which knows no other way
    """Nothing more is read from this connection."""


class Connection(asyncio.Protocol):
    """A client's connection, whose requests become exchanges of its engine."""

    #: The client has closed its side: it may still read.
    eof = False
    #: The connection is gone.
    lost = False
    #: The transport's buffer is full: wait before more is written.
    write_paused = False
    _read_paused = False
    #: No further request is taken from this connection.
    _reading_over = False
    _closing = False
    _fresh = True
    _refusal = 0
    _overhead = 0
    _discarded = 0
    _idle_since = 0.0
    _known_host: bytes | None = None
    _request: Request | None = None
    _receiving: Exchange | None = None
    _current: Exchange | None = None
    _held: memoryview | None = None
    #: The framing fields of an upgrade request whose body the parser left to us.
    _reframe = b""
    _timer: asyncio.TimerHandle | None = None
    _transport: asyncio.Transport

    def __init__(self, engine: H1Engine) -> None:
        self.engine = engine
        self._queue: deque[Exchange] = deque()
        self._parser = HttpRequestParser(self)

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and note who is at both of its ends."""
        self._transport = transport  # type: ignore[assignment] - one for TCP or unix; uvloop's inherits nothing
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        #: (host, port) of the client, None on a unix socket; (host, port) or (path, None) of the server.
        self.client: tuple[str, int] | None = peer[:2] if isinstance(peer, tuple) else None
        self.server: tuple[str, int | None] | None = own[:2] if isinstance(own, tuple) else (own, None) if own else None
        self.engine.connections.add(self)
        if self.engine.stopping:
            self.retire()

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the client is ahead of us: then it is held and the client waits."""
        if self._reading_over:
            return
        if self._read_paused or len(data) > _SLICE:
            self._held = memoryview(data if self._held is None else bytes(self._held) + data)
            self._parse_held()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """Keep the writing side open while there is something to answer."""
        self.eof = True
        if self._closing or not (self._current or self._queue or self._refusal):
            return False
        for exchange in (self._current, *self._queue):
            if exchange is not None:
                exchange.changed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it went makes no difference
        """Let go of everything, and tell those who still work for this client."""
        self.lost = self.eof = self._reading_over = self._closing = True
        self.write_paused = False
        self._held = self._request = None
        if self._timer is not None:
            self._timer.cancel()
        self._parser = None  # it refers to us
        for exchange in (self._current, *self._queue):
            if exchange is not None:
                exchange.abandon()
        self._current = self._receiving = None
        self._queue.clear()
        self.engine.left(self)

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than the app writes."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let the app write again, or the next request begin."""
        self.write_paused = False
        if self._current is not None:
            self._current.changed()
        elif not self._closing:
            self._advance()

    # ---- what the parser says

    def on_message_begin(self) -> None:
        if not self._reframe:
            self._request = Request()
            self._overhead = 0

    def on_url(self, url: bytes) -> None:
        if self._request is not None:
            self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._request
        if request is None:
            return  # a trailer: nobody asked for it, and merging it is dangerous (RFC 9110 section 6.5.1)
        name, value = name.lower(), value.rstrip(b" \t")
        request.headers.append((name, value))
        if name in NOTED:
            request.note(name, value)

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        if request is None:
            self._reframe = b""
            return
        request.method = parser.get_method().decode()
        request.version = parser.get_http_version()
        self._refusal = request.judge(self._known_host)
        if self._refusal:
            raise _ReadingOver
        self._known_host = request.host
        request.keep_alive = parser.should_keep_alive()
        if parser.should_upgrade() and (request.length or request.chunked):
            self._reframe = b"transfer-encoding: chunked" if request.chunked else b"content-length: %d" % request.length
        self._request, self._fresh, self._discarded = None, False, 0
        self._receiving = exchange = self.engine.exchange(self, request)
        if self._current is None and not self.write_paused:
            self._current = exchange
            exchange.start()
        else:
            self._queue.append(exchange)
            self._pause()

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        exchange = self._receiving
        if exchange is None:
            return
        if not exchange.answered:
            exchange.feed(data)
            if exchange.buffered >= _BODY_WAITING:
                self._pause()
            return
        self._discarded += len(data)
        if self._discarded > _DISCARDED:
            self._close(linger=True)
            raise _ReadingOver

    def on_message_complete(self) -> None:
        exchange = self._receiving
        if exchange is None or self._reframe:
            return
        self._receiving, self._overhead = None, 0
        exchange.received = True
        if not exchange.request.keep_alive:
            self._reading_over = True
        if not exchange.answered:
            exchange.changed()
        elif self.engine.stopping:
            self._close()

    # ---- what an exchange says

    def write(self, data: bytes) -> None:
        """Send bytes, unless nobody is there any more."""
        if not self._closing:
            self._transport.write(data)

    def may_go_on(self, exchange: Exchange) -> bool:
        """Say whether the answer may promise that another request is taken after it."""
        if exchange.request.expects and not exchange.received:
            return False  # whether the body still comes, nobody knows
        if self.engine.stopping or not self.engine.options.keep_alive > 0:
            return bool(self._queue or self._held)
        return True

    def finished(self, exchange: Exchange) -> None:
        """Go on after a complete answer: to the next request, to waiting for one, or to the end."""
        if self._closing:
            return
        self._current = None
        if not exchange.keep_alive:
            self._close(linger=exchange is self._receiving or self._held is not None)
            return
        self._idle_since = self.engine.loop.time()
        if self._timer is None:
            self._timer = self.engine.loop.call_later(self.engine.options.keep_alive, self._close_if_idle)
        self._advance()

    def cut(self, exchange: Exchange, *, hard: bool) -> None:
        """End the connection in the middle of an answer; ``hard`` if a plain end would look like a complete one."""
        self._current = None
        self._closing = self._reading_over = True
        exchange.changed()
        if hard:
            self._transport.abort()
        else:
            self._transport.close()

    def resume(self) -> None:
        """Read on, if reading waited for what has happened now."""
        if not self._read_paused or self._queue or self._closing:
            return
        receiving = self._receiving
        if receiving is not None and not receiving.answered and receiving.buffered >= _BODY_WAITING:
            return
        self._read_paused = False
        self._parse_held()
        if not (self._read_paused or self._closing):
            self._transport.resume_reading()

    # ---- what the engine says

    def retire(self) -> None:
        """Close the connection unless a request has begun on it; the last answer then closes it."""
        if self._closing or self._is_busy():
            return
        if self._fresh and self._timer is None:
            self._timer = self.engine.loop.call_later(_FIRST_REQUEST, self._retire_late)
        else:
            self._close()

    def abort(self) -> None:
        """Cut the connection now."""
        self._closing = self._reading_over = True
        self._transport.abort()

    # ---- inner life

    def _retire_late(self) -> None:
        if not (self._closing or self._is_busy()):
            self._close()

    def _is_busy(self) -> bool:
        return bool(self._current or self._queue or self._request or self._receiving or self._held or self._refusal)

    def _advance(self) -> None:
        """Begin the next request that waits; without one, read on."""
        if self.write_paused:
            return
        if self._queue:
            self._current = self._queue.popleft()
            self._current.start()
        self.resume()
        if self._current is not None or self._closing:
            return
        if self._refusal:
            self._refuse()
        elif self.eof or (self.engine.stopping and not self._is_busy()):
            self._close()

    def _pause(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def _parse_held(self) -> None:
        while self._held is not None and not (self._read_paused or self._reading_over):
            piece, rest = self._held[:_SLICE], self._held[_SLICE:]
            self._held = rest if len(rest) else None
            self._parse(piece)

    def _parse(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._go_on_after_upgrade(data[upgrade.args[0] :])
        except HttpParserError:
            if not self._reading_over:
                self._break_off(self._refusal or 400)
        else:
            self._overhead += len(data)
            if self._overhead > _HEAD_LIMIT and not self._reading_over:
                self._break_off(431 if self._request is not None else 400)

    def _go_on_after_upgrade(self, rest: bytes | memoryview) -> None:
        """Treat an upgrade that is not taken as the plain request it also is (RFC 9110 section 7.8).

        The parser stops after such a head, and leaves the body unread; a new one is told its framing.
        """
        self._parser = HttpRequestParser(self)
        if self._reframe:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n" + self._reframe + b"\r\n\r\n")
        if len(rest) and not self._reading_over:
            self._parse(rest)

    def _break_off(self, status: int) -> None:
        """Take nothing more from a client that breaks the rules; what it asked before is answered first."""
        self._reading_over, self._refusal, self._held, self._request = True, status, None, None
        broken, self._receiving = self._receiving, None
        if broken is not None and not broken.answered:
            if broken is not self._current:
                self._queue.remove(broken)
            elif broken.begun:
                self.cut(broken, hard=False)
                broken.abandon()
                return
            else:
                self._current = None
                broken.abandon()
        if self._current is None and not self._queue:
            self._refuse()

    def _refuse(self) -> None:
        line = status_line(self._refusal)
        text = line[9:].replace(b"\r\n", b"\n")
        head = b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.write(head % (line, server_fields(), len(text)) + text)
        self._close(linger=True)

    def _close(self, *, linger: bool = False) -> None:
        """Close when all is sent; lingering, what the client still sends is dropped, lest it loses the answer."""
        self._closing = self._reading_over = True
        self._held = None
        if not linger or self.eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        if self._read_paused:
            self._read_paused = False
            self._transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.engine.loop.call_later(_LINGER, self._transport.close)

    def _close_if_idle(self) -> None:
        left = self.engine.options.keep_alive
        if not self._is_busy():
            left += self._idle_since - self.engine.loop.time()
        if left > 0:
            self._timer = self.engine.loop.call_later(left, self._close_if_idle)
        else:
            self._close()
