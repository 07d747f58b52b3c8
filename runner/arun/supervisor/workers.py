"""Workers as a supervisor knows them: their reports, their slots, and the generations of slots."""

from __future__ import annotations

import _socket
import os
import select
import signal
import sys
import time

from arun.core.counters import Counters
from arun.core.failures import WORKER_DIED, StartupFailure
from arun.core.values import Value
from arun.supervisor.reports import (
    BEAT,
    DRAINING,
    FAILED,
    PID,
    READY,
    RETIRE,
    SPENT,
    WAITING,
    Lines,
    failure_of,
    line_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import NoReturn

    from arun.supervisor.reports import Report

__all__ = ("Generation", "Slot", "Worker", "WorkerSpec", "WorkerTimeouts", "counted", "counters_of", "ended_by")

#: Bytes of reports that are read at once, and of the descriptors beside them: 16 at most.
_CHUNK, _BESIDE = 65_536, _socket.CMSG_LEN(16 * 4)
_CLOSED_ON_EXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has none
#: Bytes of orders that wait for a worker which does not read.
_MOST_UNSENT = 4_194_304
#: Seconds beyond the time for requests that a stop may take: for the app's shut-down, its threads, and the machine.
_MARGIN = 10.0
#: Seconds until a worker is killed that was forced to stop, and one that was stopped before it served.
_FORCED, _UNREADY = 5.0, 2.0
#: Seconds from the signal that makes a stuck worker write its tracebacks to the one that ends it.
_DUMP = 1.0


class WorkerTimeouts(Value):
    """How long a worker may take, in seconds.

    ``start`` is until it is ready, ``silence`` between two heartbeats; 0 is no bound for these. ``drain_delay``, ``grace``
    and ``keep_alive`` are those of a stop.
    """

    start: float = 0.0
    silence: float = 30.0
    drain_delay: float = 0.0
    grace: float = 8.0
    keep_alive: float = 5.0

    @property
    def stop(self) -> float:
        """Seconds after which a stopping worker is killed."""
        return self.drain_delay + self.grace + _MARGIN

    @property
    def retire(self) -> float:
        """Seconds after which a retiring worker is stopped."""
        return self.keep_alive + self.grace + _MARGIN


class Worker:
    """One process from its fork until it is reaped."""

    def __init__(self, connection: socket.socket, slot: Slot | None, generation: Generation, pid: int = 0) -> None:
        #: When its start began: that of all, or its own where it replaces another.
        self.start_began = generation.start_began()
        self.connection = connection
        self.slot = slot
        self.generation = generation
        #: 0 while a preloaded process is being forked by another.
        self.pid = pid
        self.began = self.heard = time.monotonic()
        #: It serves, or has loaded the app for others.
        self.is_ready = False
        self.ready_at = 0.0
        #: What it has counted, as it last reported.
        self.counters = Counters()
        #: Connections that ask for the state of the instance, until they are taken.
        self.asking: list[int] = []
        self.waiting_for = ""
        self.app = ""
        self.failure: StartupFailure | None = None
        #: Why it asks for a successor; empty while it does not.
        self.spent = ""
        #: It was stopped or retired: its end is no death.
        self.is_leaving = False
        self._retires = False
        #: It stops, by an order or a signal of its own.
        self.is_draining = False
        #: Its connection is closed though it lives; SIGKILL was sent.
        self.is_mute = self.is_killed = False
        #: The signals still to be sent with their times, the earliest first.
        self.due: list[tuple[float, signal.Signals]] = []
        self._lines = Lines()
        self._unsent = b""

    def __str__(self) -> str:
        name = f"worker {self.slot.number}" if self.slot else "the process that loads the app"
        return f"{name} (pid: {self.pid})"

    def read(self) -> bool:
        """Read its reports; return False at the end of the connection."""
        try:
            data, beside, _, _ = self.connection.recvmsg(_CHUNK, _BESIDE, _CLOSED_ON_EXEC)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for level, kind, content in beside:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.asking += [int.from_bytes(content[at : at + 4], sys.byteorder) for at in range(0, len(content), 4)]
        for report in self._lines.feed(data):
            self._note(report)
        return bool(data)

    def close(self) -> None:
        """Close its connection, and those that ask and are not taken."""
        self.connection.close()
        while self.asking:
            os.close(self.asking.pop())

    def _note(self, report: Report) -> None:
        self.heard = time.monotonic()  # every report is a heartbeat
        if report.word == BEAT:
            if report.text:
                self.counters = counters_of(report.text)
        elif report.word == READY:
            self.is_ready, self.app, self.ready_at = True, report.text, time.time()
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

    def postpone(self, seconds: float) -> None:
        """Move its times by a pause of this process."""
        self.start_began += seconds
        self.began += seconds
        self.heard += seconds
        self.due = [(moment + seconds, number) for moment, number in self.due]

    def order(self, line: bytes) -> None:
        """Send an order, the rest of it later where the worker does not read; without effect if its connection is closed."""
        if len(self._unsent) < _MOST_UNSENT:
            self._unsent += line
        self.send_rest()

    def send_rest(self) -> None:
        """Send what is left of its orders."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""

    def abort(self, now: float) -> None:
        """End it after it has written the tracebacks of its threads."""
        self.due = [(now, signal.SIGABRT), (now + _DUMP, signal.SIGKILL)]

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; SIGKILL goes to the loader while the pid is unknown."""
        loader = self.generation.loader
        pid = self.pid or (loader.pid if loader is not None and number == signal.SIGKILL else 0)
        if pid:
            self.is_killed = self.is_killed or number == signal.SIGKILL
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):  # gone, or its pid is another process
                return

    @property
    def speaks(self) -> bool:
        """Whether its connection is open."""
        return self.connection.fileno() >= 0

    @property
    def is_connected(self) -> bool:
        """Whether both ends of its connection are open; after its end, reports may still wait to be read."""
        if not self.speaks:
            return False
        look = select.poll()
        look.register(self.connection, 0)  # POLLHUP is always reported
        return not look.poll(0)

    @property
    def is_unforked(self) -> bool:
        """Whether the loader has closed its connection without forking it.

        A loader that ends closes it as well, a moment before it can be reaped. Then this is true from the reaping on, when
        it is known why the loader has ended.
        """
        loader = self.generation.loader
        return not self.pid and not self.speaks and (loader is None or loader.is_connected)

    def stop(self, timeouts: WorkerTimeouts, *, forced: bool = False, parting: float = 0.0) -> None:
        """Stop it, gracefully or at once; a worker that is stopping already gets no second signal.

        For ``parting`` seconds before that it closes kept connections after their next response.
        """
        now = time.monotonic()
        if forced:
            self.due = [(now, signal.SIGQUIT), (now + _FORCED, signal.SIGKILL)]
        elif not self.is_leaving or self._retires:
            if parting and self.is_ready:
                self.order(line_of(RETIRE))
                now += parting
            self.due = [(now, signal.SIGTERM), (now + (timeouts.stop if self.is_ready else _UNREADY), signal.SIGKILL)]
        self.is_leaving, self._retires = True, False

    def retire(self, timeouts: WorkerTimeouts) -> None:
        """Let it finish its connections and end; one that does not serve is stopped."""
        if not self.is_ready or self.slot is None:
            self.stop(timeouts)
        elif not self.is_leaving:
            self.order(line_of(RETIRE))
            self.is_leaving = self._retires = True
            until = time.monotonic() + timeouts.retire
            self.due = [(until, signal.SIGTERM), (until + timeouts.stop, signal.SIGKILL)]

    @property
    def next_due(self) -> float:
        """When the next signal is due; of a process without a pid yet the last one, as only that can be sent."""
        return self.due[0 if self.pid else -1][0]

    def enforce(self, now: float) -> None:
        """Send the signals that are due."""
        while self.due and self.next_due <= now:
            self.kill(self.due.pop(0 if self.pid else -1)[1])

    def why(self, status: int) -> StartupFailure:
        """Return why it has ended before it was ready: the failure that it reported, or its wait status."""
        waited = f"; it was waiting for {self.waiting_for}" if self.waiting_for else ""
        return self.failure or StartupFailure(WORKER_DIED, f"{self} {self.end(status)} before it was ready{waited}")

    def end(self, status: int) -> str:
        """Return how it ended, from its wait status."""
        if not (self.is_killed and status == signal.SIGKILL):
            return ended_by(status)
        return "had to be killed" + (", as the app had closed its line to the supervisor" if self.is_mute else "")


def counters_of(text: str) -> Counters:
    """Return the counters in a text, of a report or a handover; none where there are none, or they cannot be read."""
    try:
        return Counters.of_text(text)
    except (ValueError, OverflowError):
        return Counters()


def counted(workers: int) -> str:
    """Return the number of workers in words."""
    return "1 worker" if workers == 1 else f"{workers} workers"


def ended_by(status: int) -> str:
    """Return how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory, or by hand)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"


class WorkerSpec(Value):
    """How the workers of a generation are made: ``run`` is called in the new process and never returns.

    Its arguments are the number of a slot, when its start began, and the connection to the supervisor. With ``preload`` it
    is called once, without a slot, in a process that loads the app and forks the others. ``began`` is when the start of all
    of them began. Times are of the monotonic clock, in seconds. ``crash_limit`` deaths within ``crash_interval`` seconds are
    a crash loop (0: never).
    """

    run: Callable[[int | None, float, socket.socket], NoReturn]
    workers: int
    timeouts: WorkerTimeouts
    began: float
    crash_limit: int = 10
    crash_interval: float = 60.0
    preload: bool = False


class Slot:
    """One place among the workers: the worker that serves, the one that is to, and from when on another may be started."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.serving: Worker | None = None
        self.coming: Worker | None = None
        self.due = 0.0

    @property
    def held(self) -> list[Worker]:
        """Its workers."""
        return [worker for worker in (self.serving, self.coming) if worker is not None]

    def forget(self, worker: Worker) -> None:
        """Remove a worker."""
        if self.serving is worker:
            self.serving = None
        if self.coming is worker:
            self.coming = None


class Generation:
    """The workers of one spec. Without a spec they are from before an upgrade, and not replaced."""

    def __init__(self, spec: WorkerSpec | None, what: str = "reload") -> None:
        self.spec = spec
        #: What it is for, where another one serves already.
        self.what = what
        self.slots = [Slot(number) for number in range(1, spec.workers + 1)] if spec else []
        #: The process that has loaded the app and forks the others, with ``preload``; and why the last one ended.
        self.loader: Worker | None = None
        self.loader_failure: StartupFailure | None = None
        #: Inherited workers that were leaving already.
        self.leaving: list[Worker] = []
        #: All were ready once.
        self.is_complete = spec is None

    @property
    def workers(self) -> list[Worker]:
        """The workers in the slots."""
        return [worker for slot in self.slots for worker in slot.held]

    @property
    def members(self) -> list[Worker]:
        """All its processes."""
        return self.workers if self.loader is None else [self.loader, *self.workers]

    def inherit(self, connection: socket.socket, pid: int, number: int, *, is_leaving: bool, counted: str = "") -> None:
        """Add a worker from before an upgrade; one that is leaving gets no slot."""
        slot = Slot(number)
        worker = Worker(connection, slot, self, pid)
        worker.is_ready = True
        worker.counters = counters_of(counted)
        if is_leaving:
            worker.retire(WorkerTimeouts())
            self.leaving.append(worker)
        else:
            slot.serving = worker
            self.slots.append(slot)

    def resize(self, wanted: int) -> list[Worker]:
        """Set the number of slots; return the workers that have none any more."""
        while len(self.slots) < wanted:
            self.slots.append(Slot(len(self.slots) + 1))
        surplus, self.slots = self.slots[wanted:], self.slots[:wanted]
        return [worker for slot in surplus for worker in slot.held]

    def wants(self, slot: Slot, now: float) -> bool:
        """Return whether to start a worker for a slot: it is empty, or its worker asks for a successor.

        Successors come one after the other: workers that began together are spent together.
        """
        if self.spec is None or slot.coming is not None or now < slot.due:
            return False
        if slot.serving is None:
            return True
        return bool(slot.serving.spent) and not any(one.serving and one.coming for one in self.slots)

    def start_began(self) -> float:
        """Return when the start of a worker began that is forked now."""
        return time.monotonic() if self.is_complete or self.spec is None else self.spec.began
