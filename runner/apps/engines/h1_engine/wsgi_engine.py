"""The engine of a WSGI app: a pool of threads, one call per request."""

from __future__ import annotations

from runner.apps.engines.h1_engine.engine import H1Engine
from runner.apps.engines.h1_engine.threads import Threads
from runner.apps.engines.h1_engine.wsgi import WsgiExchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.apps.engines.h1_engine.protocol import Connection
    from runner.apps.engines.h1_engine.request import Request
    from runner.apps.engines.options import Options

__all__ = ("WsgiEngine",)


class WsgiEngine(H1Engine):
    """Serves a WSGI app; fulfils :class:`runner.apps.engines.contract.Engine`."""

    cancellable = False

    def __init__(self, app: Callable[..., Iterable[bytes]], options: Options) -> None:
        super().__init__(options)
        self.app = app
        self.threads = Threads(max(1, options.threads))

    def exchange(self, connection: Connection, request: Request) -> WsgiExchange:
        """Make the exchange of one request."""
        return WsgiExchange(connection, request, self)

    async def _stop_app(self, grace: float) -> None:  # noqa: ARG002 - WSGI has no shut-down of its own
        self.threads.close()
