"""How a command reaches its instance: the one rule for where that is, and what is said where none answers."""

from __future__ import annotations

import errno
import os

from arun.commands.usage import Option
from arun.control import client, places
from arun.control.client import Unanswered
from arun.control.places import Place
from arun.core.failures import Cause, StartupFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from arun.commands.usage import Arguments
    from arun.control.client import Answer
    from arun.settings import Settings

__all__ = ("NOTES", "NO_INSTANCE", "OPTIONS", "found", "order", "settings_of", "state")

NO_INSTANCE = Cause(
    "no-instance",
    "command",
    "name its control socket: --control PATH, or its config file, as it was started with",
    "No instance answers where a command asks for it.",
)
OPTIONS = (
    Option("control", "PATH", "the control socket of the instance (default: ARUN_CONTROL, see below)"),
    Option("pidfile", "FILE", "find the instance by its pid file (Linux)"),
    Option("state-dir", "DIR", "find the instance by its state directory: arun.sock in there"),
)
NOTES = """\
The instance is found by --control or ARUN_CONTROL, by the CONFIG that it was
started with, by --pidfile, or as arun.sock in --state-dir, RUNTIME_DIRECTORY,
ARUN_STATE_DIR or STATE_DIRECTORY.
"""
#: Seconds for a response.
_PATIENCE = 10.0
#: What it means that no connection is made, by errno.
_HINTS = {
    errno.ECONNREFUSED: "it is not running: it was killed, and has left its control socket behind",
    errno.ENOENT: "it is not running, or its control socket is another: --control PATH names it",
    errno.EACCES: "only the user that it runs as may connect, and root: run this command as one of them",
}
#: State of a listening stream socket in /proc/net/unix: __SO_ACCEPTCON of the kernel, SOCK_STREAM.
_LISTENS, _STREAM = "00010000", "0001"


def found(given: Arguments, config: str | None = None) -> Place:
    """Return where the control socket is of the instance that a command names, or the environment.

    Raises:
        StartupFailure: nothing names one.
    """
    directory, environ = os.getcwd(), os.environ
    if (path := given.get("control")) is not None:
        return Place(_path(path), "--control")
    if config is not None:
        return _of_config(config, directory)
    if (pidfile := given.get("pidfile")) is not None:
        return _of_pidfile(pidfile)
    if (state_dir := given.get("state-dir")) is not None:
        return Place(os.path.join(directory, state_dir, places.NAME), "--state-dir")
    if path := environ.get(places.VARIABLE):
        return Place(_path(path), places.VARIABLE)
    place = places.default(environ, environ.get("ARUN_STATE_DIR"), directory)
    if place is None:
        raise StartupFailure(
            NO_INSTANCE,
            "no instance is named: neither --control, a config, --pidfile nor --state-dir is given, and "
            "ARUN_CONTROL, RUNTIME_DIRECTORY, ARUN_STATE_DIR and STATE_DIRECTORY are not set",
        )
    return place


def state(place: Place) -> dict[str, Any]:
    """Return the state of the instance.

    Raises:
        StartupFailure: no instance answers there.
    """
    import json

    answer = _asked(place, "/status")
    try:
        read = json.loads(answer.body)
        if answer.status == 200 and isinstance(read, dict) and "state" in read:  # noqa: PLR2004 - OK
            return read
    except ValueError:
        pass
    raise StartupFailure(NO_INSTANCE, f"what answers at {place.path} is no arun", origin=place.origin)


def order(place: Place, path: str, body: bytes = b"") -> tuple[bool, str]:
    """Give an order; return whether it is carried out, and what the instance says.

    Raises:
        StartupFailure: no instance answers there.
    """
    answer = _asked(place, path, method="POST", body=body)
    return answer.status == 202, answer.text  # noqa: PLR2004 - Accepted


def _asked(place: Place, target: str, *, method: str = "GET", body: bytes = b"") -> Answer:
    try:
        return client.ask(place.path, target, method=method, body=body, seconds=_PATIENCE)
    except Unanswered as why:
        sentence = f"no instance answers at {place.path}: {str(why).lower()}"
        raise StartupFailure(NO_INSTANCE, sentence, origin=place.origin, hint=_HINTS.get(why.number, "")) from None


def _path(text: str) -> str:
    return text if text.startswith("@") else os.path.abspath(text.removeprefix("unix:"))


def settings_of(config: str) -> Settings:
    """Return the settings of an instance of this config.

    One with mistakes will do where it says how the instance is found: that may run still, as a fallback or as before a reload.

    Raises:
        StartupFailure: there is no such file, or it has mistakes.
    """
    from arun import settings

    layers = settings.read([config], os.environ, directory=os.getcwd(), factory_reset=False)
    try:
        return settings.validate(layers)
    except settings.SettingsRejected as rejected:
        if rejected.partial.control is None and rejected.partial.state_dir is None:
            raise rejected.problems[0] from None
        return rejected.partial


def _of_config(config: str, directory: str) -> Place:
    """Return where an instance of this config has its socket."""
    chosen = settings_of(config)
    if chosen.control == places.NONE:
        raise StartupFailure(
            NO_INSTANCE, f"{config} says that there is no control socket", origin=chosen.origin("control")
        )
    if chosen.control is not None:
        return Place(os.path.join(directory, chosen.control.removeprefix("unix:")), chosen.origin("control"))
    place = places.default(os.environ, chosen.state_dir, directory)
    if place is None:
        raise StartupFailure(
            NO_INSTANCE, f"{config} names no control socket and no state directory, and RUNTIME_DIRECTORY is not set"
        )
    return place


def _of_pidfile(path: str) -> Place:
    try:
        with open(path, encoding="ascii") as file:
            pid = int(file.read(32))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds no pid"
        raise StartupFailure(NO_INSTANCE, f"cannot read {path}: {why.lower()}", origin="--pidfile") from None
    for candidate in _listening_paths(pid):
        try:
            answer = client.ask(candidate, "/status", seconds=1.0)
        except Unanswered:
            continue
        if answer.status == 200 and f'"pid": {pid},'.encode() in answer.body:  # noqa: PLR2004 - OK
            return Place(candidate, "--pidfile")
    raise StartupFailure(
        NO_INSTANCE,
        f"the process of {path} (pid: {pid}) is gone, is another user's, or has no control socket",
        origin="--pidfile",
    )


def _listening_paths(pid: int) -> Iterator[str]:
    """Yield the paths of unix sockets on which a process listens."""
    own = set[str]()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{name}")
            if link.startswith("socket:["):
                own.add(link[8:-1])
        with open(f"/proc/{pid}/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, _, _, flags, kind, _, inode, *path = line.split(" ", 7) if "  " not in line else line.split(None, 7)
        if flags == _LISTENS and kind == _STREAM and inode in own and path:
            yield path[0]
