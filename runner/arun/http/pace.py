"""How fast a client moves bytes while it is waited for: the minimum rates of request bodies and of responses.

Kestrel has the same two limits, with the same defaults (MinRequestBodyDataRate and MinResponseDataRate). Only the time in
which the client alone is waited for counts: an app that does not read, or produces slowly, is no fault of the client.
"""

from __future__ import annotations

from arun.core.values import Value

__all__ = ("Pace", "Rate")

#: Seconds that one look may add: after a longer pause the whole loop was held up, not the client.
_LONGEST_LOOK = 1.0


class Rate(Value):
    """``least`` bytes per second (0: no limit), averaged over a wait that is longer than ``grace`` seconds."""

    least: int
    grace: float

    def is_missed(self, seconds: float, moved: int) -> bool:
        """Return whether ``moved`` bytes in so many seconds are too few."""
        return seconds > self.grace and moved < self.least * seconds


class Pace:
    """The seconds of one wait, and the bytes that moved meanwhile, as the server's clock sees them now and then."""

    __slots__ = ("_looked", "_rate", "_waited", "moved")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._looked: float | None = None
        self._waited = 0.0
        self.moved = 0

    def look(self, now: float, moved: int) -> bool:
        """Note that ``moved`` bytes have moved in all while the client is waited for; return whether it is too slow."""
        if self._looked is not None:
            self._waited += min(now - self._looked, _LONGEST_LOOK)
        self._looked, self.moved = now, moved
        return self._rate.is_missed(self._waited, moved)

    def rest(self) -> None:
        """Note that the client is not waited for at this look."""
        self._looked = None
