"""What an app's folder and Python's own modules could hide from each other.

The folder of the app comes first on sys.path, as Python does for a script. A file there may bear the name of a module
that arun still has to import, or of arun itself; neither may end up with the wrong one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

from arun.apps import provisions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("OWN", "load_what_serving_needs", "own_names_of", "protect")

#: What serving needs; imported before the app where the app's folder has a module of such a name.
_SERVING = (
    "asyncio",
    "concurrent.futures.thread",
    "httptools",
    "inspect",
    "logging",
    "resource",
    "ssl",
    *provisions.LATER,
    "arun_welcome",
    "arun.apps.asgi.application",
    "arun.http.http1.connection",
    "arun.http.options",
    "arun.http.server",
    "arun.apps.importing",
    "arun.apps.kinds",
    "arun.apps.load",
    "arun.apps.missing",
    "arun.system.tracebacks",
    "arun.server.gate",
    "arun.server.loops",
    "arun.server.served_socket",
    "arun.server.server",
)
#: As well, but an instance goes on without: asyncio serves then.
_OPTIONAL = "uvloop"
#: The top-level names of arun itself.
OWN = ("arun", "arun_welcome")


def own_names_of(folders: Sequence[str]) -> frozenset[str]:
    """Return the top-level names that folders of an app offer to import and that Python or arun use as well."""
    entries: list[str] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            entries += os.listdir(folder) if folder != _root() else ()
    names = {entry.removesuffix(".py") for entry in entries if entry.endswith(".py") or "." not in entry}
    taken = {*sys.stdlib_module_names, *(name.partition(".")[0] for name in _SERVING), _OPTIONAL, *OWN}
    return frozenset(names & taken)


def protect(first: Sequence[str]) -> None:
    """Make sure, before a folder comes first on sys.path, that arun gets its own modules."""
    if own_names_of(first):
        load_what_serving_needs()


def load_what_serving_needs() -> None:
    """Import what is otherwise imported after the app: its files may be hidden, or closed to the user, by then."""
    for module in _SERVING:
        importlib.import_module(module)
    with contextlib.suppress(Exception):  # the code that makes the loop tells why there is none
        importlib.import_module(_OPTIONAL)


def _root() -> str:
    """The folder that holds the package arun."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
