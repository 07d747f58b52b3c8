"""The story of a start, on one page: settings, surroundings, listeners, app, serving, and what to leave with."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import time

from runner import __version__, addresses, ending, exits, fallback, handover, listening, serving, settings
from runner.failures import FileUnusable, StartupFailure
from runner.system import listeners, logs, process, sockets, surroundings
from runner.watch import DeadlineReached, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from runner.fallback import Attempt
    from runner.settings import Layers, Settings
    from runner.system.sockets import Listener

__all__ = ("main",)


def main(collector: tuple[int, int, int]) -> NoReturn:
    """Start one instance and serve until it is told to stop; every end goes through the exit shim.

    ``collector`` are the thresholds that the garbage collector gets back when the instance serves.
    """
    process.open_standard_streams()
    exits.reserve_descriptors()
    attempt = _attempt(process.StopSignals())
    attempt.collector = collector
    exits.succeed_with(functools.partial(ending.way_out, attempt, _start))
    failures: tuple[StartupFailure, ...] = ()
    try:
        attempt.signals.install(can_go_back=attempt.can_go_back)
        if attempt.past.signals >= 0:
            attempt.signals.collect(attempt.past.signals)
        _start(attempt)
    except process.StopRequested:
        pass
    except settings.SettingsRejected as rejected:
        failures = rejected.problems
        attempt.limit, attempt.falls_back_on = rejected.partial.fallback_limit, frozenset(rejected.partial.fallback_on)
        listening.bind_what_is_known(attempt, rejected.partial)
    except StartupFailure as failure:
        failures = (failure,)
        early = failure.stage in {"settings", "identity", "privileges"} or failure.identifier.startswith("certificate-")
        if attempt.chosen is not None and early:
            listening.bind_what_is_known(attempt, attempt.chosen)  # it had not come to its sockets yet
    except BaseException as error:  # noqa: BLE001 - a fault of ours must end in the fallback too
        if exits.in_forked_child():
            exits.leave(ending.status_of(error))
        failures = (ending.unexpected(error),)
    ending.leave(attempt, failures)


def _attempt(signals: process.StopSignals) -> Attempt:
    """Gather what this start comes with, and know its fallback before anything can fail."""
    try:
        past = handover.take(os.environ)
    except ValueError as error:
        logs.warning(f"{error}; ignored")
        past = None
    activated = listeners.from_service_manager(os.environ)  # a successor is handed them: its environment names none
    attempt = fallback.Attempt(fallback.Program.current(), signals, tuple(sys.argv[1:]), past or handover.Handover())
    for inherited in attempt.past.listeners:
        try:
            attempt.listeners.append(
                sockets.adopt(inherited.fd, addresses.parse(inherited.requested), inherited.transport)
            )
        except OSError as error:  # the app that failed had closed it
            logs.warning(f"the socket of {inherited.requested} is lost: {error.strerror}")
            if inherited.transport.tls:
                attempt.secured[addresses.parse(inherited.requested)] = inherited.transport
    attempt.secured.update((addresses.parse(one.requested), one.transport) for one in attempt.past.closed)
    attempt.listeners += activated
    if attempt.is_fallback:
        attempt.config = " ".join(attempt.arguments)  # its one argument: told and remembered even if it cannot be read
    else:
        said = settings.scan_fallback(attempt.arguments, os.environ, attempt.program.cwd)
        attempt.fallback = fallback.located(said)
    return attempt


def _start(attempt: Attempt) -> None:
    """From the settings to the end of serving. What fails raises; what returns was a clean stop."""
    layers = settings.read(
        attempt.arguments, os.environ, directory=attempt.program.cwd, factory_reset=attempt.is_fallback
    )
    asked = layers.asked  # a mistake beside a question never ends in a fallback
    attempt.fallback = None if asked else fallback.located(layers.fallback)
    if asked - {"show-config"}:
        _answer(asked)
        return
    if not asked:
        _say_what_was_read(attempt, layers)
    attempt.chosen = chosen = settings.judge(layers)
    if asked:
        sys.stdout.write(settings.show_config(chosen))
        return
    logs.set_level(chosen.log_level)
    attempt.limit, attempt.falls_back_on = chosen.fallback_limit, frozenset(chosen.fallback_on)
    _announce(chosen)
    if attempt.fallback and fallback.is_missing(attempt.fallback):
        name = fallback.shown(attempt.fallback, attempt.program.cwd)
        logs.warning(f"the fallback config {name} is not there: should this start fail, the next one fails too")
    limit_origin = chosen.origin("start_timeout")
    watch = Watch(
        chosen.start_timeout,
        functools.partial(ending.overdue, attempt, limit_origin),
        lambda: attempt.signals.count > 0,
    )
    watch.begin()
    try:
        with _surroundings(chosen):
            _serve(attempt, chosen, watch)
    except (DeadlineReached, StartupFailure):
        if watch.expired:  # whatever the app made of the interruption
            raise ending.timed_out(watch, limit_origin) from None
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


def _say_what_was_read(attempt: Attempt, layers: Layers) -> None:
    if layers.configs:
        attempt.config = os.path.join(attempt.program.cwd, layers.configs[0].name)
    for config in layers.configs:
        name = fallback.shown(os.path.join(attempt.program.cwd, config.name), attempt.program.cwd)
        logs.info(f"[arun] getting {config.format.upper()} configuration from {name}")
        for line in config.lines:
            logs.info(line)
    for line in layers.warnings:
        logs.warning(line)


def _announce(chosen: Settings) -> None:
    date = time.strftime("%a %b %d %H:%M:%S %Y")
    logs.info(f"*** Starting arun {__version__} ({sys.maxsize.bit_length() + 1}bit) on [{date}] ***")
    if chosen.workers > 1:
        logs.warning(
            f"workers = {chosen.workers} (from {chosen.origin('workers')}): this version serves with one process"
        )


@contextlib.contextmanager
def _surroundings(chosen: Settings) -> Iterator[None]:
    """Directory, umask, environment, import path and pid file; the pid file is removed after a clean stop."""
    pidfile = os.path.abspath(chosen.pidfile) if chosen.pidfile else None
    if chosen.chdir:
        surroundings.enter(chosen.chdir, origin=chosen.origin("chdir"))
    if chosen.umask is not None:
        os.umask(chosen.umask)
    if chosen.env_file:
        os.environ.update(surroundings.read_env_file(chosen.env_file, origin=chosen.origin("env_file")))
    os.environ.update(chosen.env)
    surroundings.extend_import_path(chosen.pythonpath)
    if pidfile is not None:
        _write_pidfile(pidfile, chosen.origin("pidfile"))
    yield
    if pidfile is not None:
        process.remove_pidfile(pidfile)


def _write_pidfile(path: str, origin: str) -> None:
    try:
        process.write_pidfile(path)
    except OSError as error:
        raise FileUnusable(f"cannot write the pid file {path}: {error.strerror or error}", origin=origin) from error


def _serve(attempt: Attempt, chosen: Settings, watch: Watch) -> None:
    watch.step("its sockets")
    claimed = listening.listen(attempt, chosen)
    served = claimed.listeners
    watch.step(f"{chosen.app or chosen.wsgi_file or 'the app'} to be imported")
    loop = functools.cache(functools.partial(serving.new_loop, chosen.loop))
    app = serving.choose_app(chosen, attempt.past.failures, loop)
    # a loop that the app ran while it was imported may have taken the signals away
    attempt.signals.install(can_go_back=attempt.can_go_back)
    if attempt.signals.count:
        raise process.StopRequested  # and its code may have caught what it was interrupted with
    if watch.expired:
        raise DeadlineReached
    watch.step("the app's own start-up")
    access_file = serving.access_file(chosen, attempt.program.cwd)
    engine = serving.engine_for(app, chosen, access_file)

    def on_ready() -> None:
        watch.finish()
        gc.freeze()  # what a start has loaded stays: the collector need not look at it again at every request
        gc.set_threshold(*attempt.collector)
        exits.release_descriptors()
        _say_ready(attempt, app.target.text, served)

    from runner.serve.worker import Work

    work = Work(
        engine,
        serving.entrances(claimed, chosen),
        chosen.backlog,
        chosen.drain_delay,
        chosen.timeout_graceful_shutdown,
        on_ready,
        tuple(claimed.contexts.values()),
    )
    watch.leave_signals_to_loop()
    try:
        serving.run(loop(), work, attempt.signals)
    finally:
        if access_file is not None:
            access_file.close()
    if chosen.vacuum and not attempt.signals.going_back:
        for listener in served:
            listeners.close(listener)


def _say_ready(attempt: Attempt, app: str, served: list[Listener]) -> None:
    for listener in served:
        url = addresses.url(listener.address, "https" if listener.transport.tls else "http")
        logs.info(f"arun running on {url} (Press CTRL+C to quit)")
    if attempt.past.failures:
        first = attempt.past.failures[0]
        logs.warning(f"this is a fallback: {first.config} failed with {first.summary()}")
    logs.info(f"serving {app}")
