"""The trial of a start: all that a start does, short of serving.

Settings are read and validated, the surroundings entered, certificates loaded, addresses looked at, privileges dropped, the
app imported, started and shut down. Nothing listens; no socket file is made or removed, no pid file or log file written, no
service manager notified. One process does it, whatever ``workers`` says.
"""

from __future__ import annotations

import asyncio
import os
import time

from arun.core.failures import FILE_UNUSABLE, StartupFailure
from arun.lifecycle import build, listening
from arun.lifecycle.deadline import Deadline
from arun.settings import SettingsRejected, validate
from arun.system import environment, logs, pidfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arun.core.listen_spec import ListenSpec
    from arun.http.server import HttpServer
    from arun.instance.instance import Instance
    from arun.lifecycle.build import Loaded
    from arun.lifecycle.outcome import Outcome
    from arun.settings import Layers, Settings

    Step = Callable[[str, str], object]

__all__ = ("Observer", "run")

#: Seconds that the app's shut-down may take beyond the grace that it has.
_SHUTDOWN_MARGIN = 2.0


class Observer:
    """What a trial reports to its caller, as soon as it is known; each method returns at once."""

    def read(self, layers: Layers, settings: Settings | None) -> None:
        """Take what the settings are read from, then the settings too; called before the app is imported, once more each time."""

    def limited(self, what: str, seconds: float | None) -> None:
        """Take the time limit of what begins, ``start`` or ``app's shut-down``, in seconds from now; None for none."""

    def connects(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop on which the app will start."""


def run(  # noqa: PLR0913 - the last ones by name
    instance: Instance,
    leave: Callable[[Outcome], object],
    step: Step,
    *,
    held: Sequence[ListenSpec] = (),
    owner: int = 0,
    starts_app: bool = True,
    observer: Observer | None = None,
) -> None:
    """Try the start of this instance. What fails raises; what returns would have served.

    The process is of no other use afterwards: it has dropped its privileges and imported the app.

    Args:
        instance: the instance, as ``Instance.of_process`` makes it.
        leave: called with the outcome, in another thread, where the main thread does not come back from the app.
        step: called with name and detail of each step that has succeeded: settings, surroundings, certificates, shared
            addresses, privileges, addresses, files, app, start-up, shut-down. Those that a start does not have are left out.
        held: where another process listens that makes room for this start: those addresses are not looked at.
        owner: the pid of that process, which may stand in the pid file.
        starts_app: whether the app's start-up and shut-down run.
        observer: gets more of it than the steps.

    Raises:
        SettingsRejected: the settings.
        StartupFailure: any other failure of a start, START_TIMEOUT included.
    """
    signals, observer = instance.signals, observer or Observer()
    signals.install()
    layers = instance.read(os.environ, instance.launch.directory)
    instance.adopt(instance.configuration.read(layers))
    observer.read(layers, None)
    try:
        settings = validate(layers)
    except SettingsRejected as rejected:
        observer.read(layers, rejected.partial)
        raise
    instance.adopt(instance.configuration.with_settings(settings))
    observer.limited("start", settings.start_timeout)
    observer.read(layers, settings)
    instance.adopt(instance.configuration.with_page(settings))
    if settings.strict_fallback and instance.configuration.fallback.names_own and not instance.is_fallback:
        from arun.lifecycle import chain

        chain.enforce(instance.configuration, instance.launch.environ)
    step("settings", ", ".join(config.name for config in layers.configs) or instance.configuration.name)
    with Deadline(
        settings.start_timeout, settings.origin("start_timeout"), leave, lambda: signals.count > 0
    ) as deadline:
        environment.change_environment([one for one in settings.env if one[0] == "TZ"])
        build.surround(settings)
        observer.read(layers, settings)  # again: paths may count from another folder now
        step("surroundings", environment.working_directory())
        _look_at_pidfile(settings, owner)
        listening.look(instance, instance.configuration, held, step)
        _look_at_files(settings, instance.launch.directory)
        loaded = build.load(instance, deadline)
        step("app", f"{loaded.app.target.text} ({loaded.app.kind})")
        if starts_app:
            _start_and_stop(loaded, settings, deadline, step, observer)


def _look_at_pidfile(settings: Settings, owner: int) -> None:
    if settings.pidfile:
        pidfile.look(os.path.abspath(settings.pidfile), owner, origin=settings.origin("pidfile"))


def _look_at_files(settings: Settings, directory: str) -> None:
    """Look whether the files could be written that a start opens.

    Raises:
        StartupFailure(FILE_UNUSABLE): one of them could not.
    """
    names = ["log_file"] if settings.log_file or not settings.daemonize else ["daemonize"]
    if settings.logs_requests:
        names.append("access_logfile")
    for name in names:
        named = getattr(settings, name)
        if named in {None, "-"}:
            continue
        path = os.path.join(directory, named)
        place = path if os.path.exists(path) else os.path.dirname(path)
        if not os.access(place, os.W_OK) or (place == path and os.path.isdir(path)):
            raise StartupFailure(
                FILE_UNUSABLE,
                f"cannot write {path}: {'permission denied' if os.path.exists(place) else 'there is no such folder'}",
                origin=settings.origin(name),
            )


def _start_and_stop(loaded: Loaded, settings: Settings, deadline: Deadline, step: Step, observer: Observer) -> None:
    """Run the app's start-up, and its shut-down, as far as that ends by itself.

    Raises:
        StartupFailure(APP_STARTUP_FAILED): from the app.
    """
    deadline.step("the app's own start-up")
    http = build.http_server_for(loaded.app, settings, None, logs.warning)
    loop = loaded.loop()
    observer.connects(loop)
    deadline.leave_signals_to_loop()
    logs.adopt_logging()
    loop.run_until_complete(_started(http))
    step("start-up", "")
    deadline.finish()
    began, grace = time.monotonic(), settings.timeout_graceful_shutdown
    limit = grace + _SHUTDOWN_MARGIN
    observer.limited("app's shut-down", limit)
    try:
        loop.run_until_complete(asyncio.wait_for(http.stop(grace), limit))
    except Exception as error:  # noqa: BLE001 - the app's; a start that has come so far serves
        logs.warning(f"the app's shut-down failed in {time.monotonic() - began:.3g} s: {type(error).__name__}: {error}")
        return
    step("shut-down", "")


async def _started(http: HttpServer) -> None:
    await http.start()
