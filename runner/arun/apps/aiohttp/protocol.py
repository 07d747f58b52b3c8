"""What aiohttp's requests ask of their protocol, one for each connection; behind an upgrade it is the transport's own."""

from __future__ import annotations

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import WebSocketReader
from aiohttp.tcp_helpers import tcp_keepalive

from arun.apps.aiohttp.message import Messages
from arun.http.transport import GONE, client_end, let_reset, taken, unsent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arun.http.exchange import Carrier, Exchange
    from arun.http.server import HttpServer

__all__ = ("Protocol",)

#: What multipart bodies are held to where there is no limit.
_UNBOUNDED = 1 << 30
#: Bytes behind an upgrade that wait for the app's parser.
_TAIL = 65_536
#: Seconds that a client which has taken all it was sent has to answer our close frame, or the end of TLS.
_CLOSING = 5.0


class Protocol(BaseProtocol):
    """Stands where aiohttp has its ``RequestHandler``; fulfils what requests, websockets and apps ask of one."""

    #: A websocket outlives requests.
    is_endless = True

    def __init__(self, http: HttpServer, connection: Carrier, *, keep_alive: bool) -> None:
        super().__init__(http.loop)
        options = http.options
        self.transport = connection.transport
        self.ssl_context = connection.scheme == "https"
        self.peername = connection.client
        self.sockname = connection.server
        self.max_field_size = options.limit_request_field_size or _UNBOUNDED
        self.max_headers = options.limit_request_fields or _UNBOUNDED
        #: Seconds from which a websocket's heartbeats may be rounded up.
        self._timeout_ceil_threshold = 5.0
        if keep_alive:
            tcp_keepalive(connection.transport)
        self.messages = Messages()
        self._http = http
        self._exchange: Exchange | None = None
        self._parser_of_app: Any = None
        self._on_data: Callable[[], None] | None = None
        #: What came before the app's parser.
        self._tail = b""
        #: When our close frame was sent, and the client had taken something last; 0.0 while nothing ends.
        self.since = self._ends = self._moved = 0.0
        self._taken = 0

    def take_over(self, exchange: Exchange, head: bytes, received: bytes, *, write_paused: bool) -> None:
        """Answer an upgrade and take the connection over, with what came behind the request."""
        transport = self.transport
        if transport is None:
            raise RuntimeError("an upgrade without a connection")
        self._exchange = exchange
        self._http.joined(self)
        transport.set_protocol(self)
        if write_paused:
            self.pause_writing()
        transport.write(head)
        self._tail = received

    # ---- called by aiohttp and its apps

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """Give what comes to the parser of a websocket."""
        self._parser_of_app, self._on_data = parser, data_received_cb
        tail, self._tail = self._tail, b""
        if tail:
            parser.feed_data(tail)
        if self._reading_paused and len(tail) > _TAIL:
            self.resume_reading()
        if self._http.retiring:
            self.retire()

    def keep_alive(self, val: bool) -> None:  # noqa: FBT001 - aiohttp's signature
        """Do nothing: whether the connection stays is what the response says."""

    def close(self) -> None:
        """Close the connection when all is sent."""
        if self.transport is not None:
            self.transport.close()

    force_close = close

    def pause_reading(self) -> None:
        """Let the client wait: the app has messages enough."""
        self._reading_paused = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - aiohttp's signature
        """Let the client send more."""
        self._reading_paused = False
        if self.transport is not None:
            self.transport.resume_reading()

    async def drain(self) -> None:
        """Wait until the client has taken enough that more may be written."""
        if self._paused:
            await self._drain_helper()

    # ---- called by the transport

    def data_received(self, data: bytes) -> None:
        """Take what came behind the upgrade."""
        parser = self._parser_of_app
        if parser is None:
            self._tail += data
            if len(self._tail) > _TAIL:
                self.pause_reading()
            return
        if self._on_data is not None:
            self._on_data()
        ended, _ = parser.feed_data(data)
        if ended:
            self.close()

    def eof_received(self) -> bool:
        """Close: a client that closes its side has gone (RFC 6455 section 7.1.5)."""
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything, and tell the app."""
        super().connection_lost(exc)
        self._http.left(self)
        parser, self._parser_of_app = self._parser_of_app, None
        if parser is not None:
            parser.feed_eof()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandoned = True
            exchange.changed()

    # ---- called by the server

    def retire(self) -> None:
        """Tell the client of a websocket that the server goes (RFC 6455 section 7.4, code 1012).

        Its answer ends the handler, as aiohttp has it; without one the connection is cut a little later.
        """
        if isinstance(self._parser_of_app, WebSocketReader) and self.transport is not None and not self._ends:
            from arun.http.websocket import frames

            self.transport.write(frames.frame(frames.CLOSE, frames.close_payload(frames.RESTART, "service restart")))
            self._ends = self._moved = self._http.loop.time()

    def abort(self) -> None:
        """Cut the connection now, with a reset."""
        if self.transport is not None:
            let_reset(self.transport)
            self.transport.abort()

    def sweep(self, now: float) -> None:
        """Cut a client that takes nothing of what it was sent, or does not answer the end."""
        transport = self.transport
        if transport is None:
            return
        if self._reading_paused and client_end(transport) == GONE:
            transport.abort()  # reading would show it, and nothing is read
            return
        closing = self._ends > 0 or transport.is_closing()
        if not (closing or transport.get_write_buffer_size()):
            self._moved = now
            return
        before, self._taken = self._taken, taken(transport)
        if self._taken != before:
            self._moved = now
        limit = self._http.options.timeout_write if unsent(transport) else _CLOSING
        if 0 < limit <= now - self._moved:
            self.abort()
