"""The story of a start, on one page: settings, surroundings, listeners, app, serving, and what to leave with."""

from __future__ import annotations

import contextlib
import functools
import os
import sys

from arun import __version__, settings
from arun.core import addresses, exits
from arun.core.failures import StartupFailure
from arun.lifecycle import build, end, fallback, handover, listening, status
from arun.lifecycle.deadline import DeadlineReached, Watch
from arun.listen import activation, sockets
from arun.system import descriptors, environment, logs, pidfile, process
from arun.system.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn

    from arun.lifecycle.fallback import Attempt
    from arun.settings import Settings

__all__ = ("main",)


def main(collector: tuple[int, int, int]) -> NoReturn:
    """Start one instance and serve until it is told to stop; every end goes through the exit shim.

    ``collector`` are the thresholds that the garbage collector gets back when the instance serves.
    """
    process.open_standard_streams()
    descriptors.allow_descriptors()
    attempt = _attempt(process.StopSignals())
    exits.reserve_descriptors()
    attempt.collector = collector
    exits.succeed_with(functools.partial(end.way_out, attempt, _start))
    end.run(attempt, functools.partial(_begin, attempt))


def _attempt(signals: process.StopSignals) -> Attempt:
    """Gather what this start comes with, and know its fallback before anything can fail."""
    try:
        past = handover.take(os.environ)
    except ValueError as error:
        logs.warning(f"{error}; ignored")
        past = None
    activated = activation.from_service_manager(os.environ)  # a successor is handed them: its environment names none
    program, manager = Program.current(), None
    if "NOTIFY_SOCKET" in os.environ:
        from arun.system import notify

        manager = notify.take(os.environ)
    attempt = fallback.Attempt(program, signals, tuple(sys.argv[1:]), past or handover.Handover())
    attempt.manager = manager
    for inherited in attempt.past.listeners:
        try:
            attempt.listeners.append(
                sockets.adopt(inherited.fd, addresses.parse(inherited.requested), inherited.transport)
            )
        except OSError as error:  # an older arun does not look whether its app had closed it
            logs.warning(f"the socket of {inherited.requested} is lost: {error.strerror}")
            if inherited.transport.tls:
                attempt.secured[addresses.parse(inherited.requested)] = inherited.transport
    attempt.secured.update((addresses.parse(one.requested), one.transport) for one in attempt.past.closed)
    attempt.secured.update(
        (addresses.parse(one.address), one.transport) for one in attempt.past.wanted if one.transport.tls
    )
    attempt.listeners += activated
    attempt.stored = tuple(one for one in activated if not isinstance(one.requested, addresses.Inherited))
    attempt.inherited = tuple(attempt.listeners)
    if attempt.past.log_file:
        from arun.system.log_file import LogFile

        attempt.log_file = LogFile(attempt.past.log_file)
    if attempt.is_fallback:
        attempt.config = " ".join(attempt.arguments)  # its one argument: told and remembered even if it cannot be read
    else:
        said = settings.scan_fallback(attempt.arguments, os.environ, attempt.program.cwd)
        attempt.fallback = fallback.located(said)
        attempt.last_resort = settings.scan_last_resort(attempt.arguments, os.environ) or attempt.last_resort
    return attempt


def _begin(attempt: Attempt) -> None:
    """Start; where that fails, those go on who serve already, or what the fallback needs is bound."""
    try:
        attempt.signals.tell_reopen(attempt.reopen_log_file)
        attempt.signals.install(can_go_back=attempt.can_go_back)
        if attempt.past.signals >= 0:
            attempt.signals.collect(attempt.past.signals)
        _start(attempt)
    except BaseException as error:
        if attempt.past.workers and not exits.in_forked_child():
            from arun.lifecycle import reload

            reload.go_on(attempt, () if isinstance(error, process.StopRequested) else end.failures_of(error))
        if isinstance(error, settings.SettingsRejected):
            _salvage(attempt, error.partial)
        elif isinstance(error, StartupFailure) and attempt.chosen is not None and _is_early(error):
            listening.bind_what_is_known(attempt, attempt.chosen)  # it had not come to its sockets yet
        raise


def _salvage(attempt: Attempt, partial: Settings) -> None:
    """Make of settings that cannot be taken what a fallback needs."""
    attempt.note_end(partial)
    listening.want(attempt, partial)
    if attempt.successor is not None:  # which then goes to the background; without one everything is told here
        with contextlib.suppress(StartupFailure):
            _take_output(attempt, partial)
    listening.bind_what_is_known(attempt, partial)


def _is_early(failure: StartupFailure) -> bool:
    return failure.stage in {"settings", "identity", "privileges"} or failure.identifier.startswith("certificate-")


def _take_output(attempt: Attempt, chosen: Settings) -> None:
    if chosen.log_file or chosen.daemonize:
        from arun.lifecycle import output

        output.take(attempt, chosen)


def _start(attempt: Attempt) -> None:
    """From the settings to the end of serving. What fails raises; what returns was a clean stop."""
    layers = attempt.read(os.environ)
    asked = layers.asked  # a mistake beside a question never ends in a fallback
    attempt.note(layers)
    if asked - {"show-config"}:
        _answer(asked)
        return
    if not asked:
        status.what_was_read(attempt, layers)
    chosen = settings.judge(layers)
    if asked:
        sys.stdout.write(settings.show_config(chosen, descriptors.connections_possible()))
        return
    status.what_does_nothing(chosen)
    attempt.heed(chosen)
    listening.want(attempt, chosen)
    _take_output(attempt, chosen)
    environment.change_environment([one for one in chosen.env if one[0] == "TZ"])  # the first line has a date
    status.announce(attempt)
    limit_origin = chosen.origin("start_timeout")
    watch = Watch(
        chosen.start_timeout,
        functools.partial(end.overdue, attempt, limit_origin),
        lambda: attempt.signals.count > 0,
    )
    if attempt.manager is not None and attempt.manager.watchdog_interval is not None:
        watch.on_tick = attempt.manager.watchdog  # it waits for a fallback that goes back as for one that serves
    watch.begin()
    try:
        _serve(attempt, chosen, watch)
    except (DeadlineReached, StartupFailure):
        if watch.expired:  # whatever the app made of the interruption
            raise end.timed_out(watch, limit_origin) from None
        raise
    finally:
        watch.finish()


def _answer(asked: frozenset[str]) -> None:
    """Answer a question about arun itself; whatever else stands on the command line is not looked at."""
    if "help" in asked:
        sys.stdout.write(settings.help_text())
    elif "version" in asked:
        sys.stdout.write(f"arun {__version__}\n")
    else:
        import json

        sys.stdout.write(json.dumps(settings.schema(), indent=2) + "\n")


def _serve(attempt: Attempt, chosen: Settings, watch: Watch) -> None:
    """Serve in this process, or in workers of its own; unix sockets are removed after a clean stop only."""
    is_init = os.getpid() == 1 and chosen.supervise is None
    supervised = chosen.is_supervised or is_init or bool(attempt.past.workers)
    attempt.pidfile = os.path.abspath(chosen.pidfile) if chosen.pidfile else None
    build.surround(chosen)
    if attempt.pidfile is not None:
        pidfile.write(attempt.pidfile, origin=chosen.origin("pidfile"))
    reload = _reload() if supervised else None
    watch.step(f"{', '.join(str(one.address) for one in attempt.wanted) or settings.DEFAULT} to be bound")
    claimed = listening.listen(attempt, chosen, beside_workers=bool(attempt.past.workers))
    if not attempt.past.workers:  # else these serve there still
        listening.give_up(attempt, claimed.surplus)
    setup = build.Setup(attempt, chosen, claimed, environment.Surroundings.current())
    if reload is not None:
        watch.finish()  # workers are forked by a process that has no other thread
        reload.supervise(setup, watch.began)
    else:
        process.bind_to_cores(0, chosen.cpu_affinity)
        loaded = build.load(setup, watch)
        app, served = loaded.app.target.text, claimed.listeners
        told = build.Told(
            lambda _orders: status.ready(attempt, app, served),
            functools.partial(status.leaving, attempt),
            on_late=lambda late: status.ready_late(attempt, app, late),
        )
        build.serve(setup, loaded, watch, told)
    if attempt.chosen is not None and attempt.chosen.vacuum and not attempt.signals.going_back:
        listening.give_up(attempt, attempt.listeners)


def _reload() -> ModuleType:
    """Import what a supervisor needs, before a drop of privileges may hide it."""
    from arun.lifecycle import reload
    from arun.supervisor import forking

    forking.load_prctl()
    return reload
