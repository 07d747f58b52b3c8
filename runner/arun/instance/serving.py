"""What serves, as those see it who ask for the state: one process, or a supervisor with its workers and reloads."""

from __future__ import annotations

import os
import time

from arun.core.counters import Counters
from arun.core.genuine import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from arun.control.state import WorkerState
    from arun.core.failures import FailureRecord
    from arun.supervisor.supervisor import Supervisor
    from arun.supervisor.workers import Worker

    class Serving(Protocol):
        """What serves."""

        @property
        def is_supervised(self) -> bool:
            """Whether a supervisor runs workers."""
            ...

        @property
        def generation(self) -> int:
            """How many configurations have had workers that served."""
            ...

        @property
        def waiting_for(self) -> str:
            """What a worker waits for that starts; empty for nothing."""
            ...

        @property
        def restarts(self) -> int:
            """How many workers were lost and replaced."""
            ...

        @property
        def reloads(self) -> Reloads:
            """The reloads so far."""
            ...

        def call(self, function: Callable[[], object], /) -> object:
            """Call a function soon, in the thread that serves or supervises."""
            ...

        def gone(self) -> Counters:
            """Return what processes have counted that are gone."""
            ...

        def workers(self) -> tuple[WorkerState, ...]:
            """Return the processes that serve, will, or did."""
            ...


__all__ = ("OneProcess", "Reloads", "Serving", "Supervised")

#: Seconds between two signs that a loop turns.
_BEAT = 0.5
#: Failures of one reload that are kept.
_MOST_FAILURES = 8


class Reloads:
    """The reloads of an instance: how many have begun and how they have ended."""

    def __init__(self) -> None:
        self.begun = self.done = self.failed = 0
        #: The number of the last one that has ended, whether it has ended well, and its failures. No value of control/, which
        #: is not imported here: files of arun may be away when a reload fails.
        self.last: tuple[int, bool, tuple[FailureRecord, ...]] | None = None
        self._failures: list[FailureRecord] = []

    def begin(self) -> None:
        """Count one that begins, in place of one that has not ended."""
        self.begun += 1
        self._failures.clear()

    def note(self, record: FailureRecord) -> None:
        """Note a failure of the one that goes on."""
        self._failures.append(record)
        del self._failures[:-_MOST_FAILURES]

    def end(self, *, well: bool) -> None:
        """Note how it has ended, unless that is known, or none has begun."""
        if not self.begun or (self.last is not None and self.last[0] == self.begun):
            return
        if well:
            self.done += 1
        else:
            self.failed += 1
        self.last = (self.begun, well, () if well else tuple(self._failures))


class OneProcess:
    """One process without a supervisor; ``call`` calls a function soon, in the thread of its loop."""

    is_supervised = False
    generation = 1
    restarts = 0
    #: The start notes that itself.
    waiting_for = ""

    def __init__(self, counters: Callable[[], Counters], call: Callable[[Callable[[], object]], object]) -> None:
        self.call = call
        self.reloads = Reloads()
        self._counters = counters
        self._since = time.time()
        self._turned = monotonic()

    def beat(self, call_later: Callable[..., object]) -> None:
        """Note that the loop turns, now and again and again."""
        self._turned = monotonic()
        call_later(_BEAT, self.beat, call_later)

    def gone(self) -> Counters:
        """Return nothing: no process is gone."""
        return Counters()

    def workers(self) -> tuple[WorkerState, ...]:
        """Return this process."""
        from arun.control.state import WorkerState

        silent = max(0.0, monotonic() - self._turned - _BEAT)
        return (WorkerState(1, os.getpid(), "serving", self._since, silent, self._counters()),)


class Supervised:
    """A supervisor, which is asked in its own thread."""

    is_supervised = True

    def __init__(self, supervisor: Supervisor, reloads: Reloads) -> None:
        self.reloads = reloads
        self._supervisor = supervisor

    @property
    def generation(self) -> int:
        """How many generations have served."""
        return self._supervisor.generation

    @property
    def restarts(self) -> int:
        """How many workers were lost and replaced."""
        return self._supervisor.restarts

    @property
    def waiting_for(self) -> str:
        """What the worker waits for that has been starting for longest; empty for nothing."""
        starting = (one.waiting_for for one in self._supervisor.workers if not one.is_ready)
        return next(filter(None, starting), "")

    def call(self, function: Callable[[], object]) -> None:
        """Call it now: handlers of signals only note."""
        function()

    def gone(self) -> Counters:
        """Return what workers have counted that are gone."""
        return self._supervisor.counted

    def workers(self) -> tuple[WorkerState, ...]:
        """Return the workers by their slots, those that leave at the end."""
        return tuple(map(_state, self._supervisor.workers))


def _state(worker: Worker) -> WorkerState:
    from arun.control.state import WorkerState

    silent = time.monotonic() - worker.heard
    name = "serving" if worker.is_ready else "starting"
    state = "leaving" if worker.is_leaving or worker.is_draining else name
    since = worker.ready_at or time.time() - (time.monotonic() - worker.began)
    return WorkerState(worker.slot.number if worker.slot else 0, worker.pid, state, since, silent, worker.counters)
