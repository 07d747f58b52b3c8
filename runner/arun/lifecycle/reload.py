"""An instance whose workers are processes of their own: what its supervisor needs of settings, listeners and app."""

from __future__ import annotations

import gc
import math
import os
import socket
import time
from functools import partial

from arun.apps import provisions
from arun.core.failures import OPTION_INVALID, StartupFailure
from arun.instance.configuration import Candidate, Configuration
from arun.instance.serving import Supervised
from arun.lifecycle import build, foresight, listening, successor
from arun.lifecycle.outcome import failures_of
from arun.lifecycle.supervised import SupervisedStatus
from arun.lifecycle.worker import work
from arun.settings import validate
from arun.supervisor import forking
from arun.supervisor.contract import InheritedWorker
from arun.supervisor.supervisor import Supervisor
from arun.supervisor.workers import Generation, WorkerSpec, WorkerTimeouts, counted, counters_of
from arun.system import descriptors, logs, process, tracebacks
from arun.system.environment import Surroundings, working_directory
from arun.system.file_watch import FileWatch, missing
from arun.system.stop_signals import StopRequested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from arun.instance.control import Control
    from arun.instance.instance import Instance
    from arun.settings import Settings
    from arun.supervisor.workers import Worker

__all__ = ("go_on", "supervise")

#: Seconds between two tries to bind what is busy, and the most where a reload for it has failed.
_RETRY, _SELDOM = 1.0, 60.0


def supervise(instance: Instance, candidate: Candidate, began: float) -> None:
    """Serve with workers until a stop.

    Args:
        instance: the instance; after an upgrade with what the workers from before it have.
        candidate: what the workers are to serve with.
        began: when the start began, on the monotonic clock.

    Raises:
        StartupFailure: of a start that failed, or a crash loop.
    """
    leaving = candidate.configuration.listening.leaving
    reloader = Reloader(instance, SupervisedStatus(instance, leaving), candidate if instance.has_workers else None)
    spec = reloader.worker_spec(candidate, began)
    reloader.watch(candidate.configuration)
    _run(instance, reloader, spec)


def go_on(instance: Instance, failures: Sequence[StartupFailure]) -> None:
    """Let the workers from before an upgrade serve on, though the upgraded arun cannot start: a reload may help.

    Without failures a stop signal came before it could start: the workers stop too.

    Raises:
        StartupFailure: no worker is left.
    """
    instance.sockets.revert()
    instance.launch.surroundings.restore(where_possible=True)
    status = SupervisedStatus(instance)
    for failure in failures:
        status.failed(failure)
    if failures:
        text = "the upgrade has failed: the workers from before it go on serving"
        logs.warning(text)
        status.unchanged(text)
    _run(instance, Reloader(instance, status), None)


def _run(instance: Instance, reloader: Reloader, spec: WorkerSpec | None) -> None:
    signals = instance.signals
    supervisor = Supervisor(reloader, spec, _inherited(instance), counters_of(instance.past.counted))
    reloader.supervise(supervisor)
    signals.on_stop(supervisor.stop)
    signals.on_hangup(supervisor.reload)
    gc.collect()
    gc.freeze()  # what is here now is shared with the workers: the collector is not to write into it
    descriptors.connections_possible()  # a reload has twice as many lines to workers
    try:
        failure = supervisor.run()
    finally:
        signals.on_hangup(None)
        instance.status.on_outlook(None)
        if forking.adopts_orphans():  # among them what has hung in a fork of the process that loads the app
            process.end_children(spared=instance.launch.children | instance.outage.notified)
    if failure is not None:
        raise failure


def _inherited(instance: Instance) -> Generation | None:
    workers = instance.release_workers()
    if not workers:
        return None
    generation = Generation(None)
    for worker in workers:
        line = socket.socket(fileno=worker.fd)
        line.setblocking(False)
        generation.inherit(line, worker.pid, worker.number, is_leaving=worker.is_leaving, counted=worker.counted)
    return generation


class Reloader:
    """The configurations of an instance with workers; see runner/arun/supervisor/contract.py."""

    def __init__(self, instance: Instance, status: SupervisedStatus, candidate: Candidate | None = None) -> None:
        self.status = status
        self._instance = instance
        self._next = candidate
        status.bound = lambda: () if self._next is None else self._next.sockets.listeners
        self._generation = instance.past.generation
        self._watch = FileWatch(())
        #: What reporting a failure needs is loaded: while the first workers start, so that they do not wait for it.
        self._is_provided = False
        self._supervisor: Supervisor | None = None
        #: What a page in the app's place goes by has changed since the start.
        self._has_changed = False
        #: When the watchdog of the service manager is due, on the monotonic clock.
        self._next_ping = 0.0
        #: When a busy address is tried again, on the monotonic clock, and seconds until then after a reload for it.
        self._next_try, self._retry = 0.0, _RETRY

    @property
    def answers(self) -> Control | None:
        return self._instance.control

    def first_order(self) -> bytes:
        """Return what a worker has not learned by its fork: the process that loads the app may be older than that."""
        return foresight.order(self._instance.status.outlook()) if self._has_changed else b""

    def supervise(self, supervisor: Supervisor) -> None:
        """Let workers learn what changes for them, and answer for this supervisor."""
        self._supervisor = supervisor
        self._instance.status.on_outlook(self._tell)
        self._answer()

    def _answer(self) -> None:
        """Let those be answered who ask for the state of the instance, once it can be asked."""
        if self._instance.control is not None and self._supervisor is not None:
            self._instance.control.serve(Supervised(self._supervisor, self.status.reloads))

    def _tell(self) -> None:
        self._has_changed = True
        if self._supervisor is not None:
            self._supervisor.order(self.first_order())

    def watch(self, configuration: Configuration) -> None:
        """Watch the files of ``touch-reload`` from now on."""
        self._watch = FileWatch(_touch_reload(configuration))

    def worker_spec(self, candidate: Candidate, began: float) -> WorkerSpec:
        """Return how workers are made that serve with this candidate."""
        settings = candidate.configuration.settings
        self._generation = candidate.generation
        timeouts = WorkerTimeouts(
            start=settings.start_timeout or 0.0,
            silence=settings.worker_timeout,
            drain_delay=settings.drain_delay,
            grace=settings.timeout_graceful_shutdown,
            keep_alive=settings.timeout_keep_alive,
        )
        preload = settings.preload and forking.adopt_orphans()
        if settings.preload and not preload:
            logs.warning("preload: this system cannot do it; every worker loads the app by itself")
        for path in filter(missing, _touch_reload(candidate.configuration)):
            logs.warning(f"touch-reload: {path} is not there; a reload follows when it is")
        return WorkerSpec(
            partial(self._work, candidate),
            settings.workers,
            timeouts,
            began,
            crash_limit=settings.crash_limit,
            crash_interval=settings.crash_interval,
            preload=preload,
        )

    def _work(self, candidate: Candidate, slot: int | None, began: float, connection: socket.socket) -> NoReturn:
        """Run as a worker. First close listeners of other generations: this process would keep them open without accepting."""
        if self.status.recovery is not None:
            self.status.recovery.forget()
        listening = candidate.configuration.listening
        served = {listener.socket for listener in (*listening.listeners, *listening.leaving)}
        for held in (self._instance.sockets, *((self._next.sockets,) if self._next else ())):
            for listener in held.listeners:
                if listener.socket not in served:
                    listener.socket.close()
        work(self._instance, candidate, slot, began, connection)

    def lacks_files(self) -> bool:
        return successor.files_are_away()

    def candidate(self) -> WorkerSpec | None:
        logs.info("arun: reloading", "reloading")
        instance = self._instance
        self.status.reloads.begin()
        instance.status.reloading("reloading")
        given_up, self._next = self._next, None
        # Workers of what is given up are still on their way out: no other process could bind there again.
        held = instance.sockets.candidate(given_up.sockets.listeners if given_up is not None else ())
        now, began = Surroundings.current(), time.monotonic()
        try:
            instance.launch.surroundings.restore(where_possible=True)
            configuration = self._read()
            build.surround(configuration.settings)
            claimed = listening.listen(instance, configuration, held, beside_workers=True)
            held.close([one for one in claimed.surplus if not instance.sockets.has(one)])
            configuration = configuration._replace(claimed=claimed, surroundings=Surroundings.current())
        except Exception as error:  # noqa: BLE001 - whatever it is, the workers that serve go on
            failures = failures_of(error)
            for failure in failures:
                self.status.failed(failure)
            text = f"reload failed ({failures[0].cause.identifier}): the old workers go on"
            logs.warning(text, "reload-failed", identifier=failures[0].cause.identifier)
            self.status.unchanged(text)
            held.close(held.beside(instance.sockets))
            return None
        finally:
            now.restore(where_possible=True)
        self._next = Candidate(configuration, held, self._generation + 1)
        if logs.debugs():
            self._tell_changes(configuration)
        return self.worker_spec(self._next, began)

    def _read(self) -> Configuration:
        """Read and validate the settings again, from where the links of the starting directory lead by now."""
        instance = self._instance
        directory = working_directory() if instance.launch.surroundings.called else instance.configuration.directory
        layers = instance.read(instance.launch.environ, directory)
        before = Configuration(instance.configuration.name, directory, instance.initial_policy)
        configuration = before.read(layers)
        instance.status.read(layers, directory, is_built_in=instance.is_built_in)
        settings = validate(layers)
        instance.status.without_effect(settings)
        self._check_identity(settings)
        configuration = configuration.with_settings(settings).with_page(settings)
        if configuration.fallback.names_own and not instance.is_fallback:
            from arun.lifecycle import chain

            chain.enforce(configuration, instance.launch.environ)
        return configuration

    def _tell_changes(self, configuration: Configuration) -> None:
        """Say in the log, for debugging, which listeners a reload keeps, adds and closes, and which settings it changes."""
        before = self._instance.sockets.listeners
        after = configuration.listening.listeners
        for what, found in (
            ("keeps", [one for one in after if one in before]),
            ("adds", [one for one in after if one not in before]),
            ("closes", [one for one in before if one not in after]),
        ):
            if found:
                logs.debug(f"the reload {what} {', '.join(str(one.address) for one in found)}")
        old, new = self._instance.configuration.validated, configuration.settings
        if old is not None and (changed := [name for name in new.names() if old.value(name) != new.value(name)]):
            logs.debug(f"the reload changes {', '.join(changed)}")

    def _check_identity(self, settings: Settings) -> None:
        """Refuse another user or group: a process cannot change them twice, and the old workers would mix with it."""
        now = self._instance.configuration.validated
        if now is not None and (now.uid, now.gid) != (settings.uid, settings.gid):
            origin = ", ".join(dict.fromkeys(settings.origins("uid") + settings.origins("gid"))) or "default"
            raise StartupFailure(
                OPTION_INVALID, "uid and gid change with a restart only", origin=origin, hint="restart the instance"
            )

    def adopt(self) -> None:
        candidate, self._next = self._next, None
        if candidate is None:
            return
        configuration, held, _ = candidate
        self._retry = _RETRY
        self._instance.adopt(configuration, held)
        held.close([one for one in configuration.listening.surplus if one.socket.fileno() >= 0])
        if configuration.surroundings is not None:
            configuration.surroundings.restore(where_possible=True)
        self._move_pidfile(configuration)
        self._move_control(configuration)
        self.watch(configuration)

    def withdraw(self) -> None:
        if self._next is not None:
            held = self._instance.sockets
            held.deafen_overlapping(self._next.sockets.beside(held))

    def discard(self) -> None:
        candidate, self._next = self._next, None
        if candidate is not None:
            candidate.sockets.close(candidate.sockets.beside(self._instance.sockets))

    def _move_pidfile(self, configuration: Configuration) -> None:
        named = configuration.settings.pidfile
        path = os.path.abspath(os.path.join(configuration.directory, named)) if named else None
        try:
            self._instance.write_pidfile(path, origin=configuration.settings.origin("pidfile"))
        except StartupFailure as failure:
            self.status.failed(failure)

    def _move_control(self, configuration: Configuration) -> None:
        try:
            self._instance.open_control(configuration.settings)
            self._answer()
        except StartupFailure as failure:
            self.status.failed(failure)

    def should_reload(self, *, is_settled: bool) -> bool:
        """Return whether an address is free that was busy: workers of a reload serve there, for these do not have it.

        A touched file does what SIGHUP does: a fallback goes back to the first start.
        """
        now = time.monotonic()
        if self._watch.changed(now):
            self._instance.signals.hang_up()
        if not is_settled or not self._instance.sockets.busy or now < self._next_try:
            return False
        self._next_try = now + _RETRY
        if not listening.is_free(self._instance.sockets):
            return False
        logs.info("arun: an address is free now that was busy")
        self._next_try = now + self._retry
        self._retry = min(self._retry * 2, _SELDOM)
        return True

    def tick(self) -> float:
        if not self._is_provided:
            self._is_provided = True
            provisions.load_now()
        return min(self._ping(), self._instance.outage.tick(), self.status.recover())

    def reaped(self, pid: int, status: int) -> None:
        self._instance.outage.reaped(pid, status)

    def _ping(self) -> float:
        """Report to the watchdog of the service manager, if it is due; return in how many seconds it is again."""
        status = self._instance.status
        if status.watchdog_interval is None:
            return math.inf
        now = time.monotonic()
        if now >= self._next_ping:
            status.watchdog()
            self._next_ping = now + status.watchdog_interval
        return self._next_ping - now

    def _counted(self) -> str:
        """Return what workers have counted that are gone."""
        return "" if self._supervisor is None else self._supervisor.counted.as_text()

    def upgrade(self, workers: Sequence[Worker]) -> None:
        instance = self._instance
        self._ping()
        try:
            loads, version = successor.installed_version(instance.launch)
        except Exception as error:  # noqa: BLE001 - a file is away, or no descriptor is left: the workers that serve go on
            loads, version = False, f"cannot be asked ({tracebacks.described(error)})"
        if not loads:
            logs.warning(f"no upgrade: what is installed now {version}")
            return
        logs.info(f"arun: found arun {version}")
        if instance.signals.count:
            return
        passed = tuple(
            InheritedWorker(
                worker.pid,
                worker.connection.fileno(),
                worker.slot.number,
                worker.is_leaving,
                worker.counters.as_text(),
            )
            for worker in workers
            if worker.slot
        )
        serving = sum(not worker.is_leaving for worker in passed)
        logs.info(f"arun: upgrading; {counted(serving)} from before it go on serving")
        if self.status.recovery is not None:
            self.status.recovery.pause()
        instance.status.reloading("upgrading")
        try:
            successor.upgrade(instance, passed, self._generation, self._counted())
        except (StartupFailure, StopRequested) as error:
            if isinstance(error, StartupFailure):
                self.status.failed(error)
            self.status.unchanged("upgrade refused: the old workers go on")
            instance.signals.install(can_go_back=instance.can_go_back)


def _touch_reload(configuration: Configuration) -> tuple[str, ...]:
    return tuple(os.path.join(configuration.directory, path) for path in configuration.settings.touch_reload)
