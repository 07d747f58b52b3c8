"""The story of a start, on one page: settings, surroundings, listeners, app, serving; its outcome is what it returns."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial

from arun import __version__
from arun.core import exits, native
from arun.core.failures import StartupFailure
from arun.instance.configuration import Candidate
from arun.lifecycle import build, listening
from arun.lifecycle.deadline import Deadline
from arun.lifecycle.outcome import failures_of, outcome_of
from arun.settings import DEFAULT, SettingsRejected, validate
from arun.system import descriptors, environment, privileges
from arun.system.environment import Surroundings
from arun.system.stop_signals import StopRequested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from arun.instance.instance import Instance
    from arun.lifecycle.outcome import Outcome
    from arun.settings import Settings
    from arun.system.privileges import Identity

__all__ = ("run",)


def run(instance: Instance, leave: Callable[[Outcome], object]) -> Outcome:
    """Start the instance, serve until a stop signal comes, and return the outcome.

    ``leave`` is called with the outcome, in another thread, where the main thread does not come back from the start.
    """
    return outcome_of(partial(_begin, instance, leave), instance.signals)


def _begin(instance: Instance, leave: Callable[[Outcome], object]) -> None:
    """Start; where that fails, workers from before an upgrade go on, or what the fallback needs is bound."""
    try:
        instance.signals.on_reopen(instance.output.reopen)
        instance.signals.install(can_go_back=instance.can_go_back)
        if instance.past.signals >= 0 and not instance.is_in_place:
            instance.signals.collect(instance.past.signals)
        _start(instance, leave)
    except BaseException as error:
        if instance.has_workers and not exits.in_forked_child():
            from arun.lifecycle import reload

            reload.go_on(instance, () if isinstance(error, StopRequested) else failures_of(error))
            return
        _provide_for_fallback(instance, error)
        raise


def _provide_for_fallback(instance: Instance, error: BaseException) -> None:
    """Take fallback policy, log file and addresses from a start that has failed before it came to its sockets."""
    settings = instance.configuration.validated
    if isinstance(error, SettingsRejected):
        partial_settings = error.partial
        instance.adopt(instance.configuration.ending_as(partial_settings))
        with contextlib.suppress(StartupFailure):
            instance.adopt(instance.configuration.with_page(partial_settings))
        identity = _identity(partial_settings)
        _open_failure_log(instance, partial_settings, identity)
        listening.want(instance, partial_settings)
        if instance.successor is not None:  # which then goes to the background; without one everything is reported here
            with contextlib.suppress(StartupFailure):
                _take_output(instance, partial_settings)
            with contextlib.suppress(StartupFailure):
                instance.open_control(partial_settings, identity)
        listening.bind_what_is_known(instance, partial_settings)
    elif isinstance(error, StartupFailure) and settings is not None and _is_early(error):
        listening.bind_what_is_known(instance, settings)


def _identity(settings: Settings) -> Identity | None:
    """Return who the process is to become, where it is root; None where it stays who it is, or that is not known."""
    if os.geteuid() == 0:
        with contextlib.suppress(StartupFailure):  # which the start is going to fail with
            return privileges.lookup(settings.uid, settings.gid)
    return None


def _open_failure_log(instance: Instance, settings: Settings, identity: Identity | None) -> None:
    """Open the failure log before the privileges are dropped, for the user that the process becomes."""
    directory = os.path.join(instance.launch.directory, settings.state_dir) if settings.state_dir else ""
    instance.outage.open(directory, identity)


def _is_early(failure: StartupFailure) -> bool:
    cause = failure.cause
    return cause.stage in {"settings", "identity", "privileges", "fallback"} or cause.identifier.startswith(
        "certificate-"
    )


def _take_output(instance: Instance, settings: Settings) -> None:
    if settings.log_file or settings.daemonize:
        directory = instance.launch.directory
        instance.status.attach(instance.output.take(settings, directory, is_fallback=instance.is_fallback))


def _start(instance: Instance, leave: Callable[[Outcome], object]) -> None:
    """From the settings to the end of serving. What fails raises; what returns was a clean stop."""
    directory = instance.launch.directory
    layers = instance.read(os.environ, directory)
    asked = layers.asked  # a mistake beside a question never ends in a fallback
    instance.adopt(instance.configuration.read(layers))
    if asked - {"show-config"}:
        _answer(asked)
        return
    if not asked:
        instance.status.read(layers, directory, is_built_in=instance.is_built_in)
    settings = validate(layers)
    if asked:
        sys.stdout.write(_pages().show_config(settings, descriptors.connections_possible()))
        return
    instance.status.without_effect(settings)
    instance.adopt(instance.configuration.with_settings(settings))
    identity = _identity(settings)
    _open_failure_log(instance, settings, identity)
    listening.want(instance, settings)
    _take_output(instance, settings)
    instance.open_control(settings, identity)
    if instance.control is not None:
        instance.control.start()
    environment.change_environment([one for one in settings.env if one[0] == "TZ"])  # the first line has a date
    instance.status.starting()
    instance.adopt(instance.configuration.with_page(settings))
    if instance.configuration.fallback.names_own and not instance.is_fallback:
        from arun.lifecycle import chain  # other starts have nothing to look at

        chain.enforce(instance.configuration, instance.launch.environ)
    with Deadline(
        settings.start_timeout,
        settings.origin("start_timeout"),
        leave,
        lambda: instance.signals.count > 0,
        on_step=instance.status.waiting,
        # A service manager waits for a fallback that goes back as for one that serves.
        on_tick=None if instance.status.watchdog_interval is None else instance.status.watchdog,
    ) as deadline:
        _serve(instance, settings, deadline)


def _pages() -> ModuleType:
    from arun.settings import pages  # an ordinary start shows none of them

    return pages


def _answer(asked: frozenset[str]) -> None:
    """Answer a question about arun itself; the rest of the command line is ignored."""
    if "help" in asked:
        sys.stdout.write(_pages().help_text())
    elif "version" in asked:
        sys.stdout.write(f"arun {__version__} ({native.build()})\n")
    else:
        import json

        sys.stdout.write(json.dumps(_pages().schema(), indent=2) + "\n")


def _serve(instance: Instance, settings: Settings, deadline: Deadline) -> None:
    """Serve in this process, or in workers of its own; unix sockets are removed after a clean stop only."""
    is_init = os.getpid() == 1 and settings.supervise is None
    is_supervised = settings.is_supervised or is_init or instance.has_workers
    pid_path = os.path.abspath(settings.pidfile) if settings.pidfile else None
    build.surround(settings)
    instance.write_pidfile(pid_path, origin=settings.origin("pidfile"))
    reload = _reload() if is_supervised else None
    wanted = ", ".join(str(one.address) for one in instance.sockets.wanted)
    deadline.step(f"{wanted or DEFAULT} to be bound")
    held = instance.sockets if not instance.has_workers else instance.sockets.candidate()
    try:
        claimed = listening.listen(instance, instance.configuration, held, beside_workers=instance.has_workers)
    except BaseException:
        held.close(held.beside(instance.sockets))
        raise
    configuration = instance.configuration._replace(claimed=claimed, surroundings=Surroundings.current())
    if reload is not None:
        if not instance.has_workers:  # else these serve there still
            held.close(claimed.surplus)
            instance.adopt(configuration)
        deadline.finish()  # workers are forked by a process that has no other thread
        if instance.control is not None:
            instance.control.stop()
        reload.supervise(instance, Candidate(configuration, held, instance.past.generation + 1), deadline.began)
    else:
        held.close(claimed.surplus)
        instance.adopt(configuration)
        build.serve_in_this_process(instance, deadline)
    settings = instance.configuration.settings
    if settings.vacuum and not instance.signals.going_back:
        instance.sockets.close(instance.sockets.listeners)


def _reload() -> ModuleType:
    """Import what a supervisor needs, before a drop of privileges may hide it."""
    from arun.lifecycle import reload
    from arun.supervisor import forking

    forking.load_prctl()
    return reload
