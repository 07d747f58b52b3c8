"""The task in which an app's own start-up and clean-up run: one task and one context for both halves."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ("AppTask",)


class AppTask:
    """Runs the steps of an app's life one after another, each when it is asked for, in the same task.

    A clean-up can then end what a start-up began: reset a context variable with its token (contextvars accepts one only in
    its own context), or leave a cancel scope or task group (anyio and asyncio accept only the task that entered it).

    ``on_cancelled`` runs in the task when it is cancelled between two steps. A task group that a start-up has left open
    does that when one of its tasks fails; anyio repeats it at each turn of the loop until the group has been left.
    """

    def __init__(self, on_cancelled: Callable[[], Awaitable[None]]) -> None:
        self._on_cancelled = on_cancelled
        self._steps: asyncio.Queue[tuple[Coroutine[Any, Any, Any], asyncio.Future[Any]]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._task = self._loop.create_task(self._run())

    async def run(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step, and return or raise what it does; a cancelled caller cancels it and waits for its end.

        Where the task was cancelled for good, the step runs in the caller's.
        """
        outcome: asyncio.Future[T] = self._loop.create_future()
        self._steps.put_nowait((step, outcome))
        try:
            await asyncio.wait((outcome, self._task), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not outcome.done():
                self.end()
                await asyncio.wait((self._task,))
            raise
        return outcome.result() if outcome.done() else await step

    def end(self) -> None:
        """Run no more steps; the one that runs is cancelled."""
        self._ended = True
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                step, outcome = await self._steps.get()
            except asyncio.CancelledError:
                if self._ended:
                    return
                await self._on_cancelled()
                if self._task.cancelling():  # a task group takes its own back
                    return
                continue
            try:
                outcome.set_result(await step)
            except asyncio.CancelledError:
                outcome.cancel()
            except BaseException as exc:  # noqa: BLE001 - the caller's to judge, SystemExit of an app too
                outcome.set_exception(exc)
            if self._ended or self._task.cancelling():
                return
