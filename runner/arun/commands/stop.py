"""``arun stop``: what SIGTERM does, and the wait for its end."""

from __future__ import annotations

import os
import select
import sys
import time

from arun.commands import reaching
from arun.commands.usage import Option, Usage
from arun.control import client
from arun.core.failures import StartupFailure, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.control.places import Place

__all__ = ("main",)

USAGE = Usage(
    "stop",
    "Stops an instance and waits until its process has gone. Requests that have begun get their responses.",
    (*reaching.OPTIONS, Option("force", "", "cut what has begun, as SIGQUIT does")),
    "[CONFIG]",
    1,
    f"""\
{reaching.NOTES}
The status is 0 when the instance has gone, and 2 where none is found, or the
arguments are wrong.
""",
)
_LOOK = 0.05
#: Seconds after which it says what it waits for.
_SILENT = 5


def main(arguments: list[str]) -> int:
    """Stop it and wait; return 0.

    Raises:
        StartupFailure: no instance is found.
    """
    given = USAGE.read(arguments)
    if given is None:
        return 0
    place = reaching.found(given, *given.operands)
    pid = reaching.state(place)["pid"]
    held = _opened(client.peer(place.path))
    try:
        reaching.order(place, "/stop", b"force" if given.has("force") else b"")
        if held >= 0:
            waiting = select.poll()
            waiting.register(held, select.POLLIN)
            if not waiting.poll(_SILENT * 1000):
                _tell(place, forced=given.has("force"))
                waiting.poll()
        else:
            _until_silent(place)
    finally:
        if held >= 0:
            os.close(held)
    sys.stdout.write(f"stopped (pid: {pid})\n")
    return 0


def _tell(place: Place, *, forced: bool) -> None:
    """Say what it waits for."""
    try:
        state = reaching.state(place)
    except StartupFailure as failure:
        why = failure.sentence
    else:
        is_held = state["state"] not in {"draining", "stopping"}  # else it would have taken the signal
        why = f"the app holds its loop (kill -KILL {state['pid']} ends it)" if is_held else state["reason"]
    hint = "" if forced else "; arun stop --force cuts what has begun"
    sys.stderr.write(printable(f"arun: it has not stopped for {_SILENT} s: {why}{hint}") + "\n")


def _opened(pid: int) -> int:
    """Return a descriptor that is readable when the process has gone; -1 where it cannot be had."""
    if not pid:
        return -1
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _until_silent(place: Place) -> None:
    """Wait until nothing answers: the socket goes with its instance."""
    while True:
        try:
            reaching.state(place)
        except StartupFailure:
            return
        time.sleep(_LOOK)
