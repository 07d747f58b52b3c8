"""The time limit of requests to an aiohttp app: who is in time, and what becomes of the others."""

from __future__ import annotations

from arun.apps.aiohttp.connection import GuardedConnection
from arun.http.request_time import RequestTimes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from aiohttp import web

    from arun.apps.aiohttp.records import Records

__all__ = ("TimedRequests",)


class TimedRequests:
    """Ends requests that take the app longer than ``limit`` seconds.

    ``log`` takes a request and where its task waits, for the error log.
    """

    def __init__(
        self, limit: float, records: Records, log: Callable[[web.BaseRequest, Callable[[], str]], None]
    ) -> None:
        self._times: RequestTimes[asyncio.Task[None]] = RequestTimes(limit)
        self._records = records
        self._log = log
        #: Tasks that run on when their client has gone, and the connections that they had.
        self._orphans: dict[asyncio.Task[None], GuardedConnection] = {}

    def left(self, connection: GuardedConnection, task: asyncio.Task[None]) -> None:
        """Note that a client is about to be gone, and the task of its request goes on."""
        self._orphans[task] = connection

    def look(self, now: float, connections: Iterable[web.RequestHandler]) -> None:
        """End the requests whose time is over; a handler that will not hear of it is told again at each look."""
        self._orphans = {task: one for task, one in self._orphans.items() if not task.done()}
        running = self._orphans.copy()
        for one in connections:
            if isinstance(one, GuardedConnection) and one.task is not None:
                running[one.task] = one
        for task, told in self._times.look(now, running, lambda key: running[key].works()):
            if not told:
                self._time_out(running[task], task, now)
            task.cancel()

    def _time_out(self, connection: GuardedConnection, task: asyncio.Task[None], now: float) -> None:
        request = connection.request
        if request is None:
            return
        from arun.system.tracebacks import task_stack

        self._log(request, lambda: task_stack(task))
        connection.time_out(self._records.id_line(request))
        self._records.tell_cut(request, now - (connection.began or now))
