"""What is told of an instance: how it starts and where it runs, in lines; its states also to a service manager.

The command that waits for an instance in the background hears how its start ended.
"""

from __future__ import annotations

import os
import sys
import time

from arun import __version__
from arun.core import addresses
from arun.lifecycle import fallback
from arun.listen import activation
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arun.lifecycle.fallback import Attempt
    from arun.listen.sockets import Listener
    from arun.settings import Layers, Settings

__all__ = (
    "announce",
    "failed",
    "leaving",
    "ready",
    "ready_late",
    "reloading",
    "serves",
    "state",
    "what_does_nothing",
    "what_was_read",
)


def what_was_read(attempt: Attempt, layers: Layers) -> None:
    """Tell the configs, the lines that they ask to print, and what is odd."""
    for config in layers.configs:
        name = fallback.shown(os.path.join(attempt.program.cwd, config.name), attempt.program.cwd)
        if attempt.is_built_in:
            logs.info(f"[arun] getting the built-in configuration, {name}")
        else:
            logs.info(f"[arun] getting {config.format.upper()} configuration from {name}")
        for line in config.lines:
            logs.info(line)
    for line in layers.warnings:
        logs.warning(line)


def what_does_nothing(chosen: Settings) -> None:
    """Tell what was said and does nothing beside what else was said."""
    for line in chosen.idle:
        logs.warning(line)


def announce(attempt: Attempt) -> None:
    """Tell that a start begins, and that it has a fallback which cannot be read; its lines are not looked at."""
    date = time.strftime("%a %b %d %H:%M:%S %Y")
    logs.info(f"*** Starting arun {__version__} ({sys.maxsize.bit_length() + 1}bit) on [{date}] ***")
    if attempt.fallback and (why := fallback.unfit(attempt.fallback)):
        name = fallback.shown(attempt.fallback, attempt.program.cwd)
        then = "the welcome page is served" if attempt.last_resort == "page" else "so will its fallback"
        logs.warning(f"the fallback config {name} {why}: should this start fail, {then}")


def ready(attempt: Attempt, app: str, served: Sequence[Listener]) -> None:
    """Tell where the instance runs, what it serves, and that it is a fallback, if it is one."""
    _tell_where(served)
    if attempt.past.failures:
        first = attempt.past.failures[0]
        logs.warning(f"this is a fallback: {first.config} failed with {first.summary()}")
    logs.info(f"serving {app}")
    serves(attempt, state(attempt, app))
    if attempt.command is not None:
        attempt.command.tell(serves=True)


def ready_late(attempt: Attempt, app: str, late: Sequence[Listener]) -> None:
    """Tell where the instance runs as well, now that somebody else does not any more."""
    _tell_where(late)
    serves(attempt, state(attempt, app))


def _tell_where(served: Sequence[Listener]) -> None:
    for listener in served:
        url = addresses.url(listener.address, "https" if listener.transport.tls else "http")
        logs.info(f"arun running on {url} (Press CTRL+C to quit)")


def state(attempt: Attempt, app: str) -> str:
    """Return what a service manager shows: what is served, why that is a fallback, and what it waits for."""
    state = f"serving {app}"
    if attempt.past.failures:
        first = attempt.past.failures[0]
        name = fallback.shown(attempt.config, attempt.program.cwd)
        state = f"fallback {name}: {first.config} failed with {first.summary()}"
    waiting = "".join(f"; waiting: {one.failure.sentence}" for one in attempt.busy)
    return f"{state}{waiting}"


def serves(attempt: Attempt, state: str) -> None:
    """Tell the service manager that the instance serves, for the first time or after a reload, and what is to be kept."""
    if attempt.manager is not None:
        attempt.manager.ready(state)
        attempt.manager.store(activation.named(attempt.listeners))


def reloading(attempt: Attempt, state: str) -> None:
    """Tell the service manager that a reload has begun; ``serves`` ends it."""
    if attempt.manager is not None:
        attempt.manager.reloading(state)


def leaving(attempt: Attempt, state: str = "stopping") -> None:
    """Tell that the instance ends; that it goes back to its first start only the service manager does not know yet."""
    goes_back = attempt.signals.going_back and not attempt.signals.count
    if not goes_back:
        logs.info(f"arun: {state}")
    if attempt.manager is not None and goes_back:
        attempt.manager.reloading("going back to the first start")
    elif attempt.manager is not None:
        attempt.manager.stopping(state)


def failed(attempt: Attempt) -> None:
    """Tell that the start has failed, and nothing follows."""
    if attempt.manager is not None and attempt.records:
        attempt.manager.status(f"failed: {attempt.records[0].summary()}")
    if attempt.command is not None:
        attempt.command.tell(serves=False)
