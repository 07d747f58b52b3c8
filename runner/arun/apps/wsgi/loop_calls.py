"""Calls into the loop's thread, gathered: one wake-up of the loop for all that are ready."""

from __future__ import annotations

import asyncio
from collections import deque

from arun.core.genuine import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("LoopCalls",)

#: Seconds after which the rest waits for the next turn of the loop, so that what was written leaves in between.
_TURN = 0.002


class LoopCalls:
    """A queue of calls that the loop makes in their order; each call must catch what it may raise.

    ``call_soon_threadsafe`` alone wakes the loop with a system call each time, and makes it ask for the interpreter's
    lock while the thread that called still works.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._woken = False

    def later(self, call: Callable[..., None], *arguments: object) -> None:
        """Make a call after what runs now; to be used in the loop's thread."""
        self._calls.append((call, arguments))
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._make)

    def post(self, call: Callable[..., None], *arguments: object) -> bool:
        """Make a call in the loop's thread, from any other; return False if the loop is closed."""
        self._calls.append((call, arguments))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._make)
            except RuntimeError:
                self._woken = False
                return False
        return not self._loop.is_closed()

    def _make(self) -> None:
        # First this, then the calls: a thread that comes in between wakes us once too often, never too seldom.
        self._woken = False
        calls, until = self._calls, perf_counter() + _TURN
        try:
            for _ in range(len(calls)):
                call, arguments = calls.popleft()
                call(*arguments)
                if perf_counter() > until:
                    break
        finally:
            if calls and not self._woken:
                self._woken = True
                self._loop.call_soon(self._make)
