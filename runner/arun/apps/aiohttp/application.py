"""An aiohttp app: its start-up and clean-up, and one exchange per request."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context

from aiohttp import web

from arun.apps.aiohttp.app_task import AppTask
from arun.apps.aiohttp.exchange import AiohttpExchange
from arun.apps.aiohttp.files import send_files_ourselves
from arun.apps.aiohttp.handler_args import settle
from arun.apps.aiohttp.plain import may_be_plain
from arun.apps.aiohttp.serving import Serving
from arun.core.failures import APP_STARTUP_FAILED, StartupFailure
from arun.system import logs
from arun.system.tracebacks import app_traceback, described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable

    from arun.http.exchange import Stream
    from arun.http.options import HttpOptions
    from arun.http.request import Request
    from arun.http.server import HttpServer

__all__ = ("AiohttpApplication",)

#: Seconds that the cleanup after a failed start gets to end.
_CANCELLED = 0.5


class AiohttpApplication:
    """A ``web.Application``; fulfils :class:`arun.http.server.Application`.

    ``options`` are those of the instance, or stricter ones where the app's ``handler_args`` say so.
    """

    #: A request is a task, which can be cancelled, and lets the loop go on.
    cancellable = interruptible = True
    #: Set by ``start``.
    _serving: Serving

    def __init__(self, app: web.Application, options: HttpOptions) -> None:
        self._app = app
        self._args = settle(app._handler_args, options)  # noqa: SLF001 - see names
        self.options = self._args.options
        #: Where the app's own steps run, from its start-up to its clean-up.
        self._life: AppTask | None = None
        self._cleaned = self._aborted = False
        self._phase: asyncio.Timeout | None = None

    async def start(self, http: HttpServer) -> None:
        """Run the app's on_startup.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): a handler of on_startup, or a cleanup context, raised.
        """
        for line in self._args.notes:
            logs.warning(f"handler_args of the app: {line}")
        self._life = AppTask(self._clean_up_early)
        try:
            await self._life.run(self._start_up(http))
        except BaseException:
            self._life.end()
            raise

    async def retire(self, grace: float) -> None:
        """Run the app's on_shutdown, which ends its long-lived responses."""
        if self._life is not None:
            await self._life.run(self._run(self._app.shutdown(), grace, "on_shutdown"))

    async def stop(self, grace: float) -> None:
        """Run the app's on_cleanup, and the second halves of its cleanup contexts."""
        if self._life is None:
            return
        if not self._cleaned:
            await self._life.run(self._run(self._app.cleanup(), grace, "cleanup"))
        self._life.end()

    def abort(self) -> None:
        """Cut the step of the app that runs now."""
        self._aborted = True
        if self._phase is not None:
            with suppress(RuntimeError):  # it has just ended by itself
                self._phase.reschedule(asyncio.get_running_loop().time())

    def exchange(self, stream: Stream, request: Request) -> AiohttpExchange:
        """Return the exchange of one request."""
        return AiohttpExchange(stream, request, self._serving)

    def takes_upgrade(self, request: Request) -> bool:
        """Return whether an upgrade is one to websocket (RFC 6455 section 4.2.1)."""
        return not request.framing and request.asks_for(b"websocket")

    # ---- inner life

    async def _start_up(self, http: HttpServer) -> None:
        """Run the app's on_startup.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): a handler of on_startup, or a cleanup context, raised.
        """
        send_files_ourselves()
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
        server = runner.server
        if server is None:
            raise RuntimeError("aiohttp's runner was set up and has no server")
        self._serving = Serving(
            http, self._args, server.request_handler, server.request_factory, plain=may_be_plain(self._app)
        )
        http.context = copy_context()  # with what the start-up has set

    async def _clean_up_early(self) -> None:
        """Clean up what a start-up had begun and what was cancelled while it served; the app goes on without it."""
        self._cleaned = True
        self.options.on_error("what the app's start-up began was cancelled, and is cleaned up while the app serves\n")
        with suppress(asyncio.CancelledError):  # the clean-up's own; a task that is cancelled for good has ended
            await self._run(self._app.cleanup(), None, "cleanup")

    async def _run(self, step: Awaitable[None], seconds: float | None, name: str) -> None:
        """Run one of the app's own steps within a bound; what goes wrong is reported, and the stop goes on."""
        within = self._phase = asyncio.timeout(0 if self._aborted else seconds)
        try:
            async with within:
                await step
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError) and _is_being_cancelled():
                raise
            if isinstance(exc, TimeoutError) and within.expired():
                self.options.on_error(f"the app's {name} took longer than {seconds or 0:g} s and was cut\n")
                return
            self.options.on_error(f"the app's {name} raised\n{app_traceback(exc)}")


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
