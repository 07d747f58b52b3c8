"""The engine of a WSGI app: one call per request, in a pool of threads or in the loop's thread."""

from __future__ import annotations

import asyncio

from arun.apps.wsgi.loop_calls import LoopCalls
from arun.apps.wsgi.threads import Threads
from arun.core.failures import printable
from arun.http.server import H1Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arun.apps.wsgi.exchange import WsgiExchange
    from arun.http.backlog import Backlog
    from arun.http.http1.connection import Connection
    from arun.http.options import Options
    from arun.http.request import Request

__all__ = ("WsgiEngine",)


class WsgiEngine(H1Engine):
    """Serves a WSGI app; fulfils :class:`arun.http.contract.Engine`."""

    def __init__(self, app: Callable[..., Iterable[bytes]], options: Options) -> None:
        super().__init__(options)
        self.app = app
        self.threads = Threads(options.threads, options.limits.queue)
        if options.threads:
            from arun.apps.wsgi.threaded import ThreadExchange, TimedExchange
            from arun.http.backlog import Room

            timed = options.limits.request_timeout > 0
            self._exchange: type[WsgiExchange] = TimedExchange if timed else ThreadExchange
            self._room = Room(options.limits.response_buffer)
        else:
            from arun.apps.wsgi.inline import InlineExchange

            self._exchange = InlineExchange

    @property
    def cancellable(self) -> bool:
        """Nothing ends a call in a thread; in the loop's thread there is none that runs while the engine stops."""
        return self.options.threads == 0

    @property
    def interruptible(self) -> bool:
        """A call in the loop's thread holds up everything else."""
        return self.options.threads > 0

    def exchange(self, connection: Connection, request: Request) -> WsgiExchange:
        """Make the exchange of one request."""
        return self._exchange(connection, request, self)

    def backlog(self) -> Backlog | None:
        """Return what keeps an answer for a client that is slow to take it; None if there is no room for that."""
        if not self._room.limit:
            return None
        from arun.http.backlog import Backlog

        try:
            return Backlog(self._room)
        except (OSError, ImportError):
            return None  # then the thread waits for its client

    def body_lost(self, exchange: WsgiExchange, exc: Exception) -> None:
        """Tell of a request whose body could not be kept."""
        why = printable(str(exc))
        self._tell(exchange, lambda: f"its body cannot be kept in a temporary file: {why}\n", "was refused")

    def log(self, text: str) -> None:
        """Write to the error log from any thread; in the loop's, as the log is its own."""
        self.calls.post(self.options.on_error, text)

    async def _start_app(self) -> None:
        self.calls = LoopCalls()

    async def _stop_app(self, grace: float) -> None:  # noqa: ARG002 - WSGI has no shut-down of its own
        for _ in range(2):  # what was cancelled has something to close in a thread
            await asyncio.sleep(0)
        self.threads.close()
