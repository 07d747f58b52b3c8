"""The engine of an aiohttp app: aiohttp's own server, with arun's promises about errors, proxies and the stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import istr

from arun.apps.aiohttp.app_task import AppTask
from arun.apps.aiohttp.guard import Guard
from arun.apps.aiohttp.handler_args import settle
from arun.apps.aiohttp.records import Records, failing
from arun.apps.aiohttp.refusals import answer
from arun.core.failures import APP_STARTUP_FAILED, StartupFailure, printable
from arun.http.error_log import ErrorLog
from arun.http.forwarded import TrustedPeers, scheme
from arun.system import logs
from arun.system.tracebacks import app_traceback, described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aiohttp.http import RawRequestMessage

    from arun.apps.aiohttp.request_time import TimedRequests
    from arun.http.options import Options

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

__all__ = ("AiohttpEngine",)

#: Seconds in which a connection that was accepted before a stop may still send its first request.
_FIRST_REQUEST = 1.0
#: Seconds that cancelled handlers, or the cleanup after a failed start, get to end.
_CANCELLED = 0.5
#: aiohttp takes a time-out of 0 for none.
_AT_ONCE = 0.01


class AiohttpEngine:
    """Serves a ``web.Application``; fulfils :class:`arun.http.contract.Engine`."""

    def __init__(self, app: web.Application, options: Options) -> None:
        self._app = app
        self._options = options
        self._trusted = TrustedPeers(options.trusted)
        self._server: web.Server | None = None
        self._guard: Guard | None = None
        #: Where the app's own steps run, from its start-up to its clean-up.
        self._life: AppTask | None = None
        self._cleaned = False
        self._aborted = False
        self._phase: asyncio.Timeout | None = None

    async def start(self) -> Callable[..., asyncio.BaseProtocol]:
        """Run the app's on_startup and return the factory of aiohttp's own protocol.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): a handler of on_startup, or a cleanup context, raised.
        """
        self._life = AppTask(self._clean_up_early)
        try:
            return await self._life.run(self._start())
        except BaseException:
            self._life.end()
            raise

    async def _start(self) -> Guard:
        args = settle(self._app._handler_args, self._options)  # noqa: SLF001 - nothing public tells them
        for line in args.told:
            logs.warning(f"handler_args of the app: {line}")
        self._options = args.options
        records = Records(self._options, self._trusted.trusts, args.access_log)
        records.prepare(self._app)
        runner = web.AppRunner(self._app, handle_signals=False)
        try:
            await runner.setup()
        except BaseException as exc:
            await self._run(self._app.cleanup(), _CANCELLED, "cleanup after its failed start-up")
            if isinstance(exc, asyncio.CancelledError) and _is_being_cancelled():
                raise
            raise StartupFailure(
                APP_STARTUP_FAILED, f"the app's start-up raised {described(exc)}", detail=app_traceback(exc)
            ) from None
        self._server = server = runner.server
        if server is None:
            raise RuntimeError("aiohttp's runner was set up and has no server")
        server.request_handler = records.watched(server.request_handler)
        if self._options.limits.concurrency > 0:
            server.request_handler = self._bounded(server.request_handler, self._options.limits.concurrency)
        if self._trusted:
            server.request_factory = self._forwarded(server.request_factory)
        server.request_factory = records.named(server.request_factory)
        logger = _ErrorLog(self._options.on_error, records, args.logger)
        times = self._times(records, logger) if self._options.limits.request_timeout > 0 else None
        kept = {"logger": logger, **records.for_aiohttp(), **args.connection}
        self._guard = Guard(self._options, server, times, **kept)
        return self._guard

    def _times(self, records: Records, log: _ErrorLog) -> TimedRequests:
        from arun.apps.aiohttp.request_time import TimedRequests

        limit = self._options.limits.request_timeout
        how = f"took longer than {limit:g} s"
        return TimedRequests(limit, records, lambda request, stack: log.tell(request, stack, how))

    def drain(self) -> None:
        """Ask every client to come back on another connection: a stop is near. New ones are still served."""
        if self._guard is not None:
            self._guard.draining = True

    @property
    def requests(self) -> int:
        """How many requests have begun."""
        return 0 if self._server is None else self._server.requests_count

    async def quiet(self, seconds: float) -> None:
        """Wait ``seconds`` at most until every connection has ended by itself; websockets are closed at once."""
        guard = self._guard
        if guard is None:
            return
        guard.close_websockets()
        try:
            async with self._within(seconds):
                await guard.deserted()
        except TimeoutError:
            pass

    async def stop(self, grace: float) -> None:
        """Answer what has begun within ``grace`` seconds, cut the rest, then run the app's cleanup within as many.

        aiohttp's order is kept: on_shutdown comes first, as it is what ends long-lived answers. Websockets that it leaves
        open are closed after it.
        """
        server, life = self._server, self._life
        if server is None or life is None:
            return
        self.drain()
        # What lies in the sockets' buffers has begun: let the loop read it before idle connections are closed.
        for _ in range(3):
            await asyncio.sleep(0)
        fresh = [one for one in server.connections if not one._request_count]  # noqa: SLF001 - nothing public tells it
        settled = [one for one in server.connections if one not in fresh]
        for connection in settled:
            connection.close()
        await life.run(self._run(self._app.shutdown(), grace, "on_shutdown"))
        if self._guard is not None:
            self._guard.close_websockets()
        await self._drain(settled, fresh, grace)
        await asyncio.gather(*(one.shutdown(_AT_ONCE) for one in server.connections))
        if not self._cleaned:
            await life.run(self._run(self._app.cleanup(), grace, "cleanup"))
        life.end()

    def abort(self) -> None:
        """Cut every connection now, and whatever a running stop waits for."""
        self._aborted = True
        for connection in self._server.connections if self._server else ():
            connection.force_close()
        if self._phase is not None:
            with suppress(RuntimeError):  # it has just ended by itself
                self._phase.reschedule(asyncio.get_running_loop().time())

    async def _drain(self, settled: list[web.RequestHandler], fresh: list[web.RequestHandler], grace: float) -> None:
        """Wait for the requests that run; a connection that has sent nothing yet gets a moment to do so."""
        bound = max(grace, _AT_ONCE)

        async def first(connection: web.RequestHandler) -> None:
            await asyncio.sleep(_FIRST_REQUEST)
            await connection.shutdown(bound)

        try:
            async with self._within(bound):
                await asyncio.gather(*(one.shutdown(bound) for one in settled), *(first(one) for one in fresh))
        except TimeoutError:
            pass

    async def _clean_up_early(self) -> None:
        """Clean up what a start-up had begun and what was cancelled while it served; the app goes on without it."""
        self._cleaned = True
        self._options.on_error("what the app's start-up began was cancelled, and is cleaned up while the app serves\n")
        with suppress(asyncio.CancelledError):  # the clean-up's own; who cancels the task for good has ended it
            await self._run(self._app.cleanup(), None, "cleanup")

    async def _run(self, step: Awaitable[None], seconds: float | None, name: str) -> None:
        """Run one of the app's own steps within a bound; what goes wrong is told, and the stop goes on."""
        within = self._within(seconds)
        try:
            async with within:
                await step
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError) and _is_being_cancelled():
                raise
            if isinstance(exc, TimeoutError) and within.expired():
                self._options.on_error(f"the app's {name} took longer than {seconds or 0:g} s and was cut\n")
                return
            self._options.on_error(f"the app's {name} raised\n{app_traceback(exc)}")

    def _within(self, seconds: float | None) -> asyncio.Timeout:
        self._phase = asyncio.timeout(0 if self._aborted else seconds)
        return self._phase

    @staticmethod
    def _bounded(handler: Handler, limit: int) -> Handler:
        """Wrap the app: beyond so many requests at the same time, one is declined (RFC 9110 section 15.6.4)."""
        running = 0

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            nonlocal running
            if running >= limit:
                return answer(503, last=False)
            running += 1
            try:
                return await handler(request)
            finally:
                running -= 1

        return handle

    def _forwarded(self, factory: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
        """Wrap the making of requests: client and scheme are those that a trusted proxy tells."""
        is_standard = self._options.forwarded_header == "forwarded"
        names = (istr("Forwarded"),) if is_standard else (istr("X-Forwarded-For"), istr("X-Forwarded-Proto"))
        first, last = names[0], names[-1]

        def make(message: RawRequestMessage, *arguments: Any) -> web.BaseRequest:
            request = factory(message, *arguments)
            headers = message.headers
            if (first not in headers and last not in headers) or not self._trusted.trusts(request.remote or None):
                return request
            said = [headers.getall(name, ()) for name in names]
            if is_standard:
                client, proto = self._trusted.forwarded(",".join(said[0]))
            else:
                client, proto = self._trusted.client(",".join(said[0])), scheme(",".join(said[1]))
            changes: dict[str, Any] = {name: value for name, value in (("remote", client), ("scheme", proto)) if value}
            return request.clone(**changes)

        return make


class _ErrorLog(logging.Logger):
    """aiohttp's logger, which writes to the error log of the instance instead of the root logger's handlers."""

    def __init__(self, on_error: Callable[[str], None], records: Records, of_app: logging.Logger | None) -> None:
        super().__init__("aiohttp.server", logging.INFO)
        #: A logger that the app wants to hear of errors as well; one that would write nowhere is left out.
        self._of_app = of_app if of_app is not None and of_app.hasHandlers() else None
        self._on_error = on_error
        self._requests = ErrorLog(on_error)
        self._records = records

    def handle(self, record: logging.LogRecord) -> None:
        """Write one record with the app's own traceback; malformed requests are the client's fault and not told."""
        if self._of_app is not None and self._of_app.isEnabledFor(record.levelno):
            self._of_app.handle(record)
        exc = record.exc_info[1] if record.exc_info else None
        if isinstance(exc, HttpProcessingError):
            return
        request = failing.get()
        if exc is None or request is None:
            self._on_error(f"{printable(record.getMessage())}\n{app_traceback(exc) if exc else ''}")
            return
        self.tell(request, lambda: app_traceback(exc))

    def tell(self, request: web.BaseRequest, traceback: Callable[[], str], how: str = "failed") -> None:
        """Write the frame of a request that failed."""
        own = self._records.id_of(request)
        self._requests.failed(
            request.method,
            request.raw_path.encode("utf-8", "surrogateescape"),
            client=request.remote or None,
            request_id=own.encode() if own else None,
            traceback=traceback,
            how=how,
        )


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
