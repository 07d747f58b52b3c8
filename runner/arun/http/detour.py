"""A detour: some requests go to another application than the app, as while an operator has taken it offline."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arun.http.exchange import Exchange, Stream
    from arun.http.request import Request
    from arun.http.server import Application, HttpServer

__all__ = ("Detour",)


class Detour:
    """Requests that ``takes`` picks go to ``other``, all others to the app; fulfils :class:`arun.http.server.Application`.

    ``other`` is arun's own: it has no life, and needs no start and no stop.
    """

    def __init__(self, app: Application, other: Application, takes: Callable[[Stream, Request], bool]) -> None:
        self.app = app
        self.cancellable, self.interruptible = app.cancellable, app.interruptible
        self._other = other
        self._takes = takes

    async def start(self, http: HttpServer) -> None:
        """Start the app."""
        await self.app.start(http)

    async def retire(self, grace: float) -> None:
        """Retire the app."""
        await self.app.retire(grace)

    async def stop(self, grace: float) -> None:
        """Stop the app."""
        await self.app.stop(grace)

    def abort(self) -> None:
        """Cut the app's start-up or shut-down."""
        self.app.abort()

    def exchange(self, stream: Stream, request: Request) -> Exchange:
        """Return the exchange of one request."""
        return (self._other if self._takes(stream, request) else self.app).exchange(stream, request)

    def takes_upgrade(self, request: Request) -> bool:
        """Return whether an upgrade is one that both know."""
        return self.app.takes_upgrade(request) and self._other.takes_upgrade(request)
