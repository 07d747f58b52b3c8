"""An instance whose workers are processes of their own: what its supervisor needs of settings, listeners and app."""

from __future__ import annotations

import copy
import gc
import math
import os
import socket
import time
from functools import partial

from arun import settings
from arun.apps import provisions
from arun.core import exits
from arun.core.failures import ExecFailed, OptionInvalid, StartupFailure
from arun.lifecycle import build, end, fallback, listening, probe, status
from arun.lifecycle.build import Setup
from arun.lifecycle.worker import work
from arun.supervisor import forking
from arun.supervisor.contract import PARTING, InheritedWorker
from arun.supervisor.supervisor import Supervisor
from arun.supervisor.workers import Bounds, Generation, Recipe, counted
from arun.system import descriptors, logs, pidfile, process, tracebacks
from arun.system.environment import Surroundings, working_directory
from arun.system.file_watch import missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from arun.lifecycle.fallback import Attempt
    from arun.listen.sockets import Listener
    from arun.settings import Settings
    from arun.supervisor.workers import Worker

__all__ = ("go_on", "supervise")

#: Seconds between two tries to bind what is busy, and the most where a reload for it has failed.
_RETRY, _SELDOM = 1.0, 60.0


def supervise(setup: Setup, began: float) -> None:
    """Serve with workers until a stop; ``began`` is when the start did, on the monotonic clock.

    Raises:
        StartupFailure: of a start that failed, or a crash loop.
    """
    attempt = setup.attempt
    if not attempt.past.workers:
        instance = _Instance(attempt)
    else:  # those from before an upgrade serve, with what they had, until these are ready: as in a reload
        setup = setup._replace(attempt=copy.copy(attempt))
        attempt.listeners, attempt.secured = list(attempt.inherited), dict(attempt.secured)
        instance = _Instance(attempt, setup)
    _run(attempt, Supervisor(instance, instance.recipe(setup, began), _inherited(attempt)))


def go_on(attempt: Attempt, failures: Sequence[StartupFailure]) -> NoReturn:
    """Let the workers from before an upgrade serve on, though the upgraded arun cannot start: a reload may help.

    Without failures it was told to stop before it could start, and so are they.

    Raises:
        StopRequested: it was told to stop.
        StartupFailure: nobody is left.
    """
    inherited = {listener.socket for listener in attempt.inherited}
    listening.give_up(attempt, [one for one in attempt.listeners if one.socket not in inherited])
    attempt.listeners = list(attempt.inherited)
    attempt.before.restore(where_possible=True)
    instance = _Instance(attempt)
    for failure in failures:
        instance.tell(failure)
    if failures:
        text = "the upgrade has failed: the workers from before it go on serving"
        logs.warning(text)
        instance.unchanged(text)
    _run(attempt, Supervisor(instance, None, _inherited(attempt)))
    raise process.StopRequested


def _run(attempt: Attempt, supervisor: Supervisor) -> None:
    attempt.past = attempt.past._replace(workers=())
    attempt.signals.tell(supervisor.stop)
    attempt.signals.tell_hangup(supervisor.reload)
    gc.collect()
    gc.freeze()  # what is here now is shared with the workers: the collector is not to write into it
    descriptors.connections_possible()  # a reload has twice as many lines to workers
    try:
        failure = supervisor.run()
    finally:
        attempt.signals.tell_hangup(None)
        if forking.adopts_orphans():  # among them what has hung in a fork of the process that loads the app
            process.end_children(spared=attempt.program.children)
    if failure is not None:
        raise failure


def _inherited(attempt: Attempt) -> Generation | None:
    if not attempt.past.workers:
        return None
    generation = Generation(None)
    for worker in attempt.past.workers:
        line = socket.socket(fileno=worker.fd)
        line.setblocking(False)
        generation.inherit(line, worker.pid, worker.number, is_leaving=worker.is_leaving)
    return generation


class _Instance:
    """What a supervisor asks of the instance; see runner/arun/supervisor/supervisor.py."""

    def __init__(self, attempt: Attempt, following: Setup | None = None) -> None:
        self._attempt = attempt
        #: What was read again, or upgraded, until its workers are ready or have failed.
        self._next = following
        self._was_ready = False
        #: When the service manager is told again that this process is alive, on the monotonic clock.
        self._next_ping = 0.0
        #: When a busy address is tried again, on the monotonic clock, and seconds until then after a reload for it.
        self._next_try, self._retry = 0.0, _RETRY
        #: What is given up as soon as the workers serve who waits there.
        self._leaving: list[Listener] = []

    def touched(self) -> None:
        self._attempt.signals.hang_up()

    def recipe(self, setup: Setup, began: float) -> Recipe:
        """Return how workers are made that serve with this setup."""
        chosen = setup.chosen
        bounds = Bounds(
            start=chosen.start_timeout or 0.0,
            silence=chosen.worker_timeout,
            drain_delay=chosen.drain_delay,
            grace=chosen.timeout_graceful_shutdown,
            keep_alive=chosen.timeout_keep_alive,
            deaths=chosen.crash_limit,
            interval=chosen.crash_interval,
        )
        preload = chosen.preload and forking.adopt_orphans()
        if chosen.preload and not preload:
            logs.warning("preload: this system cannot do it; every worker loads the app by itself")
        touched = tuple(os.path.join(setup.attempt.program.cwd, path) for path in chosen.touch_reload)
        for path in filter(missing, touched):
            logs.warning(f"touch-reload: {path} is not there; a reload follows when it is")
        self._leaving = setup.listening.leaving
        return Recipe(partial(self._work, setup), chosen.workers, bounds, began, touched, preload)

    def _work(self, setup: Setup, slot: int | None, began: float, connection: socket.socket) -> NoReturn:
        """Be a worker: without the listeners of other generations, which would stay open here and be served by nobody."""
        served = {listener.socket for listener in (*setup.listening.listeners, *setup.listening.leaving)}
        for attempt in (self._attempt, *((self._next.attempt,) if self._next else ())):
            for listener in attempt.listeners:
                if listener.socket not in served:
                    listener.socket.close()
        work(setup, slot, began, connection)

    def provide(self) -> None:
        provisions.load_now()

    def lacks_files(self) -> bool:
        return fallback.files_are_away()

    def reread(self) -> Recipe | None:
        logs.info("arun: reloading")
        attempt = self._attempt
        status.reloading(attempt, "reloading")
        trial = fallback.Attempt(attempt.program, attempt.signals, attempt.arguments, attempt.past)
        trial.collector, trial.config = attempt.collector, attempt.config
        given_up, self._next = self._next, None
        trial.listeners, trial.secured = list(attempt.listeners), dict(attempt.secured)
        trial.log_file = attempt.log_file
        if given_up is not None:  # its workers are still on their way out: nobody could bind there again
            trial.listeners += [one for one in given_up.attempt.listeners if not self._has(one)]
        now, began = Surroundings.current(), time.monotonic()
        try:
            attempt.before.restore(where_possible=True)
            if attempt.before.called:
                trial.program = attempt.program._replace(cwd=working_directory())  # where its links lead by now
            chosen = self._judged(trial)
            build.surround(chosen)
            claimed = listening.listen(trial, chosen, beside_workers=True)
            listening.give_up(trial, [one for one in claimed.surplus if not self._has(one)])
            self._next = Setup(trial, chosen, claimed, Surroundings.current())
        except Exception as error:  # noqa: BLE001 - whatever it is, those who serve go on
            failures = end.failures_of(error)
            for failure in failures:
                self.tell(failure)
            text = f"reload failed ({failures[0].identifier}): those who served before go on"
            logs.warning(text)
            self.unchanged(text)
            self._let_go(trial)
            return None
        finally:
            now.restore(where_possible=True)
        return self.recipe(self._next, began)

    def _judged(self, trial: Attempt) -> Settings:
        layers = trial.read(trial.program.environ)
        trial.note(layers)
        status.what_was_read(trial, layers)
        trial.chosen = settings.judge(layers)
        status.what_does_nothing(trial.chosen)
        self._check_identity(trial.chosen)
        return trial.chosen

    def _check_identity(self, chosen: Settings) -> None:
        """Refuse another user or group: who has become one cannot become another, and the old workers would mix with it."""
        now = self._attempt.chosen
        if now is not None and (now.uid, now.gid) != (chosen.uid, chosen.gid):
            origin = ", ".join(dict.fromkeys(chosen.origins("uid") + chosen.origins("gid"))) or "default"
            raise OptionInvalid("uid and gid change with a restart only", origin=origin, hint="restart the instance")

    def adopt(self) -> None:
        setup, self._next = self._next, None
        if setup is None:
            return
        attempt, trial = self._attempt, setup.attempt
        attempt.fallback, attempt.config, attempt.last_resort = trial.fallback, trial.config, trial.last_resort
        attempt.program = trial.program
        attempt.listeners, attempt.secured = trial.listeners, trial.secured
        attempt.wanted, attempt.busy = trial.wanted, trial.busy
        self._retry = _RETRY
        attempt.heed(setup.chosen)
        listening.give_up(attempt, [one for one in setup.listening.surplus if one.socket.fileno() >= 0])
        setup.surroundings.restore(where_possible=True)
        self._move_pidfile(setup.chosen)

    def withdraw(self) -> None:
        if self._next is not None:
            serving = self._attempt.listeners
            own = [listener for listener in self._next.attempt.listeners if not self._has(listener)]
            listening.withdraw(own, serving)

    def discard(self) -> None:
        setup, self._next = self._next, None
        if setup is not None:
            self._let_go(setup.attempt)

    def _let_go(self, trial: Attempt) -> None:
        listening.give_up(trial, [listener for listener in trial.listeners if not self._has(listener)])

    def _has(self, listener: Listener) -> bool:
        return any(listener.socket is one.socket for one in self._attempt.listeners)

    def _move_pidfile(self, chosen: Settings) -> None:
        attempt = self._attempt
        path = os.path.abspath(os.path.join(attempt.program.cwd, chosen.pidfile)) if chosen.pidfile else None
        if path == attempt.pidfile:
            return
        try:
            if path is not None:
                pidfile.write(path, origin=chosen.origin("pidfile"))
        except StartupFailure as failure:
            self.tell(failure)
            return
        if attempt.pidfile is not None:
            pidfile.remove(attempt.pidfile)
        attempt.pidfile = path

    def ready(self, app: str, workers: int) -> None:
        attempt = self._attempt
        exits.release_descriptors()
        if self._was_ready:
            logs.info(f"arun: reloaded, serving {app} with {counted(workers)}")
            status.serves(attempt, status.state(attempt, f"{app} with {counted(workers)}"))
            return
        self._was_ready = True
        listening.let_go(attempt, self._leaving)  # the workers have them
        status.ready(attempt, f"{app} with {counted(workers)}", attempt.listeners)

    def tell(self, failure: StartupFailure) -> None:
        logs.frame(end.recorded(self._attempt, failure))

    def unchanged(self, text: str) -> None:
        self._was_ready = True  # what serves next is a reload
        status.serves(self._attempt, text)

    def should_reload(self) -> bool:
        """Whether an address is free that was busy: workers of a reload serve there, for these do not have it."""
        now = time.monotonic()
        if not self._attempt.busy or now < self._next_try:
            return False
        self._next_try = now + _RETRY
        if not listening.is_free(self._attempt):
            return False
        logs.info("arun: an address is free now that was busy")
        self._next_try = now + self._retry
        self._retry = min(self._retry * 2, _SELDOM)
        return True

    def alive(self) -> float:
        manager = self._attempt.manager
        if manager is None or manager.watchdog_interval is None:
            return math.inf
        now = time.monotonic()
        if now >= self._next_ping:
            manager.watchdog()
            self._next_ping = now + manager.watchdog_interval
        return self._next_ping - now

    def stopping(self, workers: Sequence[Worker]) -> float:
        status.leaving(self._attempt, f"stopping {counted(len(workers))}")
        if self._attempt.signals.going_back:
            return PARTING
        for listener in self._attempt.listeners:
            listener.socket.close()  # the workers have it too, and take in who waits there before it is gone
        return 0.0

    def reopen(self) -> None:
        self._attempt.reopen_log_file()

    def upgrade(self, workers: Sequence[Worker]) -> None:
        attempt = self._attempt
        self.alive()
        program = attempt.program
        try:
            loads, told = probe.loads(program.arguments[0], program.environ, program.called)
        except Exception as error:  # noqa: BLE001 - a file is away, or no descriptor is left: those who serve go on
            loads, told = False, f"cannot be asked ({tracebacks.described(error)})"
        if not loads:
            logs.warning(f"no upgrade: what is installed now {told}")
            return
        logs.info(f"arun: found arun {told}")
        if attempt.signals.count:
            return
        passed = tuple(
            InheritedWorker(worker.pid, worker.connection.fileno(), worker.slot.number, worker.is_leaving)
            for worker in workers
            if worker.slot
        )
        serving = sum(not worker.is_leaving for worker in passed)
        logs.info(f"arun: upgrading; {counted(serving)} from before it go on serving")
        status.reloading(attempt, "upgrading")
        try:
            fallback.upgrade(attempt, passed)
        except (ExecFailed, process.StopRequested) as error:
            if isinstance(error, ExecFailed):
                self.tell(error)
            self.unchanged("upgrade refused: those who served before go on")
            attempt.signals.install(can_go_back=attempt.can_go_back)
