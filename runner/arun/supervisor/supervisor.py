"""The supervisor: a small loop of its own that starts workers, hears them, replaces them, and ends them.

It holds no code of an app's and no event loop, so that it can become the fallback cleanly whatever a worker does. What
is wanted stands in the slots of a generation, and each turn compares that with what is there. A reload is a second
generation beside the first: it takes over when all of it is ready, and is thrown away when one of it fails.
"""

from __future__ import annotations

import os
import select
import signal
import time
from functools import partial

from arun.core.failures import CRASH_LOOP, START_TIMEOUT, WORKER_DIED, WORKERS_LOST, StartupFailure
from arun.supervisor import forking
from arun.supervisor.brake import Brake
from arun.supervisor.contract import PARTING
from arun.supervisor.wakeup import Wakeup
from arun.supervisor.workers import Bounds, Generation, Worker, counted
from arun.system import logs
from arun.system.file_watch import FileWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.supervisor.contract import Instance
    from arun.supervisor.workers import Recipe, Slot

__all__ = ("Supervisor",)

#: Seconds between two looks at the clock.
_TICK = 1.0
#: Seconds that a start has beyond its limit to say by itself what it waits for.
_PATIENCE = 4.0
#: Seconds that the process which has loaded the app may take to fork.
_FORKED = 10.0
#: Seconds until an order is tried again that found no room.
_SOON = 0.05
#: Seconds between two looks for files of arun that are gone.
_FILES_LOOK = 0.5
#: Seconds by which a turn may be late that is no pause.
_LATE = 0.1
_MOST_WORKERS = 1024


class Supervisor:
    """Runs the workers of one instance.

    ``inherited`` are workers that served before an upgrade: they go on until those of ``recipe`` are ready. Without a
    recipe nobody is started but by a reload.
    """

    def __init__(self, instance: Instance, recipe: Recipe | None, inherited: Generation | None = None) -> None:
        self._instance = instance
        #: Who serves, and who is to serve in its place as soon as all of it are ready.
        self._current = inherited or Generation(recipe)
        self._next = Generation(recipe, "upgrade") if inherited and recipe else None
        #: What a reload that came to nothing has left on its way out: as long as somebody of it lives, its listeners are in use.
        self._failed: Generation | None = None
        #: Every process that is not buried yet, those that are on their way out too.
        self._workers = [*self._current.workers, *self._current.leaving]
        self._bounds, self._touched = Bounds(), FileWatch(())
        self._brake, self._late = Brake(0, 0), Brake(0, 0)
        self._heed(recipe)
        #: No further worker is started; those that are there were told to go.
        self._ending = False
        self._failure: StartupFailure | None = None
        self._stops = self._stops_obeyed = 0
        #: Signals that ask for something which has to wait.
        self._wanted: set[int] = set()
        self._told = ""
        #: What telling a failure needs is loaded: while the first workers start, so that they do not wait for it.
        self._is_provided = False
        self._lacks_files = False
        self._wakeup = Wakeup()
        #: When the last turn ended, on the monotonic clock.
        self._turned = time.monotonic()

    # ---- what handlers of signals may call: it only notes

    def stop(self, count: int) -> None:
        """Stop: at the first call gracefully, then at once."""
        self._stops = count

    def reload(self) -> None:
        """Start a new generation."""
        self._wakeup.note(signal.SIGHUP)

    # ---- the loop

    def run(self) -> StartupFailure | None:
        """Supervise until the end: None after a stop, or what has failed. No worker is left then."""
        try:
            while True:
                self._obey()
                self._hear()  # before anybody is judged: what was obeyed may have taken long
                self._bury()
                if self._ending and not self._workers:
                    break
                self._look()
                if not self._is_provided:
                    self._is_provided = True
                    self._instance.provide()
                self._wait()
        finally:  # also when a third stop signal comes through: nobody is left behind
            self._ending = True
            for worker in self._workers:
                worker.kill(signal.SIGKILL)
            self._workers = [worker for worker in self._workers if worker.pid]
            while self._workers:
                self._bury(waiting=True)
            self._wakeup.close()
        return self._failure

    def _look(self) -> None:
        """Compare what is wanted with what is there, and look at the clock."""
        now = time.monotonic()
        for generation in (self._current, self._next):
            if generation is not None:
                self._fill(generation, now)
        for worker in self._workers:
            self._judge(worker, now)
            worker.enforce(now)
        if not self._ending and self._touched.changed(now):
            self._instance.touched()
        if not self._ending and self._next is None and self._current.is_complete and self._instance.should_reload():
            self.reload()

    def _fill(self, generation: Generation, now: float) -> None:
        """Start whom a generation wants, unless that is the end of it."""
        if not self._ending:
            self._settle(generation)
        for slot in generation.slots:
            if self._ending or generation not in {self._current, self._next}:
                return
            if generation.wants(slot, now):
                self._start(generation, slot)

    def _wait(self) -> None:
        """Sleep until a signal, a word from a worker, or the time of something that is due."""
        now = time.monotonic()
        due = [worker.next_due for worker in self._workers if worker.due]
        for generation in (self._current, self._next):
            due += [slot.due for slot in generation.slots if slot.due > now] if generation else []
        tick = min(_TICK, self._bounds.silence / 4) if self._bounds.silence else _TICK  # as often as workers beat
        seconds = max(0.0, min([tick, self._instance.alive(), *(moment - now for moment in due)]))
        waiting = select.poll()
        waiting.register(self._wakeup.fd, select.POLLIN)
        for worker in self._workers:
            if worker.speaks:
                waiting.register(worker.connection, select.POLLIN)
        if not self._wakeup.caught:
            waiting.poll(seconds * 1000)
        before, self._turned = self._turned, time.monotonic()
        late = self._turned - before - seconds
        if late > _LATE:
            self._excuse(late)

    def _excuse(self, seconds: float) -> None:
        """Give everybody so much more time: this process was stopped meanwhile, and so were they, or could not be heard.

        Ctrl-Z and SIGSTOP stop a whole group, and ``docker pause`` a container; the monotonic clock goes on.
        """
        for worker in self._workers:
            worker.excuse(seconds)
        for generation in (self._current, self._next):
            if generation is not None and generation.recipe is not None:
                generation.recipe = generation.recipe._replace(began=generation.recipe.began + seconds)

    def _hear(self) -> None:
        for worker in self._workers:
            if worker.speaks and not worker.read():
                worker.connection.close()

    def _bury(self, *, waiting: bool = False) -> None:
        """Reap what has ended, and draw the conclusions; orphans that this process was given are reaped as well."""
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
        self._bury_stillborn()
        if self._failed and not any(worker.generation is self._failed for worker in self._workers):
            self._failed = None
            self._instance.discard()

    def _reaped(self, pid: int, status: int) -> None:
        for worker in self._workers:
            if not worker.pid and worker.speaks:
                worker.read()  # it may have died before its pid was heard
        for worker in [one for one in self._workers if one.pid == pid]:
            if worker.speaks:
                worker.read()  # its last words
                worker.connection.close()
            self._workers.remove(worker)
            self._ended(worker, status)

    def _bury_stillborn(self) -> None:
        """Draw the conclusions where a worker never came to be."""
        for worker in [one for one in self._workers if one.is_stillborn]:
            self._workers.remove(worker)
            slot, generation = worker.slot, worker.generation
            if slot is not None:
                slot.forget(worker)
            if slot is not None and not worker.is_leaving:  # as those of a reload are that came to nothing
                how = f"worker {slot.number} could not be forked"
                self._lost(
                    generation,
                    slot,
                    worker.failure or generation.loader_failure or StartupFailure(WORKER_DIED, how),
                    how,
                )

    def _obey(self) -> None:
        """Act on the signals that were caught."""
        caught = self._wakeup.take()
        if self._stops > self._stops_obeyed:
            parting = 0.0 if self._stops_obeyed else self._instance.stopping(self._current.workers)
            self._stops_obeyed = self._stops
            self._end(None, forced=self._stops > 1, parting=parting)
        if self._ending:
            return
        if signal.SIGUSR1 in caught:
            self._instance.reopen()
            for worker in self._workers:
                worker.kill(signal.SIGUSR1)
        for number in {signal.SIGHUP, signal.SIGUSR2}.intersection(caught) - self._wanted:
            self._wanted.add(number)
            if not self._current.is_complete:
                logs.info(f"arun: {signal.Signals(number).name} waits until the workers are ready")
        self._resize(caught.count(signal.SIGTTIN) - caught.count(signal.SIGTTOU))
        if self._current.is_complete:  # until then they wait
            if signal.SIGHUP in self._wanted:
                self._wanted.discard(signal.SIGHUP)
                self._reload()
            if signal.SIGUSR2 in self._wanted and self._next is None:
                self._wanted.discard(signal.SIGUSR2)
                self._instance.upgrade([worker for worker in self._workers if worker.pid and worker.speaks])
                self._wakeup.arm()

    # ---- starting, and becoming ready

    def _start(self, generation: Generation, slot: Slot) -> None:
        recipe = generation.recipe
        if recipe is None or self._waits_for_files(generation, slot):
            return
        if slot.serving is not None:
            logs.info(f"arun: {slot.serving} gets a successor: {slot.serving.spent}")
        try:
            if recipe.preload:
                generation.loader = generation.loader or self._fork(generation, recipe, None)
                line = forking.order_worker(generation.loader.connection, slot.number, generation.start_began())
                slot.coming = Worker(line, slot, generation)
                self._workers.append(slot.coming)
            else:
                slot.coming = self._fork(generation, recipe, slot)
        except BlockingIOError:  # the loader has more orders than it has read
            slot.due = time.monotonic() + _SOON
        except OSError as error:
            why = f"worker {slot.number} could not be forked: {error.strerror}"
            hint = "raise the limits of processes, descriptors or memory (ulimit, TasksMax, pids.max)"
            self._lost(generation, slot, StartupFailure(WORKER_DIED, why, hint=hint), why)

    def _waits_for_files(self, generation: Generation, slot: Slot) -> bool:
        """Put a replacement off while the files of arun are gone, which is no fault of the app; others serve meanwhile."""
        served = generation.is_complete and any(one.serving for one in generation.slots)
        waits = served and self._instance.lacks_files()
        if waits:
            slot.due = time.monotonic() + _FILES_LOOK
            if not self._lacks_files:
                logs.warning(f"files of arun are gone: worker {slot.number} is replaced when they are back")
        self._lacks_files = waits
        return waits

    def _fork(self, generation: Generation, recipe: Recipe, slot: Slot | None) -> Worker:
        inherited = [self._wakeup, *(worker.connection for worker in self._workers)]
        run = partial(recipe.run, slot.number if slot else None, generation.start_began())
        pid, line = forking.fork(run, inherited)
        worker = Worker(line, slot, generation, pid)
        self._workers.append(worker)
        return worker

    def _settle(self, generation: Generation) -> None:
        """Let those who are ready serve, and a generation that is ready take over."""
        for slot in generation.slots:
            if slot.coming is not None and slot.coming.is_ready:
                before, slot.serving, slot.coming = slot.serving, slot.coming, None
                if before is not None:
                    before.retire(self._bounds)
        recipe = generation.recipe
        if generation.is_complete or recipe is None or any(slot.serving is None for slot in generation.slots):
            return
        generation.is_complete = True
        if generation is self._next:
            old, self._current, self._next = self._current, generation, None
            self._instance.adopt()
            for worker in old.members:
                worker.retire(self._bounds)
            self._heed(recipe)
        self._instance.ready(generation.workers[0].app, len(generation.slots))

    # ---- the ends of workers

    def _judge(self, worker: Worker, now: float) -> None:
        """End a worker that is not ready in time, or whose loop does not turn."""
        if worker.due or worker.is_leaving or (worker.slot is None and worker.is_ready):
            return
        loader = worker.generation.loader
        if not worker.pid and loader and loader.is_ready and now - max(worker.began, loader.heard) > _FORKED:
            worker.failure = StartupFailure(WORKER_DIED, f"{worker} could not be forked: {loader} hangs")
            worker.due = [(now, signal.SIGKILL)]
        elif worker.failure is not None or not worker.speaks:
            # It has said that it ends, or is about to; if not, its app has closed what is not its own.
            worker.due = [(now + _PATIENCE, signal.SIGKILL)]
            worker.is_mute = worker.failure is None
        elif not worker.is_ready:
            limit = worker.generation.recipe.bounds.start if worker.generation.recipe else 0
            if limit and now > worker.start_began + limit + _PATIENCE:
                waited = f"; it was waiting for {worker.waiting_for}" if worker.waiting_for else ""
                worker.failure = StartupFailure(START_TIMEOUT, f"{worker} was not ready in time{waited}")
                worker.abort(now)
        elif self._bounds.silence and now - worker.heard > self._bounds.silence:
            logs.warning(
                f"{worker} has been stuck for {now - worker.heard:.0f} s (--worker-timeout); its threads were here:"
            )
            worker.abort(now)

    def _ended(self, worker: Worker, status: int) -> None:
        """Draw the conclusions from the end of a process."""
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
                self._tell(worker.failure)
            self._lost(
                generation, worker.slot, worker.why(status), f"{worker} {how}{served}", was_ready=worker.is_ready
            )
        else:
            logs.warning(f"{worker} {how}; there is another one as soon as a worker is needed")

    def _lost(
        self, generation: Generation, slot: Slot | None, failure: StartupFailure, how: str, *, was_ready: bool = False
    ) -> None:
        """Go on after an end that nobody wanted: a start or a reload has failed, or the worker is replaced."""
        if self._ending:
            return
        if generation is self._next:
            self._drop_next(failure)
        elif not generation.is_complete:
            self._end(failure, parting=PARTING)
        elif generation.recipe is None:
            logs.warning(f"{how}; it is from before the upgrade, and not replaced")
            if not generation.workers and self._next is None:
                self._end(StartupFailure(WORKERS_LOST, "the workers from before the upgrade are gone"), parting=PARTING)
        else:
            # Whoever still serves has lost nothing: only its successor has to wait, and comes again and again.
            brake = self._late if slot is not None and slot.serving is not None else self._brake
            delay = brake.died(time.monotonic())
            logs.warning(f"{how}; it is replaced {f'in {delay:.1f} s' if delay else 'now'}")
            if not was_ready:
                self._tell(failure)
            if brake.is_loop:
                many = f"{self._brake.deaths} workers died within {self._bounds.interval:g} s"
                self._end(StartupFailure(CRASH_LOOP, f"{many}; the last one: {how}"), parting=PARTING)
            elif slot is not None:
                slot.due = time.monotonic() + delay

    def _tell(self, failure: StartupFailure) -> None:
        """Tell a failure that the instance survives, once: the same again and again would fill a disk."""
        if failure.sentence != self._told:
            self._told = failure.sentence
            self._instance.tell(failure)

    def _end(self, failure: StartupFailure | None, *, forced: bool = False, parting: float = 0.0) -> None:
        """Tell everybody to go, those who serve after ``parting`` seconds for their clients to come back elsewhere."""
        if not self._ending:
            self._ending, self._failure = True, failure
        self._drop_next(None)
        for worker in self._workers:
            worker.stop(self._bounds, forced=forced, parting=parting)

    # ---- what signals ask for

    def _heed(self, recipe: Recipe | None) -> None:
        """Go by the bounds of a recipe from now on."""
        if recipe is not None:
            self._bounds = recipe.bounds
            self._brake = Brake(recipe.bounds.deaths, recipe.bounds.interval)
            self._late = Brake(0, recipe.bounds.interval)
            self._touched = FileWatch(recipe.touched)

    def _reload(self) -> None:
        """Begin a new generation, in place of one that has begun and is not ready."""
        if self._next is not None:
            logs.info("arun: another reload: what had begun is given up")
            self._drop_next(None)
        self._failed, recipe = None, self._instance.reread()
        if recipe is not None:
            self._next = Generation(recipe)

    def _drop_next(self, failure: StartupFailure | None) -> None:
        """Throw away the generation that was to take over; without a failure another one may use what it has bound."""
        generation, self._next = self._next, None
        if generation is None:
            return
        self._failed = generation
        self._instance.withdraw()
        for worker in generation.members:  # of whom some may be ready, and have clients
            worker.retire(self._bounds)
        if failure is None:
            return
        if not self._current.workers and self._current.recipe is None:
            self._end(failure, parting=PARTING)
            return
        self._instance.tell(failure)
        text = f"{generation.what} failed ({failure.cause.identifier}): those who served before go on"
        logs.warning(text)
        self._instance.unchanged(text)

    def _resize(self, more: int) -> None:
        """Have so many workers more, or fewer; one at least."""
        before = len(self._current.slots)
        wanted = min(max(before + more, 1), _MOST_WORKERS)
        if self._current.recipe is not None and wanted != before:
            logs.info(f"arun: {counted(before)} so far, {wanted} from now on")
            for worker in self._current.resize(wanted):
                worker.retire(self._bounds)
