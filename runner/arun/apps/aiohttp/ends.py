"""Both ends of a connection: how it is taken, and how it is closed, lingered over or cut, so that a client can tell."""

from __future__ import annotations

from contextlib import suppress
from socket import SHUT_RDWR

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import WebSocketReader
from aiohttp.tcp_helpers import tcp_keepalive

from arun.http.transport import let_reset, unsent

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from arun.apps.aiohttp.answers import Answer

__all__ = ("FAREWELL", "LINGER", "Ends")

#: Seconds a client has to read the answer and stop sending before its connection is closed (RFC 9112 section 9.6).
LINGER = 1.0
#: Seconds that a client which has taken all has for the end of TLS (close_notify, RFC 8446 section 6.1).
FAREWELL = 5.0
#: Seconds a client has to answer our close frame.
_CLOSING = 5.0


class Ends(web.RequestHandler):
    """aiohttp's protocol, whose transport is looked after here."""

    __slots__ = ("_eof", "_linger", "_socket_end")

    def __init__(self, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        #: The client has closed its side.
        self._eof = False
        self._linger: asyncio.TimerHandle | None = None
        #: The transport, which aiohttp lets go of while it may still have bytes to send.
        self._socket_end: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; nothing waits for its first request but the guard's clock."""
        BaseProtocol.connection_made(self, transport)
        self._socket_end = self.transport
        if not isinstance(self.peername, tuple):
            self._cache["peername"] = None  # of a unix socket, whose client has no address
        if self._tcp_keepalive:
            tcp_keepalive(transport)  # type: ignore[arg-type] # as aiohttp has it
        self._manager.connection_made(self, transport)  # type: ignore[union-attr, arg-type]

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything."""
        if self._linger is not None:
            self._linger.cancel()
        self._socket_end = None
        super().connection_lost(exc)

    def linger(self) -> None:
        """Close when all is sent; what the client still sends is dropped, lest it loses the answer."""
        self._force_close = True
        transport = self.transport
        if transport is None:
            return
        if self._eof or not transport.can_write_eof():
            transport.close()
            return
        with suppress(OSError):  # gone already
            transport.write_eof()
        self._resume_transport_reading()
        self._linger = self._loop.call_later(self._lingering_time, self._end_linger)

    def close_websocket(self) -> None:
        """Tell the client of a websocket that the server goes (RFC 6455 section 7.4, code 1012); others stay as they are.

        Its answer ends the handler, as aiohttp has it; without one the connection is cut a little later.
        """
        if isinstance(self._payload_parser, WebSocketReader) and self.transport is not None and self._linger is None:
            from arun.http.websocket import frames

            self.transport.write(frames.frame(frames.CLOSE, frames.close_payload(frames.RESTART, "service restart")))
            self._linger = self._loop.call_later(_CLOSING, self._end_websocket)

    def _end_linger(self) -> None:
        """Close a connection whose client has had its time, once it has taken all that it was sent."""
        transport = self._socket_end
        if transport is not None and unsent(transport):
            self._linger = self._loop.call_later(self._lingering_time, self._end_linger)
        elif transport is not None:
            transport.close()

    def _end_websocket(self) -> None:
        """Cut a websocket whose client has not answered our close frame, once it has taken all that it was sent."""
        if self._socket_end is not None and unsent(self._socket_end):
            self._linger = self._loop.call_later(_CLOSING, self._end_websocket)
        else:
            self.reset()

    def _cut(self, begun: Answer) -> None:
        """End the connection in the middle of an answer, in a way that does not look like the answer's end."""
        self._force_close = True
        if begun.ends_with_connection:
            self.reset()
        elif self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Cut the connection now, with a reset: a plain end could pass for the end of an answer."""
        self._force_close = True
        transport = self._socket_end
        if transport is None:
            return
        let_reset(transport)
        if getattr(transport, "_empty_waiter", None) is not None:
            with suppress(OSError):
                transport.get_extra_info("socket").shutdown(
                    SHUT_RDWR
                )  # asyncio's sendfile hears of an error only, and of no other end
        else:
            transport.abort()
