"""The brake: how soon a worker that died is replaced, and when deaths have become a crash loop. A pure rule of times."""

from __future__ import annotations

from collections import deque

__all__ = ("Brake",)

#: Seconds that the second of two deaths waits for its replacement; each further one waits twice as long, up to a limit.
_FIRST, _LONGEST = 0.1, 10.0


class Brake:
    """The deaths of late. Times are seconds of one clock.

    ``limit`` deaths within ``interval`` seconds are a crash loop; with 0 there is none.
    """

    def __init__(self, limit: int, interval: float) -> None:
        self._limit = limit
        self._interval = interval
        self._times: deque[float] = deque()

    def died(self, now: float) -> float:
        """Note a death and return the seconds to wait with its replacement: none for the first."""
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
        """How many deaths there were lately."""
        return len(self._times)
