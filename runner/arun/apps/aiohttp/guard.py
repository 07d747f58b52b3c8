"""What all guarded connections of an app share: the limits, and the one clock that times their clients."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

from arun.apps.aiohttp.connection import GuardedConnection
from arun.apps.aiohttp.ends import LINGER
from arun.apps.aiohttp.intake import UNBOUNDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiohttp import web

    from arun.apps.aiohttp.request_time import TimedRequests
    from arun.http.endpoints import Endpoints
    from arun.http.options import HttpOptions

__all__ = ("Guard",)

#: Seconds between two looks at the connections, at most and at least.
_SELDOM, _OFTEN = 0.5, 0.01


class Guard:
    """Makes the connections of one server and looks after them."""

    def __init__(self, options: HttpOptions, server: web.Server, times: TimedRequests | None, **kept: Any) -> None:
        self.limits = limits = options
        #: The time limit of requests, None where there is none.
        self.times = times
        #: A client on this machine is shown tracebacks.
        self.debug = options.debug
        self.server_header = options.server_header
        self.date_header = options.date_header
        #: A stop is near or has begun: every answer is the last one of its connection.
        self.draining = False
        #: Websockets do not stay.
        self.retiring = False
        #: No connection is kept for a further request.
        self.closes_idle = not options.timeout_keep_alive > 0
        #: The handler of a client that has gone is cancelled (``handler_cancellation`` of the app's).
        self.cancels_handlers = server.handler_cancellation
        self._keep_alive = options.timeout_keep_alive
        self._server = server
        self._loop = asyncio.get_running_loop()
        #: What to wait for where there is nothing to wait for.
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.done.set_result(None)
        #: The context variables that a request begins with.
        self.context = copy_context()
        self._kept = {
            "lingering_time": LINGER,
            **kept,
            "keepalive_timeout": options.timeout_keep_alive,
            "max_line_size": limits.limit_request_line or UNBOUNDED,
            "max_field_size": limits.limit_request_field_size or UNBOUNDED,
            "max_headers": limits.limit_request_fields or UNBOUNDED,
        }
        seconds = (
            options.timeout_keep_alive,
            limits.timeout_header,
            limits.timeout_body,
            limits.timeout_write,
            limits.timeout_request,
            limits.rate_grace,
        )
        self._interval = max(_OFTEN, min((_SELDOM, *(one / 4 for one in seconds if one > 0))))
        self._watching: asyncio.TimerHandle | None = None
        self._deserted = asyncio.Event()

    def __call__(self, endpoints: Endpoints | None = None) -> GuardedConnection:
        """Make a connection, the protocol factory of the server; what a gate knows of it is what requests tell."""
        connection = GuardedConnection(self, self._server, self._loop, **self._kept)
        if endpoints is not None:
            connection.situate(endpoints)
        return connection

    def welcome(self) -> bool:
        """Watch over a new connection, and say whether there are no more than may be."""
        if self._watching is None:
            self._watch()
        limit = self.limits.limit_connections
        return not 0 < limit < len(self._server._connections)  # noqa: SLF001 - the public one is a copy

    def left(self) -> None:
        """Note that a connection has gone."""
        if self.retiring and not self._server._connections:  # noqa: SLF001 - as above
            self._deserted.set()

    def close_websockets(self) -> None:
        """Let no websocket stay, and none be opened."""
        self.retiring = True
        for connection in self._server.connections:
            if isinstance(connection, GuardedConnection):
                connection.close_websocket()

    async def deserted(self) -> None:
        """Wait until no connection is left."""
        self._deserted.clear()
        self.left()
        await self._deserted.wait()

    def idle_limit(self, served: int) -> float:
        """Return how many seconds a client may take to begin a request."""
        return self._keep_alive if served and self._keep_alive > 0 else self.limits.timeout_header

    def _watch(self) -> None:
        """Look at every connection, and again a little later while there are any.

        One clock for all of them: a timer for each would cost more than the requests that it watches.
        """
        connections, now, times = self._server.connections, self._loop.time(), self.times
        self._watching = self._loop.call_later(self._interval, self._watch) if connections else None
        for connection in connections:
            if isinstance(connection, GuardedConnection):
                connection.sweep(now)
        if times is not None:
            times.look(now, connections)
