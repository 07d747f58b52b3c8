"""What is counted of requests, as a value that travels: from a worker to its supervisor as numbers on one line."""

from __future__ import annotations

from arun.core.values import Value

__all__ = ("BOUNDS", "Counters", "Measured")

#: Upper bounds of the buckets of both histograms, in seconds; a last bucket has what is beyond them.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BUCKETS = len(BOUNDS) + 1
#: Classes of statuses: none was sent, then 1xx to 5xx.
_CLASSES = 6
_NONE = (0,) * _BUCKETS


class Measured(Value):
    """What is counted only where metrics can be asked for; numbers that never go back.

    ``received`` are bytes from clients, heads and framing included; ``sent`` are bytes of bodies of responses. ``seconds``
    go from the complete head to the end of the response, ``queued`` from when a proxy or this process took the request to
    when the app began with it; each has its buckets, which are not cumulative.
    """

    statuses: tuple[int, ...] = (0,) * _CLASSES
    received: int = 0
    sent: int = 0
    seconds: float = 0.0
    buckets: tuple[int, ...] = _NONE
    queued: float = 0.0
    queue_buckets: tuple[int, ...] = _NONE

    def plus(self, other: Measured) -> Measured:
        """Return the sum."""
        return Measured(
            _sums(self.statuses, other.statuses),
            self.received + other.received,
            self.sent + other.sent,
            self.seconds + other.seconds,
            _sums(self.buckets, other.buckets),
            self.queued + other.queued,
            _sums(self.queue_buckets, other.queue_buckets),
        )


class Counters(Value):
    """The requests so far, those that run, and the connections that are open; what else is measured, if it is."""

    requests: int = 0
    running: int = 0
    connections: int = 0
    measured: Measured | None = None

    def plus(self, other: Counters) -> Counters:
        """Return the sum."""
        measured = self.measured
        if other.measured is not None:
            measured = other.measured if measured is None else measured.plus(other.measured)
        return Counters(
            self.requests + other.requests,
            self.running + other.running,
            self.connections + other.connections,
            measured,
        )

    def at_the_end(self) -> Counters:
        """Return what is left of it when its process has gone: nothing runs."""
        return self._replace(running=0, connections=0)

    def as_text(self) -> str:
        """Return it as numbers on one line."""
        numbers: list[float] = [self.requests, self.running, self.connections]
        measured = self.measured
        if measured is not None:
            numbers += [*measured.statuses, measured.received, measured.sent, measured.seconds, *measured.buckets]
            numbers += [measured.queued, *measured.queue_buckets]
        return " ".join(map(repr, numbers))

    @classmethod
    def of_text(cls, text: str) -> Counters:
        """Return what ``as_text`` has written; of another arun it may have other numbers behind the first three.

        Raises:
            ValueError: it holds no such numbers.
        """
        words = text.split()
        requests, running, connections = map(int, words[:3])
        if len(words) != 3 + _CLASSES + 4 + 2 * _BUCKETS:
            return cls(requests, running, connections)
        rest = iter(words[3:])

        def some(count: int) -> tuple[int, ...]:
            return tuple(int(next(rest)) for _ in range(count))

        measured = Measured(
            some(_CLASSES), int(next(rest)), int(next(rest)), float(next(rest)), some(_BUCKETS), float(next(rest)),
            some(_BUCKETS),
        )  # fmt: skip
        return cls(requests, running, connections, measured)


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
