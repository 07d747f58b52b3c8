"""The engine of an ASGI app: its lifespan, and one task per request."""

from __future__ import annotations

from runner.apps.engines.h1_engine.asgi import AsgiExchange
from runner.apps.engines.h1_engine.engine import H1Engine
from runner.apps.engines.h1_engine.lifespan import Lifespan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from runner.apps.engines.h1_engine.protocol import Connection
    from runner.apps.engines.h1_engine.request import Request
    from runner.apps.engines.options import Options

__all__ = ("AsgiEngine",)


class AsgiEngine(H1Engine):
    """Serves an ASGI 3 app; fulfils :class:`runner.apps.engines.contract.Engine`."""

    def __init__(self, app: Callable[..., Awaitable[None]], options: Options) -> None:
        super().__init__(options)
        self.app = app
        #: What the app's lifespan left there; each request gets a shallow copy.
        self.state: dict[str, Any] = {}
        self._lifespan = Lifespan(app, self.state, options.on_error)

    def exchange(self, connection: Connection, request: Request) -> AsgiExchange:
        """Make the exchange of one request."""
        return AsgiExchange(connection, request, self)

    def common_scope(self, connection: Connection) -> dict[str, Any]:
        """Return what the scope of every request on a connection holds."""
        return {
            "type": "http",
            "scheme": connection.scheme,
            "root_path": self.options.root_path,
            "client": connection.client,
            "server": connection.server,
        }

    def abort(self) -> None:
        """Cut every connection, cancel every request and the lifespan now."""
        super().abort()
        self._lifespan.cancel()

    async def _start_app(self) -> None:
        await self._lifespan.start()

    async def _stop_app(self, grace: float) -> None:
        await self._lifespan.stop(grace)
