"""What to do about a module that an app imports and that is not found: it may lie in the app's own folder all the same."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("hint",)

#: Folders below the app's own that are looked into; a hint is not worth a walk through a tree.
_MOST_FOLDERS = 200
_PASSED_OVER = frozenset({"__pycache__", "node_modules", "site-packages"})


def hint(name: str, folders: Sequence[str]) -> str:
    """Return where a module lies that was not found, and why it was not; "" where none is: it has to be installed.

    ``folders`` are the app's own.
    """
    top, _, inner = name.partition(".")
    for folder in [*folders, *(one for one in sys.path if one not in folders)]:
        path = os.path.join(folder, top)
        if os.path.isfile(f"{path}.py") and inner:
            return f"{path}.py is a module and no package: it has no {inner}"
        if os.path.isdir(path) and inner:
            return f"the package {path} has no module {inner}"
    for folder in folders:
        if closed := _closed(os.path.join(folder, top)) or _closed(folder):
            return f"uid {os.geteuid()} cannot read {closed}, where modules are looked for"
    for folder in folders:
        for inside in _inside(folder):
            if os.path.isfile(os.path.join(inside, f"{top}.py")) or os.path.isdir(os.path.join(inside, top)):
                return f"{top} lies in {inside}: name that folder with --pythonpath or --app-dir"
        if other := _other_ending(folder, top):
            return f"{other} is no module, for its name does not end in .py"
    return ""


def _closed(path: str) -> str:
    return path if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK) else ""


def _inside(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _MOST_FOLDERS:
                    return
                is_own = entry.is_dir() and entry.name[0] != "." and entry.name not in _PASSED_OVER
                if is_own and not os.path.isfile(os.path.join(entry.path, "pyvenv.cfg")):
                    yield entry.path
    except OSError:
        return


def _other_ending(folder: str, name: str) -> str:
    try:
        found = [one for one in os.listdir(folder) if one.startswith(f"{name}.") or one == name]
    except OSError:
        return ""
    paths = [os.path.join(folder, one) for one in sorted(found)]
    return next((path for path in paths if os.path.isfile(path) and not path.endswith((".py", ".pyc"))), "")
