"""An instance whose workers are processes of their own: what its supervisor needs of settings, listeners and app."""

from __future__ import annotations

import gc
import math
import os
import socket
import time
from functools import partial

from runner import ending, exits, fallback, listening, serving, settings, telling
from runner.failures import ExecFailed, StartupFailure
from runner.handover import PARTING, InheritedWorker
from runner.serving import Setup
from runner.supervision import forking
from runner.supervision.supervisor import Supervisor
from runner.supervision.workers import Bounds, Generation, Recipe, counted
from runner.system import logs, process
from runner.system.surroundings import Surroundings
from runner.worker_process import work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runner.fallback import Attempt
    from runner.settings import Settings
    from runner.supervision.workers import Worker
    from runner.system.sockets import Listener

__all__ = ("go_on", "supervise")

#: Seconds that a new arun has to say its version before an upgrade is refused.
_VERSION_PATIENCE = 10.0


def supervise(setup: Setup, before: Surroundings, began: float) -> None:
    """Serve with workers until a stop.

    ``before`` are the surroundings of the first moment, ``began`` is when that was on the monotonic clock.

    Raises:
        StartupFailure: of a start that failed, or a crash loop.
    """
    instance = _Instance(setup.attempt, before)
    _run(setup.attempt, Supervisor(instance, instance.recipe(setup, began), _inherited(setup.attempt)))


def go_on(attempt: Attempt, failures: Sequence[StartupFailure]) -> None:
    """Let the workers from before an upgrade serve on, though the upgraded arun cannot start: a reload may help.

    Raises:
        StartupFailure: nobody is left.
    """
    instance = _Instance(attempt, Surroundings.current())
    for failure in failures:
        instance.tell(failure)
    logs.warning("the upgrade has failed: the workers from before it go on serving")
    instance.unchanged("the upgrade has failed: the workers from before it go on serving")
    _run(attempt, Supervisor(instance, None, _inherited(attempt)))
    raise process.StopRequested


def _run(attempt: Attempt, supervisor: Supervisor) -> None:
    attempt.past = attempt.past._replace(workers=())
    attempt.signals.tell(supervisor.stop)
    attempt.signals.tell_hangup(supervisor.reload)
    gc.collect()
    gc.freeze()  # what is here now is shared with the workers: the collector is not to write into it
    try:
        failure = supervisor.run()
    finally:
        attempt.signals.tell_hangup(None)
    if failure is not None:
        raise failure


def _inherited(attempt: Attempt) -> Generation | None:
    if not attempt.past.workers:
        return None
    generation = Generation(None)
    for worker in attempt.past.workers:
        line = socket.socket(fileno=worker.fd)
        line.setblocking(False)
        generation.inherit(worker.pid, line)
    return generation


class _Instance:
    """What a supervisor asks of the instance; see runner/supervision/supervisor.py."""

    def __init__(self, attempt: Attempt, before: Surroundings) -> None:
        self._attempt = attempt
        self._before = before
        #: What was read again, until its workers are ready or have failed.
        self._next: Setup | None = None
        self._was_ready = False
        #: When the service manager is told again that this process is alive, on the monotonic clock.
        self._next_ping = 0.0

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
        return Recipe(partial(self._work, setup), chosen.workers, bounds, began, touched, preload)

    def _work(self, setup: Setup, slot: int | None, began: float, connection: socket.socket) -> NoReturn:
        """Be a worker: without the listeners of other generations, which would stay open here and be served by nobody."""
        served = {listener.socket for listener in setup.listening.listeners}
        for attempt in (self._attempt, *((self._next.attempt,) if self._next else ())):
            for listener in attempt.listeners:
                if listener.socket not in served:
                    listener.socket.close()
        work(setup, slot, began, connection)

    def reread(self) -> Recipe | None:
        logs.info("arun: reloading")
        attempt = self._attempt
        telling.reloading(attempt, "reloading")
        trial = fallback.Attempt(attempt.program, attempt.signals, attempt.arguments, attempt.past)
        trial.collector, trial.config = attempt.collector, attempt.config
        given_up, self._next = self._next, None
        trial.listeners, trial.secured = list(attempt.listeners), dict(attempt.secured)
        trial.log_file = attempt.log_file
        if given_up is not None:  # its workers are still on their way out: nobody could bind there again
            trial.listeners += [one for one in given_up.attempt.listeners if not self._has(one)]
        now, began = Surroundings.current(), time.monotonic()
        try:
            self._before.restore()
            chosen = self._judged(trial)
            serving.surround(chosen)
            claimed = listening.listen(trial, chosen)
            listening.give_up(trial, [one for one in claimed.surplus if not self._has(one)])
            self._next = Setup(trial, chosen, claimed, Surroundings.current())
        except (StartupFailure, settings.SettingsRejected) as error:
            failures = error.problems if isinstance(error, settings.SettingsRejected) else (error,)
            for failure in failures:
                self.tell(failure)
            text = f"reload failed ({failures[0].identifier}): those who served before go on"
            logs.warning(text)
            self.unchanged(text)
            self._let_go(trial)
            return None
        finally:
            now.restore()
        return self.recipe(self._next, began)

    def _judged(self, trial: Attempt) -> Settings:
        program = trial.program
        layers = settings.read(trial.arguments, program.environ, directory=program.cwd, factory_reset=trial.is_fallback)
        trial.note(layers)
        telling.what_was_read(trial, layers)
        trial.chosen = settings.judge(layers)
        serving.check_workers(trial.chosen)
        return trial.chosen

    def adopt(self) -> None:
        setup, self._next = self._next, None
        if setup is None:  # the first workers of an upgrade
            return
        attempt, trial = self._attempt, setup.attempt
        attempt.fallback, attempt.config = trial.fallback, trial.config
        attempt.listeners, attempt.secured = trial.listeners, trial.secured
        attempt.heed(setup.chosen)
        listening.give_up(attempt, [one for one in setup.listening.surplus if one.socket.fileno() >= 0])
        setup.surroundings.restore()
        self._move_pidfile(setup.chosen)

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
        path = os.path.join(attempt.program.cwd, chosen.pidfile) if chosen.pidfile else None
        if path == attempt.pidfile:
            return
        try:
            if path is not None:
                process.write_pidfile(path, origin=chosen.origin("pidfile"))
        except StartupFailure as failure:
            self.tell(failure)
            return
        if attempt.pidfile is not None:
            process.remove_pidfile(attempt.pidfile)
        attempt.pidfile = path

    def ready(self, app: str, workers: int) -> None:
        attempt = self._attempt
        exits.release_descriptors()
        if self._was_ready:
            logs.info(f"arun: reloaded, serving {app} with {counted(workers)}")
            telling.serves(attempt, f"serving {app} with {counted(workers)}")
            return
        self._was_ready = True
        telling.ready(attempt, f"{app} with {counted(workers)}", attempt.listeners)

    def tell(self, failure: StartupFailure) -> None:
        logs.frame(ending.recorded(self._attempt, failure))

    def unchanged(self, text: str) -> None:
        telling.serves(self._attempt, text)

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
        telling.leaving(self._attempt, f"stopping {counted(len(workers))}")
        if self._attempt.signals.going_back:
            return PARTING
        for listener in self._attempt.listeners:
            listener.socket.close()  # the workers have it too, and take in who waits there before it is gone
        return 0.0

    def reopen(self) -> None:
        self._attempt.reopen_log_file()

    def upgrade(self, workers: Sequence[Worker]) -> None:
        attempt = self._attempt
        if self._cannot_start():
            return
        passed = tuple(InheritedWorker(worker.pid, worker.connection.fileno()) for worker in workers)
        logs.info(f"arun: upgrading; {counted(len(workers))} from before it go on serving")
        telling.reloading(attempt, "upgrading")
        try:
            fallback.upgrade(attempt, passed)
        except ExecFailed as failure:
            self.tell(failure)
            self.unchanged("upgrade refused: those who served before go on")
            attempt.signals.install(can_go_back=attempt.can_go_back)

    def _cannot_start(self) -> bool:
        """Ask the arun that is installed now for its version: an exec of one that is half installed has no way back."""
        import subprocess

        program = self._attempt.program
        try:
            asked = subprocess.run(  # noqa: S603 - ourselves
                [*program.arguments, "--version"],
                env=dict(program.environ),
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_VERSION_PATIENCE,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            logs.warning(f"no upgrade: what is installed now does not start ({error})")
            return True
        logs.info(f"arun: found {asked.stdout.decode(errors='replace').strip()}")
        return False
