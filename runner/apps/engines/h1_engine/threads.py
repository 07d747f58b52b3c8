"""A few daemon threads that run calls of a WSGI app: a call that never returns holds neither a stop nor an exit."""

from __future__ import annotations

import threading
from queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Threads",)


class Threads:
    """At most ``limit`` threads, each started when all others are busy.

    ``concurrent.futures`` would join its threads before the interpreter ends, stuck ones too.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def run(self, call: Callable[[], None]) -> None:
        """Run a call, which raises nothing, in one of the threads; to be used from one thread only."""
        self._calls.put(call)
        if not self._idle.acquire(blocking=False) and self._started < self._limit:
            self._started += 1
            threading.Thread(target=self._work, name=f"arun-wsgi-{self._started}", daemon=True).start()

    def close(self) -> None:
        """Let each thread end after the calls that wait."""
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # it holds the request while this thread waits for the next one
            self._idle.release()
