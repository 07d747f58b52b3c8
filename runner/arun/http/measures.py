"""What is measured of requests where metrics can be asked for: statuses, bytes, and times in buckets."""

from __future__ import annotations

from bisect import bisect_left
from time import time

from arun.core.counters import BOUNDS, Measured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from arun.http.endpoints import Endpoints
    from arun.http.exchange import Exchange

    #: Makes the connection of a server.
    Factory = Callable[[Any, Endpoints | None], Any]

__all__ = ("Measures", "queued_since")

#: From here on a number counts milliseconds, or microseconds, since the epoch: as seconds it would be the year 5138.
_MILLISECONDS: Final = 1e11
_MICROSECONDS: Final = 1e14
_LAST_CLASS: Final = 5
_BEYOND: Final = 600
#: Seconds beyond which a time is no time in a queue: clocks differ, or the field is nonsense.
_LONGEST: Final = 3600.0
#: Of any length to the compiler, which makes a new tuple of one whose length it knows for every call.
_BOUNDS: Final[tuple[float, ...]] = BOUNDS


class Measures:
    """The numbers of one process; they belong to the loop's thread, and another thread may read them."""

    def __init__(self) -> None:
        self._statuses = [0] * len(Measured().statuses)
        self._received = self._sent = 0
        self._seconds = self._queued = 0.0
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._queue_buckets = [0] * (len(BOUNDS) + 1)

    def add(self, exchange: Exchange, status: int, seconds: float) -> None:
        """Count a request that has ended, with the status of its response, 0 without one, and the time that it took."""
        self._statuses[status // 100 if status < _BEYOND else _LAST_CLASS] += 1
        self._sent += exchange.sent
        self._seconds += seconds
        self._buckets[bisect_left(_BOUNDS, seconds)] += 1
        queued = exchange.queued + exchange.taken - exchange.started_at
        if queued:
            self._queued += queued
            self._queue_buckets[bisect_left(_BOUNDS, queued)] += 1
        else:
            self._queue_buckets[0] += 1

    def refused(self, status: int, sent: int) -> None:
        """Count what was refused before it became a request: it took no time of the app's."""
        self._statuses[min(status // 100, _LAST_CLASS)] += 1
        self._sent += sent

    def counting(self, factory: Factory) -> Factory:
        """Return a factory of connections that count what they receive."""

        def make(http: Any, endpoints: Endpoints | None) -> Any:
            connection = factory(http, endpoints)
            feed: Callable[[bytes], None] = connection.data_received

            def count(data: bytes) -> None:
                self._received += len(data)
                feed(data)

            connection.data_received = count
            return connection

        return make

    def now(self) -> Measured:
        """Return the numbers as they are now."""
        return Measured(
            tuple(self._statuses),
            self._received,
            self._sent,
            self._seconds,
            tuple(self._buckets),
            self._queued,
            tuple(self._queue_buckets),
        )


def queued_since(value: bytes) -> float:
    """Return the seconds since a proxy has taken a request, from its X-Request-Start; 0 where that holds no time.

    Proxies write the time as ``t=`` and seconds (nginx), milliseconds (Heroku, without ``t=``) or microseconds (Apache).
    """
    try:
        began = float(value.strip().removeprefix(b"t="))
    except ValueError:
        return 0.0
    if began >= _MICROSECONDS:
        began /= 1e6
    elif began >= _MILLISECONDS:
        began /= 1e3
    seconds = time() - began
    return seconds if 0.0 < seconds < _LONGEST else 0.0
