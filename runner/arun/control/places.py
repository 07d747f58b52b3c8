"""Where the control socket of an instance is: the one rule, for the instance and for the commands that ask it."""

from __future__ import annotations

import os

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("INSTALL", "NAME", "NONE", "VARIABLE", "Place", "default")

#: What brings the metrics.
INSTALL = "pip install 'arun-server[metrics]'"

#: The name of the socket in a directory, the variable that names another path, and the word for no control socket.
NAME, VARIABLE, NONE = "arun.sock", "ARUN_CONTROL", "none"


class Place(Value):
    """A path, and where it comes from as a user would write it."""

    path: str
    origin: str


def default(environ: Mapping[str, str], state_dir: str | None, directory: str) -> Place | None:
    """Return where the socket is when no option names it: in the runtime directory, else in the state directory.

    A service manager that makes several names them all in the variable, with colons between (systemd.exec(5)): the first
    counts. Relative paths count from ``directory``.
    """
    for name, value in (
        ("$RUNTIME_DIRECTORY", environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]),
        ("--state-dir", state_dir or ""),
        ("$STATE_DIRECTORY", environ.get("STATE_DIRECTORY", "").partition(":")[0]),
    ):
        if value:
            return Place(os.path.join(directory, value, NAME), name)
    return None
