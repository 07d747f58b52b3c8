"""A connection after the handshake: frames come and go on its transport, messages wait for the app."""

from __future__ import annotations

import asyncio
from collections import deque

from arun.http.transport import GONE, client_end, half_close, taken, unsent
from arun.http.websocket import frames
from arun.http.websocket.frames import FrameInvalid, FrameReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from arun.http.exchange import Exchange
    from arun.http.server import HttpServer
    from arun.http.websocket.deflate import Deflate

__all__ = ("WebsocketConnection",)

#: Seconds that a client which has taken everything has to answer our close frame.
_CLOSING: Final = 5.0
#: Seconds a client that broke the rules has to read why, and to stop sending.
_LINGER: Final = 1.0
_RESTARTED: Final = "service restart"


class WebsocketConnection(asyncio.Protocol):
    """The client's websocket: it takes the transport over from the HTTP/1 connection, and its place in the server."""

    is_endless = True
    #: Code and reason of the end, as the app gets them; None while messages can be sent.
    ended: tuple[int, str] | None = None
    #: The transport's buffer is full: wait before more is written.
    write_paused = False
    _close_sent = False
    _read_paused = False
    #: What the client still sends is dropped.
    _deaf = False
    #: Something came since the last ping; a ping is unanswered.
    _heard = False
    _asked = False
    _waiting_size = 0
    #: What the client had taken at the last look, a figure that changes; and when it changed, or waiting began.
    _taken = 0
    _moved = 0.0
    #: After its end the client is only waited for because it may still send.
    _lingering = False

    def __init__(
        self, http: HttpServer, transport: asyncio.Transport, exchange: Exchange, deflate: Deflate | None
    ) -> None:
        self._http = http
        self._transport = transport
        self._exchange = exchange
        self._deflate = deflate
        self._options = http.options
        self._reader = FrameReader(self._options.ws_max_size, deflate)
        self._waiting: deque[str | bytes] = deque()
        #: When the last ping was sent, or the websocket began; in the coarse time of the server.
        self.since = http.now

    def take_over(self, head: bytes, received: bytes, *, write_paused: bool) -> None:
        """Accept the handshake with ``head`` and take the connection over, with the frames ``received`` behind it."""
        self._http.joined(self)
        self._transport.set_protocol(self)
        if write_paused:
            self.pause_writing()
        self._transport.write(head)
        if received:
            self.data_received(received)
        if self._http.retiring:
            self.retire()

    # ---- called by the transport

    def data_received(self, data: bytes) -> None:
        """Take the messages that came."""
        self._heard = True
        if not self._deaf:
            self._reader.feed(data)
            self._read()

    def eof_received(self) -> bool:
        """End: a client that closes its side without a close frame has gone (RFC 6455 section 7.1.5)."""
        self._deaf = True
        self._finish((frames.ABNORMAL, ""))
        # what was written is still sent, within the bound that is set now; with TLS there is no half-closed connection
        return self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it went makes no difference
        """Drop everything, and end the app's side."""
        self._deaf, self.write_paused = True, False
        self._reader.drop()
        self._end((frames.ABNORMAL, ""))
        self._http.left(self)
        self._exchange.changed()

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than it is written to."""
        self.write_paused = True
        self._moved = self._http.now

    def resume_writing(self) -> None:
        """Let the app write again."""
        self.write_paused = False
        self._exchange.changed()
        self._read()

    # ---- called by the exchange

    def take(self) -> str | bytes | None:
        """Return the next message that waits for the app, and let the client send more."""
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._waiting_size -= len(message)
        if self._read_paused:
            self._read()
        return message

    def send(self, message: str | bytes) -> None:
        """Send a message whole."""
        if isinstance(message, str):
            self._transport.write(frames.frame(frames.TEXT, message.encode(), self._deflate))
        else:
            self._transport.write(frames.frame(frames.BINARY, message, self._deflate))

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, unless it has begun; what comes now is dropped.

        Raises:
            ValueError: the code is none that may be sent.
        """
        if self.ended is None:
            self._send_close(frames.close_payload(code, reason))
            self._end((code, reason))
            self._read()

    # ---- called by the server

    def retire(self) -> None:
        """Close, as the instance stops."""
        self.close(frames.RESTART, _RESTARTED)

    def abort(self) -> None:
        """Cut the connection now."""
        self._deaf = True
        self._end((frames.ABNORMAL, ""))
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Cut a client that is waited for: for its close frame, for its reading, for any sign after a ping."""
        if self.ended is not None:
            self._sweep_end(now)
        elif self._read_paused and client_end(self._transport) == GONE:
            self.abort()  # nothing is read, so nothing else would show it
        elif self.write_paused:
            self._sweep_writing(now)
        elif self._read_paused:
            self._heard = True  # nothing was read
        else:
            self._sweep_silence(now)

    # ---- inner life

    def _read(self) -> None:
        """Read frames until enough messages wait for the app, or the client has sent no more."""
        waiting, before = self._waiting, len(self._waiting)
        try:
            while not (self._deaf or self._is_full()):
                event = self._reader.read()
                if event is None:
                    break
                opcode, payload = event
                if opcode < frames.CLOSE:
                    if self.ended is None:
                        waiting.append(payload)
                        self._waiting_size += len(payload)
                elif isinstance(payload, bytes):
                    self._control(opcode, payload)
        except FrameInvalid as exc:
            self._fail(exc)
        if len(waiting) > before:
            self._exchange.changed()
        self._throttle()

    def _is_full(self) -> bool:
        """Whether reading has to wait: for the app, or for a client that makes us write and does not read."""
        if self.ended is not None:
            return False
        options = self._options
        return (
            self.write_paused or len(self._waiting) >= options.ws_max_queue or self._waiting_size >= options.ws_max_size
        )

    def _throttle(self) -> None:
        """Read from the transport as long as there is room."""
        full = not self._deaf and self._is_full()
        if full != self._read_paused and not self._transport.is_closing():
            self._read_paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.PING:
            if not self._close_sent:
                self._transport.write(frames.frame(frames.PONG, payload))
        elif opcode == frames.CLOSE:
            end = frames.read_close(payload)
            self._send_close(payload)
            self._deaf = True
            self._finish(end)

    def _fail(self, exc: FrameInvalid) -> None:
        """Close with an error of the client, which may still be sending, and has to read it before the connection goes."""
        self._send_close(frames.close_payload(exc.code, exc.reason))
        self._deaf = True
        self._end((exc.code, exc.reason))
        if half_close(self._transport):
            self._lingering, self._moved = True, self._http.now
        else:
            self._close_transport()

    def _finish(self, end: tuple[int, str]) -> None:
        """Close the transport: the client has ended its side."""
        self._end(end)
        self._close_transport()

    def _end(self, end: tuple[int, str]) -> None:
        """End the app's side, and time what follows."""
        if self.ended is None:
            self.ended, self._moved = end, self._http.now
            self._exchange.changed()

    def _close_transport(self) -> None:
        self._lingering, self._moved = False, self._http.now
        self._transport.close()

    def _send_close(self, payload: bytes) -> None:
        if not self._close_sent:
            self._close_sent = True
            self._transport.write(frames.frame(frames.CLOSE, payload))

    def _sweep_writing(self, now: float) -> None:
        """Cut a client that takes nothing of what it was sent."""
        if 0 < self._options.timeout_write <= self._stalled(now):
            self.abort()

    def _sweep_end(self, now: float) -> None:
        """Close or cut a websocket whose client has taken everything and does not answer the end, or takes nothing."""
        stalled = self._stalled(now)
        limit = _LINGER if self._lingering else _CLOSING
        if unsent(self._transport):
            limit = self._options.timeout_write
        if not 0 < limit <= stalled:
            return
        if self._lingering:
            self._close_transport()
        else:
            self.abort()

    def _stalled(self, now: float) -> float:
        """Return the seconds since the client has taken something, or since it is waited for."""
        before, self._taken = self._taken, taken(self._transport)
        if self._taken != before:
            self._moved = now
        return now - self._moved

    def _sweep_silence(self, now: float) -> None:
        """Ping now and then to see whether the client is still there; whatever comes next shows it."""
        options, waited = self._options, now - self.since
        if self._asked and self._heard:
            self._asked = False
        if self._asked and 0 < options.ws_ping_timeout <= waited:
            self._fail(FrameInvalid(frames.INTERNAL, "no answer to a ping"))
        elif 0 < options.ws_ping_interval <= waited and not (self._asked and options.ws_ping_timeout):
            self._transport.write(frames.frame(frames.PING, b""))
            self._asked, self._heard, self.since = True, False, now
