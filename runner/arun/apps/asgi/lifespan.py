"""ASGI's lifespan: the app's own start-up and shut-down (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""

from __future__ import annotations

import asyncio

from arun.core.failures import APP_STARTUP_FAILED, StartupFailure, contained, printable
from arun.system.tracebacks import app_traceback, described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

__all__ = ("Lifespan",)

#: Seconds that a cancelled lifespan gets to end.
_CANCELLED = 0.5
#: How the one line begins that stays at the margin of an app's message.
_TRACEBACK = ("Traceback (most recent call last):",)
_OUTCOMES = frozenset(f"lifespan.{phase}.{end}" for phase in ("startup", "shutdown") for end in ("complete", "failed"))


class Lifespan:
    """One run of an app's lifespan, in a task that lives from start-up to shut-down."""

    def __init__(
        self, app: Callable[..., Awaitable[None]], state: dict[str, Any], on_error: Callable[[str], None]
    ) -> None:
        self._app, self._state, self._on_error = app, state, on_error
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._said: dict[str, str] = {}
        self._news = asyncio.Event()
        self._received = False
        self._foreign = False
        self._cancelled = self._stopping = False
        self._raised: BaseException | None = None

    async def start(self) -> None:
        """Run the app's start-up; an app that does not know lifespan has none.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): the app reported it, raised after it took the event, or ended without an answer to it.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._events.put_nowait("lifespan.startup")
        try:
            await self._answer_to("startup")
        except asyncio.CancelledError:
            await self._end()
            raise
        if "lifespan.startup.complete" in self._said:
            return
        if "lifespan.startup.failed" in self._said:
            message, detail = self._reason("startup")
            await self._end()
            raise StartupFailure(
                APP_STARTUP_FAILED,
                f"the app says that its start-up failed: {message}",
                detail=self._traceback() or detail,
            ) from self._raised
        if not self._received or self._foreign:
            return  # it does not know lifespan, which it may show by raising
        if self._raised is not None:
            what = described(self._raised)
            raise StartupFailure(
                APP_STARTUP_FAILED, f"the app's start-up raised {what}", detail=self._traceback()
            ) from self._raised
        raise StartupFailure(
            APP_STARTUP_FAILED, "the app's lifespan ended without saying whether its start-up was complete"
        )

    async def stop(self, grace: float) -> None:
        """Run the app's shut-down within ``grace`` seconds; what goes wrong there is logged, not raised."""
        if self._task is None or self._task.done():
            return
        self._stopping = True
        self._events.put_nowait("lifespan.shutdown")
        try:
            async with asyncio.timeout(grace):
                await self._answer_to("shutdown")
        except TimeoutError:
            if not self._cancelled:
                self._on_error(f"the app's shut-down took longer than {grace:g} s and was cut\n")
        if self._cancelled:
            self._on_error("the app's shut-down was cut, as the stop was forced\n")
        elif "lifespan.shutdown.failed" in self._said:
            message, detail = self._reason("shutdown")
            await self._end()
            self._on_error(f"the app says that its shut-down failed: {message}\n{self._traceback() or detail}")
        elif self._raised is not None:
            self._on_error(f"the app's shut-down raised\n{self._traceback()}")
        await self._end()

    def cancel(self) -> None:
        """Cut the lifespan now."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            pass
        except BaseException as exc:  # noqa: BLE001 - SystemExit of a start-up is a failed start, raised by start()
            self._raised = exc
            if "lifespan.startup.complete" in self._said and not self._stopping:  # a task group in it, say
                self._on_error(f"the app's lifespan has ended, while the app serves\n{self._traceback()}")
        finally:
            self._news.set()

    async def _receive(self) -> dict[str, Any]:
        self._received = True
        return {"type": await self._events.get()}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        kind = message["type"]
        if kind not in _OUTCOMES:
            self._foreign = True  # an app that takes every scope for a request
            raise RuntimeError(f"a lifespan app cannot send {kind!r}")
        self._said[kind] = str(message.get("message", ""))
        self._news.set()

    async def _answer_to(self, phase: str) -> None:
        """Wait until the app has answered the event of this phase, or has ended."""
        task = self._task
        while task is not None and not task.done():
            if any(kind.startswith(f"lifespan.{phase}") for kind in self._said):
                return
            self._news.clear()
            await self._news.wait()
            await asyncio.sleep(0)  # what set the event may be the task's last step

    async def _end(self) -> None:
        """End the task: by itself if it is about to, else by cancelling it."""
        if self._task is None:
            return
        await asyncio.wait((self._task,), timeout=0.05)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_CANCELLED)

    def _reason(self, phase: str) -> tuple[str, str]:
        """Return the reason that the app gives for a failed phase, and all of its message: often a traceback, whose end is the reason."""
        said = self._said[f"lifespan.{phase}.failed"].strip()
        *before, last = map(printable, said.splitlines() or ["it gave no reason"])
        return last, f"{contained(said, _TRACEBACK)}\n" if before else ""

    def _traceback(self) -> str:
        if self._raised is None:
            return ""
        return app_traceback(self._raised)
