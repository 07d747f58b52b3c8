"""The time that an app has for a request, kept by the clock at which the server looks anyway.

Nothing is noted when a request begins or ends: what runs is looked at now and then. So a limit costs requests nothing, and
is as exact as that clock: it strikes up to two looks late, and never early.
"""

from __future__ import annotations

from typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("RequestTimes",)

Key = TypeVar("Key")
_OVER = float("inf")


class RequestTimes(Generic[Key]):
    """Seconds that the app has spent on each request that runs, out of ``limit``."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._spent: dict[Key, float] = {}
        self._worked: set[Key] = set()
        self._looked = 0.0

    def look(self, now: float, running: Iterable[Key], works: Callable[[Key], bool]) -> list[tuple[Key, bool]]:
        """Return the requests whose time is over, and of each whether that was returned before.

        ``works`` says whether the app has one in hand, or waits for its client: that time is not the app's. Nor is more
        than half of the limit between two looks: then the whole loop was held up, and not by a request that
        waits.
        """
        passed, self._looked = min(now - self._looked, self._limit / 2), now
        before, worked = self._spent, self._worked
        self._spent, self._worked = {}, set()
        over = []
        for key in running:
            spent = before.get(key, 0.0)
            if spent != _OVER and works(key):
                self._worked.add(key)
                if key in worked:
                    spent += passed
            if spent >= self._limit:
                over.append((key, spent == _OVER))
                spent = _OVER
            self._spent[key] = spent
        return over
