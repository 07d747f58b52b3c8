"""The supervisor: a small loop that starts workers, reads their reports, replaces them, and ends them.

It runs no code of the app and no event loop, so that it can become the fallback whatever a worker does. The slots of a
generation say which workers are wanted, and each turn compares them with those that live. A reload is a second generation
beside the first: it takes over when all its workers are ready, and is dropped when one of them fails.
"""

from __future__ import annotations

import os
import select
import signal
import time
from functools import partial

from arun.core.counters import Counters
from arun.core.exits import PARTING
from arun.core.failures import CRASH_LOOP, START_TIMEOUT, WORKER_DIED, WORKERS_LOST, StartupFailure
from arun.supervisor import forking
from arun.supervisor.crash_backoff import CrashBackoff
from arun.supervisor.wakeup import Wakeup
from arun.supervisor.workers import Generation, Worker, WorkerTimeouts, counted
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.supervisor.contract import Supervised
    from arun.supervisor.workers import Slot, WorkerSpec

__all__ = ("Supervisor",)

#: Seconds between two turns of the loop, at most.
_TURN = 1.0
#: Seconds beyond its limit in which a start may report by itself what it waits for.
_PATIENCE = 4.0
#: Seconds that the process which has loaded the app may take to fork.
_FORKED = 10.0
#: Seconds until an order is tried again that the loader had no room for.
_SOON = 0.05
#: Seconds between two looks for files of arun that are missing.
_FILES_LOOK = 0.5
#: Seconds by which a turn may be late without being a pause.
_LATE = 0.1
_MOST_WORKERS = 1024


class Supervisor:
    """Runs the workers of one instance.

    ``inherited`` are workers from before an upgrade: they serve until those of ``spec`` are ready. Without a spec only a
    reload starts workers. ``counted`` is what those have counted that had gone by then.
    """

    def __init__(
        self,
        instance: Supervised,
        spec: WorkerSpec | None,
        inherited: Generation | None = None,
        counted: Counters | None = None,
    ) -> None:
        self._instance = instance
        #: What workers have counted that are gone, so that the sum of all never goes back.
        self.counted = counted or Counters()
        #: The number of the generation that serves, and how many workers were lost and replaced.
        self.generation = 1
        self.restarts = 0
        #: The generation that serves, and the one that takes over as soon as all its workers are ready.
        self._current = inherited or Generation(spec)
        self._next = Generation(spec, "upgrade") if inherited and spec else None
        #: The generation of a failed reload: while one of its workers lives, its listeners are in use.
        self._failed: Generation | None = None
        #: Every process that is not reaped yet.
        self._workers = [*self._current.workers, *self._current.leaving]
        self._timeouts = WorkerTimeouts()
        self._backoff, self._late_backoff = CrashBackoff(0, 0), CrashBackoff(0, 0)
        self._apply(spec)
        #: No further worker is started; all were stopped.
        self._ending = False
        self._failure: StartupFailure | None = None
        self._stops = self._stops_handled = 0
        #: Signals whose effect has to wait.
        self._waiting: set[int] = set()
        #: The sentence of the failure that was reported last.
        self._reported = ""
        self._lacks_files = False
        self._wakeup = Wakeup()
        #: When the last turn ended, on the monotonic clock.
        self._turned = time.monotonic()

    # ---- for handlers of signals: they only note

    def stop(self, count: int) -> None:
        """Stop: at the first call gracefully, then at once."""
        self._stops = count

    def reload(self) -> None:
        """Start a new generation."""
        self._wakeup.note(signal.SIGHUP)

    # ---- for those who ask

    @property
    def workers(self) -> list[Worker]:
        """Every process that serves, will or did, by slots; not the one that loads the app for others."""
        return sorted(
            (worker for worker in self._workers if worker.slot is not None),
            key=lambda worker: (worker.is_leaving, worker.slot.number if worker.slot else 0, worker.began),
        )

    def order(self, line: bytes) -> None:
        """Send an order to every worker."""
        for worker in self._workers:
            if worker.slot is not None:
                worker.order(line)

    # ---- the loop

    def run(self) -> StartupFailure | None:
        """Supervise until no worker is left; return None after a stop, else the failure."""
        try:
            while True:
                self._handle_signals()
                self._read_reports()  # before _reconcile, as what a signal asked for may have taken long
                self._reap()
                if self._ending and not self._workers:
                    break
                self._reconcile()
                self._wait()
        finally:  # also when a third stop signal raises: no worker is left behind
            self._ending = True
            for worker in self._workers:
                worker.kill(signal.SIGKILL)
            self._workers = [worker for worker in self._workers if worker.pid]
            while self._workers:
                self._reap(waiting=True)
            self._wakeup.close()
        return self._failure

    def _reconcile(self) -> None:
        """Start the workers that are missing, send the signals that are due, and reload if there is a reason."""
        now = time.monotonic()
        for generation in (self._current, self._next):
            if generation is not None:
                self._start_missing(generation, now)
        for worker in self._workers:
            self._check(worker, now)
            worker.enforce(now)
        is_settled = self._next is None and self._current.is_complete
        if not self._ending and self._instance.should_reload(is_settled=is_settled):
            self.reload()

    def _start_missing(self, generation: Generation, now: float) -> None:
        """Start the workers that a generation lacks, unless it fails over one of them."""
        if not self._ending:
            self._settle(generation)
        for slot in generation.slots:
            if self._ending or generation not in {self._current, self._next}:
                return
            if generation.wants(slot, now):
                self._start(generation, slot)

    def _wait(self) -> None:
        """Sleep until a signal, a report of a worker, or the time of something that is due."""
        next_tick = self._instance.tick()
        now = time.monotonic()
        due = [worker.next_due for worker in self._workers if worker.due]
        for generation in (self._current, self._next):
            due += [slot.due for slot in generation.slots if slot.due > now] if generation else []
        silence = self._timeouts.silence
        turn = min(_TURN, silence / 4) if silence else _TURN  # as often as heartbeats come
        answers = self._instance.answers
        asked = None if answers is None else answers.seconds
        seconds = max(0.0, min([turn, next_tick, turn if asked is None else asked, *(moment - now for moment in due)]))
        waiting = select.poll()
        if answers is not None:
            answers.register(waiting)
        waiting.register(self._wakeup.fd, select.POLLIN)
        for worker in self._workers:
            if worker.speaks:
                waiting.register(worker.connection, select.POLLIN)
        ready = [] if self._wakeup.caught else waiting.poll(seconds * 1000)
        before, self._turned = self._turned, time.monotonic()
        late = self._turned - before - seconds
        if late > _LATE:
            self._postpone(late)
        if answers is not None:
            answers.turn(ready)
        self._turned = time.monotonic()  # what it takes is no pause: many who ask must not spare a worker that is stuck

    def _postpone(self, seconds: float) -> None:
        """Move the times of all workers by a pause: this process was stopped, and so were they, or their reports waited.

        Ctrl-Z and SIGSTOP stop a whole group, and ``docker pause`` a container; the monotonic clock goes on.
        """
        for worker in self._workers:
            worker.postpone(seconds)
        for generation in (self._current, self._next):
            if generation is not None and generation.spec is not None:
                generation.spec = generation.spec._replace(began=generation.spec.began + seconds)

    def _read_reports(self) -> None:
        for worker in self._workers:
            worker.send_rest()
            if worker.speaks and not worker.read():
                worker.connection.close()
            while worker.asking:
                self._answer(worker.asking.pop())

    def _answer(self, fd: int) -> None:
        answers = self._instance.answers
        if answers is None:
            os.close(fd)
        else:
            answers.adopt(fd)

    def _reap(self, *, waiting: bool = False) -> None:
        """Reap the processes that have ended and act on it; adopted orphans are reaped as well."""
        while True:
            try:
                pid, status = os.waitpid(-1, 0 if waiting else os.WNOHANG)
            except ChildProcessError:
                if waiting:
                    self._workers.clear()
                break
            if not pid:
                break
            self._reaped(pid, status)
            if waiting:
                return
        self._drop_unforked()
        if self._failed and not any(worker.generation is self._failed for worker in self._workers):
            self._failed = None
            self._instance.discard()

    def _reaped(self, pid: int, status: int) -> None:
        for worker in self._workers:
            if not worker.pid and worker.speaks:
                worker.read()  # it may have died before its pid was read
        ended = [one for one in self._workers if one.pid == pid]
        for worker in ended:
            if worker.speaks:
                worker.read()  # its last reports
            worker.close()
            self._workers.remove(worker)
            self.counted = self.counted.plus(worker.counters.at_the_end())
            self._ended(worker, status)
        if not ended:
            self._instance.reaped(pid, status)

    def _drop_unforked(self) -> None:
        """Act on workers that the loader has not forked."""
        for worker in [one for one in self._workers if one.is_unforked]:
            worker.close()
            self._workers.remove(worker)
            slot, generation = worker.slot, worker.generation
            if slot is not None:
                slot.forget(worker)
            if slot is not None and not worker.is_leaving:  # as those of a failed reload are
                how = f"worker {slot.number} could not be forked"
                self._lost(
                    generation,
                    slot,
                    worker.failure or generation.loader_failure or StartupFailure(WORKER_DIED, how),
                    how,
                )

    def _handle_signals(self) -> None:
        """Act on the signals that were caught."""
        caught = self._wakeup.take()
        if self._stops > self._stops_handled:
            parting = 0.0 if self._stops_handled else self._instance.status.stopping(self._current.workers)
            self._stops_handled = self._stops
            self._end(None, forced=self._stops > 1, parting=parting)
        if self._ending:
            return
        if signal.SIGUSR1 in caught:
            self._instance.status.reopen()
            for worker in self._workers:
                worker.kill(signal.SIGUSR1)
        for number in {signal.SIGHUP, signal.SIGUSR2}.intersection(caught) - self._waiting:
            self._waiting.add(number)
            if not self._current.is_complete:
                logs.info(f"arun: {signal.Signals(number).name} waits until the workers are ready")
        self._resize(caught.count(signal.SIGTTIN) - caught.count(signal.SIGTTOU))
        if self._current.is_complete:  # else they wait
            if signal.SIGHUP in self._waiting:
                self._waiting.discard(signal.SIGHUP)
                self._reload()
            if signal.SIGUSR2 in self._waiting and self._next is None:
                self._waiting.discard(signal.SIGUSR2)
                self._instance.upgrade([worker for worker in self._workers if worker.pid and worker.speaks])
                self._wakeup.arm()

    # ---- starting, and becoming ready

    def _start(self, generation: Generation, slot: Slot) -> None:
        spec = generation.spec
        if spec is None or self._waits_for_files(generation, slot):
            return
        if slot.serving is not None:
            logs.info(f"arun: {slot.serving} gets a successor: {slot.serving.spent}")
        try:
            if spec.preload:
                if generation.loader is None:
                    generation.loader, generation.loader_failure = self._fork(generation, spec, None), None
                line = forking.order_worker(generation.loader.connection, slot.number, generation.start_began())
                slot.coming = Worker(line, slot, generation)
                self._workers.append(slot.coming)
            else:
                slot.coming = self._fork(generation, spec, slot)
            slot.coming.order(self._instance.first_order())
        except BlockingIOError:  # the loader has more orders than it has read
            slot.due = time.monotonic() + _SOON
        except OSError as error:
            why = f"worker {slot.number} could not be forked: {error.strerror}"
            hint = "raise the limits of processes, descriptors or memory (ulimit, TasksMax, pids.max)"
            self._lost(generation, slot, StartupFailure(WORKER_DIED, why, hint=hint), why)

    def _waits_for_files(self, generation: Generation, slot: Slot) -> bool:
        """Return whether to put off a replacement: files of arun are missing, which is no fault of the app, and others serve."""
        served = generation.is_complete and any(one.serving for one in generation.slots)
        waits = served and self._instance.lacks_files()
        if waits:
            slot.due = time.monotonic() + _FILES_LOOK
            if not self._lacks_files:
                logs.warning(f"files of arun are gone: worker {slot.number} is replaced when they are back")
        self._lacks_files = waits
        return waits

    def _fork(self, generation: Generation, spec: WorkerSpec, slot: Slot | None) -> Worker:
        answers = self._instance.answers
        inherited = [self._wakeup, *([answers] if answers else ()), *(worker.connection for worker in self._workers)]
        run = partial(spec.run, slot.number if slot else None, generation.start_began())
        pid, line = forking.fork(run, inherited)
        worker = Worker(line, slot, generation, pid)
        self._workers.append(worker)
        return worker

    def _settle(self, generation: Generation) -> None:
        """Let the workers serve that are ready; a generation that is complete takes over."""
        for slot in generation.slots:
            if slot.coming is not None and slot.coming.is_ready:
                before, slot.serving, slot.coming = slot.serving, slot.coming, None
                if before is not None:
                    before.retire(self._timeouts)
        spec = generation.spec
        if generation.is_complete or spec is None or any(slot.serving is None for slot in generation.slots):
            return
        generation.is_complete = True
        if generation is self._next:
            old, self._current, self._next = self._current, generation, None
            self.generation += 1
            self._instance.adopt()
            for worker in old.members:
                worker.retire(self._timeouts)
            self._apply(spec)
        self._instance.status.ready(generation.workers[0].app, len(generation.slots))

    # ---- the ends of workers

    def _check(self, worker: Worker, now: float) -> None:
        """End a worker that is not ready in time, or whose loop does not turn."""
        if worker.due or worker.is_leaving or (worker.slot is None and worker.is_ready):
            return
        loader = worker.generation.loader
        if not worker.pid and loader and loader.is_ready and now - max(worker.began, loader.heard) > _FORKED:
            worker.failure = StartupFailure(WORKER_DIED, f"{worker} could not be forked: {loader} hangs")
            worker.due = [(now, signal.SIGKILL)]
        elif worker.failure is not None or not worker.speaks:
            # It has reported that it ends, or is about to; if not, its app has closed the connection.
            worker.due = [(now + _PATIENCE, signal.SIGKILL)]
            worker.is_mute = worker.failure is None
        elif not worker.is_ready:
            limit = worker.generation.spec.timeouts.start if worker.generation.spec else 0
            if limit and now > worker.start_began + limit + _PATIENCE:
                waited = f"; it was waiting for {worker.waiting_for}" if worker.waiting_for else ""
                worker.failure = StartupFailure(START_TIMEOUT, f"{worker} was not ready in time{waited}")
                worker.abort(now)
        elif self._timeouts.silence and now - worker.heard > self._timeouts.silence:
            logs.warning(
                f"{worker} has been stuck for {now - worker.heard:.0f} s (--worker-timeout); its threads were here:"
            )
            worker.abort(now)

    def _ended(self, worker: Worker, status: int) -> None:
        """Act on the end of a process."""
        generation = worker.generation
        if worker.slot is not None:
            worker.slot.forget(worker)
        if generation.loader is worker:
            generation.loader, generation.loader_failure = None, worker.why(status)
        how = worker.end(status)
        if worker.is_leaving or self._ending or (worker.is_draining and status == 0):
            if status != 0 and worker.is_ready:
                logs.warning(f"{worker} {how} while it was stopping")
        elif worker.slot is not None or not generation.is_complete:
            served = f" after {time.monotonic() - worker.began:.3g} s" if worker.is_ready else " before it was ready"
            if worker.is_ready and worker.failure is not None:
                self._report(worker.failure)
            self._lost(
                generation, worker.slot, worker.why(status), f"{worker} {how}{served}", was_ready=worker.is_ready
            )
        else:
            logs.warning(f"{worker} {how}; there is another one as soon as a worker is needed")

    def _lost(
        self, generation: Generation, slot: Slot | None, failure: StartupFailure, how: str, *, was_ready: bool = False
    ) -> None:
        """Act on an end that was not ordered: a start or a reload has failed, or the worker is replaced."""
        if self._ending:
            return
        if generation is self._next:
            self._drop_next(failure)
        elif not generation.is_complete:
            self._end(failure, parting=PARTING)
        elif generation.spec is None:
            logs.warning(f"{how}; it is from before the upgrade, and not replaced")
            if not generation.workers and self._next is None:
                self._end(StartupFailure(WORKERS_LOST, "the workers from before the upgrade are gone"), parting=PARTING)
        else:
            # A worker that still serves is not lost: only its successor waits, without end.
            backoff = self._late_backoff if slot is not None and slot.serving is not None else self._backoff
            delay = backoff.died(time.monotonic())
            self.restarts += 1
            logs.warning(f"{how}; it is replaced {f'in {delay:.1f} s' if delay else 'now'}")
            if not was_ready:
                self._report(failure)
            if backoff.is_loop:
                many = f"{self._backoff.deaths} workers died within {generation.spec.crash_interval:g} s"
                self._end(StartupFailure(CRASH_LOOP, f"{many}; the last one: {how}"), parting=PARTING)
            elif slot is not None:
                slot.due = time.monotonic() + delay

    def _report(self, failure: StartupFailure) -> None:
        """Report a failure that the instance survives; not the same one twice in a row, which would fill a disk."""
        if failure.sentence != self._reported:
            self._reported = failure.sentence
            self._instance.status.failed(failure)

    def _end(self, failure: StartupFailure | None, *, forced: bool = False, parting: float = 0.0) -> None:
        """Stop all workers; those that serve close kept connections for ``parting`` seconds before."""
        if not self._ending:
            self._ending, self._failure = True, failure
        self._drop_next(None)
        for worker in self._workers:
            worker.stop(self._timeouts, forced=forced, parting=parting)

    # ---- what signals ask for

    def _apply(self, spec: WorkerSpec | None) -> None:
        """Apply the timeouts and the crash limit of a spec from now on."""
        if spec is not None:
            self._timeouts = spec.timeouts
            self._backoff = CrashBackoff(spec.crash_limit, spec.crash_interval)
            self._late_backoff = CrashBackoff(0, spec.crash_interval)

    def _reload(self) -> None:
        """Begin a new generation, in place of one that is not ready yet."""
        if self._next is not None:
            logs.info("arun: another reload: what had begun is given up")
            self._drop_next(None)
        self._failed, spec = None, self._instance.candidate()
        if spec is not None:
            self._next = Generation(spec)

    def _drop_next(self, failure: StartupFailure | None) -> None:
        """Drop the generation that was to take over; without a failure the next one may use what it has bound."""
        generation, self._next = self._next, None
        if generation is None:
            return
        self._failed = generation
        self._instance.withdraw()
        for worker in generation.members:  # some may be ready and have clients
            worker.retire(self._timeouts)
        if failure is None:
            return
        if not self._current.workers and self._current.spec is None:
            self._end(failure, parting=PARTING)
            return
        self._instance.status.failed(failure)
        text = f"{generation.what} failed ({failure.cause.identifier}): the old workers go on"
        logs.warning(text, "reload-failed", identifier=failure.cause.identifier)
        self._instance.status.unchanged(text)

    def _resize(self, more: int) -> None:
        """Change the number of workers by ``more``, to one at least."""
        before = len(self._current.slots)
        wanted = min(max(before + more, 1), _MOST_WORKERS)
        if self._current.spec is not None and wanted != before:
            logs.info(f"arun: {counted(before)} so far, {wanted} from now on")
            for worker in self._current.resize(wanted):
                worker.retire(self._timeouts)
