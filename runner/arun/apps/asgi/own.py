"""An ASGI app of arun's own beside the app that is served: it has no lifespan, and its connections end with its responses."""

from __future__ import annotations

from arun.apps.asgi.application import AsgiApplication
from arun.apps.asgi.exchange import AsgiExchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from arun.http.exchange import Stream
    from arun.http.request import Request
    from arun.http.server import HttpServer

__all__ = ("OwnApplication",)


class OwnApplication(AsgiApplication):
    """Responds from its making on; ``http`` is the server of its requests."""

    def __init__(self, app: Callable[..., Awaitable[None]], http: HttpServer) -> None:
        super().__init__(app)
        self._http = http

    def exchange(self, stream: Stream, request: Request) -> AsgiExchange:
        """Return the exchange of one request, the last one of its connection."""
        request.keep_alive = False
        if request.upgrades:
            stream.connection.common = None
            return super().exchange(stream, request)
        return _OwnExchange(stream, request, self._http, self._app, self._state)


class _OwnExchange(AsgiExchange):
    """Its connection may have served an app of another kind."""

    __slots__ = ()

    def start(self) -> None:
        """Call the app."""
        self.stream.connection.common = None
        super().start()

    def complete(self) -> None:
        """Note that the whole response is sent."""
        super().complete()
        self.stream.connection.common = None
