"""An ASGI app: its lifespan, and one exchange per request."""

from __future__ import annotations

from arun.apps.asgi.exchange import AsgiExchange
from arun.apps.asgi.lifespan import Lifespan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from arun.http.exchange import Stream
    from arun.http.request import Request
    from arun.http.server import HttpServer

__all__ = ("AsgiApplication",)


class AsgiApplication:
    """An ASGI 3 app; fulfils :class:`arun.http.server.Application`."""

    #: A request is a task, which can be cancelled, and lets the loop go on.
    cancellable = True
    interruptible = True

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        #: What the app's lifespan left there; each request gets a shallow copy.
        self._state: dict[str, Any] = {}
        self._lifespan: Lifespan | None = None

    async def start(self, http: HttpServer) -> None:
        """Run the lifespan's start-up.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): the app reported it, raised after it took the event, or ended without an answer to it.
        """
        self._http = http
        self._lifespan = Lifespan(self._app, self._state, http.options.on_error)
        await self._lifespan.start()

    async def retire(self, grace: float) -> None:
        """Do nothing: an ASGI app hears of a stop when no request is left."""

    async def stop(self, grace: float) -> None:
        """Run the lifespan's shut-down."""
        if self._lifespan is not None:
            await self._lifespan.stop(grace)

    def abort(self) -> None:
        """Cut the lifespan now."""
        if self._lifespan is not None:
            self._lifespan.cancel()

    def exchange(self, stream: Stream, request: Request) -> AsgiExchange:
        """Return the exchange of one request."""
        if request.upgrades:
            from arun.apps.asgi.websocket import WebsocketExchange

            return WebsocketExchange(stream, request, self._http, self._app, self._state)
        return AsgiExchange(stream, request, self._http, self._app, self._state)

    def takes_upgrade(self, request: Request) -> bool:
        """Return whether an upgrade is one to websocket (RFC 6455 section 4.2.1)."""
        return request.asks_for(b"websocket")
