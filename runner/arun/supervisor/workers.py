"""Workers as a supervisor knows them: what each has reported, the slots that they fill, and the generations of those."""

from __future__ import annotations

import os
import signal
import time

from arun.core.failures import WORKER_DIED, StartupFailure
from arun.core.values import Value
from arun.supervisor.reports import DRAINING, FAILED, PID, READY, RETIRE, SPENT, WAITING, Lines, failure_of, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from arun.supervisor.reports import Report

__all__ = ("Bounds", "Generation", "Recipe", "Slot", "Worker", "counted", "ended_by")

#: Bytes of what a worker says that are read at once.
_CHUNK = 65_536
#: Seconds beyond the time for requests that a stop may take: for the app's shut-down, its threads, and the machine.
_MARGIN = 10.0
#: Seconds that a worker gets that was forced to stop, and one that had not begun to serve.
_FORCED, _UNREADY = 5.0, 2.0


#: Seconds from the signal that makes a stuck worker tell where it is to the one that ends it.
_DUMP = 1.0


class Bounds(Value):
    """How long things may take, in seconds; 0 stands for no bound where it says so.

    ``start`` is for a worker to be ready (0: no bound), ``silence`` for a worker whose loop does not turn (0: no bound),
    ``drain_delay``, ``grace`` and ``keep_alive`` are those of a stop. ``deaths`` within ``interval`` are a crash loop
    (0: never).
    """

    start: float = 0.0
    silence: float = 30.0
    drain_delay: float = 0.0
    grace: float = 8.0
    keep_alive: float = 5.0
    deaths: int = 10
    interval: float = 60.0

    @property
    def stop(self) -> float:
        """Seconds after which a worker that was told to stop is killed."""
        return self.drain_delay + self.grace + _MARGIN

    @property
    def retire(self) -> float:
        """Seconds after which a worker that was ordered to retire is told to stop."""
        return self.keep_alive + self.grace + _MARGIN


class Worker:
    """One process from its fork to its burial."""

    def __init__(self, connection: socket.socket, slot: Slot | None, generation: Generation, pid: int = 0) -> None:
        #: When its start began: that of all, or its own where it replaces another.
        self.start_began = generation.start_began()
        self.connection = connection
        self.slot = slot
        self.generation = generation
        #: 0 while a preloaded process is being forked by another.
        self.pid = pid
        self.began = self.heard = time.monotonic()
        #: It serves, or has loaded the app for those who will.
        self.is_ready = False
        self.waiting_for = ""
        self.app = ""
        self.failure: StartupFailure | None = None
        #: Why it wants a successor; empty while it does not.
        self.spent = ""
        #: It was told to go: its end is no death.
        self.is_leaving = False
        self._retires = False
        #: It stops by itself, whoever has told it.
        self.is_draining = False
        #: Its line is closed though it lives; it was sent a signal that nobody survives.
        self.is_mute = self.is_killed = False
        #: The signals that it still gets, and when; the first at the front.
        self.due: list[tuple[float, signal.Signals]] = []
        self._lines = Lines()

    def __str__(self) -> str:
        name = f"worker {self.slot.number}" if self.slot else "the process that loads the app"
        return f"{name} (pid: {self.pid})"

    def read(self) -> bool:
        """Hear what it says; False at the end of the line."""
        try:
            data = self.connection.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for report in self._lines.feed(data):
            self._hear(report)
        return bool(data)

    def _hear(self, report: Report) -> None:
        self.heard = time.monotonic()  # whatever it says: that is what a beat is for
        if report.word == READY:
            self.is_ready, self.app = True, report.text
        elif report.word == WAITING:
            self.waiting_for = report.text
        elif report.word == SPENT:
            self.spent = report.text
        elif report.word == DRAINING:
            self.is_draining, self.spent = True, self.spent or "it was told to stop"
        elif report.word == FAILED:
            self.failure = self.failure or failure_of(report)
        elif report.word == PID:
            self.pid = int(report.text)

    def excuse(self, seconds: float) -> None:
        """Do not count so much of the time that has passed: neither against it, nor for what it still gets."""
        self.start_began += seconds
        self.began += seconds
        self.heard += seconds
        self.due = [(moment + seconds, number) for moment, number in self.due]

    def _order(self, line: bytes) -> None:
        """Say something to it; without effect where it does not listen any more."""
        try:
            self.connection.send(line)
        except OSError:
            return

    def abort(self, now: float) -> None:
        """Have it tell where its threads are, and end."""
        self.due = [(now, signal.SIGABRT), (now + _DUMP, signal.SIGKILL)]

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; where the process is not known yet, whoever should have forked it is killed in its place."""
        loader = self.generation.loader
        pid = self.pid or (loader.pid if loader is not None and number == signal.SIGKILL else 0)
        if pid:
            self.is_killed = self.is_killed or number == signal.SIGKILL
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):  # gone, or it has become somebody else
                return

    @property
    def speaks(self) -> bool:
        """Whether its line is open."""
        return self.connection.fileno() >= 0

    @property
    def is_stillborn(self) -> bool:
        """Whether it never came to be: the process that should have forked it has let go of its line."""
        loader = self.generation.loader
        return not self.pid and not self.speaks and (loader is None or loader.speaks)

    def stop(self, bounds: Bounds, *, forced: bool = False, parting: float = 0.0) -> None:
        """Tell it to stop, gracefully or at once; what a worker was told before is not told again.

        For ``parting`` seconds before that it tells its kept connections to come back on another one.
        """
        now = time.monotonic()
        if forced:
            self.due = [(now, signal.SIGQUIT), (now + _FORCED, signal.SIGKILL)]
        elif not self.is_leaving or self._retires:
            if parting and self.is_ready:
                self._order(line_of(RETIRE))
                now += parting
            self.due = [(now, signal.SIGTERM), (now + (bounds.stop if self.is_ready else _UNREADY), signal.SIGKILL)]
        self.is_leaving, self._retires = True, False

    def retire(self, bounds: Bounds) -> None:
        """Order it to go when its clients have gone; one that does not serve is told to stop."""
        if not self.is_ready or self.slot is None:
            self.stop(bounds)
        elif not self.is_leaving:
            self._order(line_of(RETIRE))
            self.is_leaving = self._retires = True
            until = time.monotonic() + bounds.retire
            self.due = [(until, signal.SIGTERM), (until + bounds.stop, signal.SIGKILL)]

    @property
    def next_due(self) -> float:
        """When the next signal is due: the last one, where the process is not known that should get the others."""
        return self.due[0 if self.pid else -1][0]

    def enforce(self, now: float) -> None:
        """Send the signals whose time has come."""
        while self.due and self.next_due <= now:
            self.kill(self.due.pop(0 if self.pid else -1)[1])

    def why(self, status: int) -> StartupFailure:
        """Return why it has ended before it was ready: what it said, or what the system says."""
        waited = f"; it was waiting for {self.waiting_for}" if self.waiting_for else ""
        return self.failure or StartupFailure(WORKER_DIED, f"{self} {self.end(status)} before it was ready{waited}")

    def end(self, status: int) -> str:
        """Say how it ended, from its wait status."""
        if not (self.is_killed and status == signal.SIGKILL):
            return ended_by(status)
        return "had to be killed" + (", as the app had closed its line to the supervisor" if self.is_mute else "")


def counted(workers: int) -> str:
    """Say how many."""
    return "1 worker" if workers == 1 else f"{workers} workers"


def ended_by(status: int) -> str:
    """Say how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory, or by hand)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"


class Recipe(Value):
    """How the workers of a generation are made: ``run`` is called in the new process and never returns.

    It is given the number of a slot, when its start began, and the line to the supervisor. With ``preload`` it is called
    once, without a slot, in a process that loads the app and forks the others. ``began`` is when the start of all of
    them began. Times are of the monotonic clock, in seconds.
    """

    run: Callable[[int | None, float, socket.socket], NoReturn]
    workers: int
    bounds: Bounds
    began: float
    touched: Sequence[str] = ()
    preload: bool = False


class Slot:
    """One place among the workers: who serves there, who is to, and from when on somebody may be started."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.serving: Worker | None = None
        self.coming: Worker | None = None
        self.due = 0.0

    @property
    def held(self) -> list[Worker]:
        """Who is there."""
        return [worker for worker in (self.serving, self.coming) if worker is not None]

    def forget(self, worker: Worker) -> None:
        """Take a worker out."""
        if self.serving is worker:
            self.serving = None
        if self.coming is worker:
            self.coming = None


class Generation:
    """The workers of one recipe; those that an upgrade has left have none, and are not replaced."""

    def __init__(self, recipe: Recipe | None, what: str = "reload") -> None:
        self.recipe = recipe
        #: What brings it about, where another one serves already.
        self.what = what
        self.slots = [Slot(number) for number in range(1, recipe.workers + 1)] if recipe else []
        #: The process that has loaded the app and forks the others, with ``preload``; and why the last one ended.
        self.loader: Worker | None = None
        self.loader_failure: StartupFailure | None = None
        #: Who was inherited on its way out.
        self.leaving: list[Worker] = []
        #: All were ready once.
        self.is_complete = recipe is None

    @property
    def workers(self) -> list[Worker]:
        """Who is in the slots."""
        return [worker for slot in self.slots for worker in slot.held]

    @property
    def members(self) -> list[Worker]:
        """Who belongs to it."""
        return self.workers if self.loader is None else [self.loader, *self.workers]

    def inherit(self, connection: socket.socket, pid: int, number: int, *, is_leaving: bool) -> None:
        """Take a worker over from the arun that this process was; one that is on its way out has no slot any more."""
        slot = Slot(number)
        worker = Worker(connection, slot, self, pid)
        worker.is_ready = True
        if is_leaving:
            worker.retire(Bounds())
            self.leaving.append(worker)
        else:
            slot.serving = worker
            self.slots.append(slot)

    def resize(self, wanted: int) -> list[Worker]:
        """Have so many slots, and return who has none any more."""
        while len(self.slots) < wanted:
            self.slots.append(Slot(len(self.slots) + 1))
        surplus, self.slots = self.slots[wanted:], self.slots[:wanted]
        return [worker for slot in surplus for worker in slot.held]

    def wants(self, slot: Slot, now: float) -> bool:
        """Tell whether a worker is to be started for a slot: nobody is there, or who is there wants a successor.

        Successors come one after the other: workers that began together are spent together.
        """
        if self.recipe is None or slot.coming is not None or now < slot.due:
            return False
        if slot.serving is None:
            return True
        return bool(slot.serving.spent) and not any(one.serving and one.coming for one in self.slots)

    def start_began(self) -> float:
        """Return when the start of a worker began that is started now."""
        return time.monotonic() if self.is_complete or self.recipe is None else self.recipe.began
