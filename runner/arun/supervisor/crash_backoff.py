"""Crash backoff: how soon a worker that died is replaced, and when deaths have become a crash loop. A pure rule of times."""

from __future__ import annotations

from collections import deque

__all__ = ("CrashBackoff",)

#: Seconds that the second of two deaths waits for its replacement; each further one waits twice as long, up to a limit.
_FIRST, _LONGEST = 0.1, 10.0


class CrashBackoff:
    """The recent deaths of workers. Times are seconds of one clock.

    ``limit`` deaths within ``interval`` seconds are a crash loop; with 0 there is none.
    """

    def __init__(self, limit: int, interval: float) -> None:
        self._limit = limit
        self._interval = interval
        self._times: deque[float] = deque()

    def died(self, now: float) -> float:
        """Count a death; return the seconds until its replacement, 0 for the first."""
        self._times.append(now)
        while self._times[0] <= now - self._interval:
            self._times.popleft()
        doubled = min(len(self._times) - 2, 32)
        return 0.0 if doubled < 0 else min(_LONGEST, _FIRST * 2**doubled)

    @property
    def is_loop(self) -> bool:
        """Whether the latest deaths are a crash loop."""
        return 0 < self._limit <= len(self._times)

    @property
    def deaths(self) -> int:
        """The number of recent deaths."""
        return len(self._times)
