"""What an app's folder and Python's own modules could hide from each other.

The folder of the app comes first on sys.path, as Python does for a script. A file there may bear the name of a module
that arun still has to import, or of arun itself; neither may end up with the wrong one.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import sys

from runner.apps import provisions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType
    from typing import Any

__all__ = ("NameTakenError", "load_what_serving_needs", "own_names_of", "own_welcome", "protect")

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
    "runner.apps.engines.h1_engine.asgi_engine",
    "runner.apps.engines.options",
    "runner.apps.importing",
    "runner.apps.kinds",
    "runner.apps.load",
    "runner.apps.missing",
    "runner.apps.tracebacks",
    "runner.serve.gate",
    "runner.serve.loops",
    "runner.serve.worker",
)
#: As well, but an instance goes on without: asyncio serves then.
_OPTIONAL = "uvloop"
_OURS = ("runner", "welcome")


class NameTakenError(ImportError):
    """The app imports a module of its own whose name is arun's."""


def own_names_of(folders: Sequence[str]) -> frozenset[str]:
    """Return the top-level names that folders of an app offer to import and that Python or arun use as well."""
    entries: list[str] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            entries += os.listdir(folder) if folder != _root() else ()
    names = {entry.removesuffix(".py") for entry in entries if entry.endswith(".py") or "." not in entry}
    taken = {*sys.stdlib_module_names, *(name.partition(".")[0] for name in _SERVING), _OPTIONAL, *_OURS}
    return frozenset(names & taken)


def protect(first: Sequence[str], last: Sequence[str]) -> None:
    """Make sure, before folders come first and last on sys.path, that each side gets its own modules or an error."""
    names = own_names_of(first)
    foreign = (names | own_names_of(last)).intersection(_OURS)
    if names or foreign:
        load_what_serving_needs()
    if foreign:
        _refuse_imports_of(foreign)


def load_what_serving_needs() -> None:
    """Import what is otherwise imported after the app: its files may be hidden, or closed to the user, by then."""
    for module in _SERVING:
        importlib.import_module(module)
    with contextlib.suppress(Exception):  # the code that makes the loop tells why there is none
        importlib.import_module(_OPTIONAL)
    own_welcome()


def own_welcome() -> ModuleType:
    """Return arun's package welcome, even where an app or the starting directory has a module of that name."""
    home = _root()
    if _is_below(sys.modules.get("welcome"), home):
        return sys.modules["welcome"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "welcome"]:
        del sys.modules[name]
    sys.path.insert(0, home)
    try:
        return importlib.import_module("welcome")
    finally:
        sys.path.remove(home)


def _is_below(module: ModuleType | None, directory: str) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(f"{directory}/")


def _root() -> str:
    """The folder that holds the package runner."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _refuse_imports_of(names: frozenset[str]) -> None:
    """Let an import statement of the app fail that would silently get arun's module instead of the app's own."""
    genuine = builtins.__import__

    def guarded(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of builtins.__import__
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level == 0 and top in names:
            importer = str((globals or {}).get("__name__", "")).partition(".")[0]
            if importer not in _OURS:
                raise NameTakenError(f"the module name {top!r} is taken by arun", name=name)
        return genuine(name, globals, locals, fromlist, level)

    builtins.__import__ = guarded
