"""The engine of an ASGI app: its lifespan, and one task per request."""

from __future__ import annotations

from arun.apps.asgi.exchange import AsgiExchange
from arun.apps.asgi.lifespan import Lifespan
from arun.http.server import H1Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from arun.http.http1.connection import Connection
    from arun.http.options import HttpOptions
    from arun.http.request import Request

__all__ = ("AsgiEngine",)

#: What an app may send beside start and body.
_EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.trailers": {},
}


class AsgiEngine(H1Engine):
    """Serves an ASGI 3 app; fulfils :class:`arun.http.contract.Engine`."""

    def __init__(self, app: Callable[..., Awaitable[None]], options: HttpOptions) -> None:
        super().__init__(options)
        self.app = app
        #: What the app's lifespan left there; each request gets a shallow copy.
        self.state: dict[str, Any] = {}
        self._lifespan = Lifespan(app, self.state, options.on_error)

    def exchange(self, connection: Connection, request: Request) -> AsgiExchange:
        """Make the exchange of one request."""
        if connection.upgrading:
            from arun.apps.asgi.websocket import WebsocketExchange

            return WebsocketExchange(connection, request, self)
        return AsgiExchange(connection, request, self)

    def takes_over(self, request: Request) -> bool:
        """Say whether an upgrade is one to websocket (RFC 6455 section 4.2.1)."""
        return request.asks_for(b"websocket")

    def common_scope(self, connection: Connection) -> dict[str, Any]:
        """Return what the scope of every request on a connection holds."""
        extensions = _EXTENSIONS
        if connection.encrypted:
            from arun.apps.asgi.tls import tls_extension

            extensions = {**extensions, "tls": tls_extension(connection.transport.get_extra_info("ssl_object"))}
        return {
            "type": "http",
            "scheme": connection.scheme,
            "root_path": self.options.root_path,
            "client": connection.client,
            "server": connection.server,
            "extensions": extensions,
        }

    def abort(self) -> None:
        """Cut every connection, cancel every request and the lifespan now."""
        super().abort()
        self._lifespan.cancel()

    async def _start_app(self) -> None:
        await self._lifespan.start()

    async def _stop_app(self, grace: float) -> None:
        await self._lifespan.stop(grace)
