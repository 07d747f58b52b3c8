"""What is to be loaded, as users name it: a module or a file, its attribute, and the folders that it is imported from.

Nothing is imported here: a name is compared with what lies in the file system.

The order of ``sys.path`` for an app: the folder of its file, as Python has it for a script; ``--app-dir``, which is the
working directory unless a setting names another; the folder that holds the file's package; then ``--pythonpath`` and the
rest. The folder of a file in a package comes last, where it is not ``--app-dir`` itself: modules of a package are often named
like Python's own (``email.py``), and it is the package's name that tells them apart.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

from arun.core.failures import APP_ATTRIBUTE_MISSING, APP_NOT_FOUND, StartupFailure
from arun.core.values import Value

__all__ = ("FILES", "Places", "Target", "find", "parse")

#: Where an app is looked for in a folder; the first that is there is taken.
FILES = ("app.py", "main.py", "application.py", "asgi.py", "wsgi.py")


class Places(Value):
    """Where paths count from: the working directory, then ``--app-dir``, which modules are imported from."""

    directory: str
    app_dir: str

    @classmethod
    def of(cls, directory: str, app_dir: str | None) -> Places:
        """Return them for the value of ``--app-dir``, links resolved: a link that is switched means the next start."""
        return cls(directory, os.path.realpath(os.path.join(directory, app_dir or "")))


class Target(Value):
    """What is to be loaded: ``name`` is a module's dotted name, without the package's where there is a file.

    ``package`` is the dotted name of the package that the file lies in, ``package_folder`` where the outermost of it is.
    ``first`` and ``last`` are the folders that come before and behind the rest of sys.path.
    """

    name: str
    attribute: str
    text: str
    origin: str
    file: str = ""
    package: str = ""
    package_folder: str = ""
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    factory: bool = False


def find(directory: str) -> str | None:
    """Return the file in the directory that has one of the usual names, or None."""
    for name in FILES:
        path = os.path.join(directory, name)
        if os.path.isfile(path):
            return path
    return None


def parse(text: str, places: Places, *, origin: str, attribute: str = "", is_path: bool = False) -> Target:
    """Read a target as users write it: ``module``, ``module:attribute``, ``path/to/file:attribute``, a folder.

    What names an existing file is that file, whatever its ending. With ``is_path`` it is no module in any case.

    Raises:
        StartupFailure(APP_NOT_FOUND): the text names a file or a folder without an app.
        StartupFailure(APP_ATTRIBUTE_MISSING): the attribute is a call with arguments.
    """
    file, name, named = _file_in(text, places, is_path=is_path)
    named = named or attribute
    for written in (attribute,) if file and name == text else (text, attribute):
        _refuse_arguments(written, origin)
    factory = named.endswith("()")
    named = named.removesuffix("()")
    if not file and (folder := _folder_of(name, places, is_path=is_path)):
        file = find(folder) or ""
        if not file:
            looked = f"arun looks for {', '.join(FILES)}"
            raise StartupFailure(APP_NOT_FOUND, f"the directory {name} holds no app", origin=origin, hint=looked)
    if file:
        return _located(Target("", named, text, origin, file=file, factory=factory), places)
    if is_path or name.endswith(".py") or "/" in name:
        path = os.path.join(places.directory, name)
        hint = f"did you mean {name}.py?" if os.path.isfile(f"{path}.py") else ""
        raise StartupFailure(APP_NOT_FOUND, f"there is no file {path}", origin=origin, hint=hint)
    return Target(name, named, text, origin, first=(places.app_dir,), factory=factory)


def _refuse_arguments(text: str, origin: str) -> None:
    """Refuse a call with arguments, as gunicorn takes it: code on a command line is hard to read, to quote and to test."""
    called, paren, arguments = text.partition("(")
    if paren and arguments.endswith(")") and arguments != ")":
        called = called.rpartition(":")[2]
        raise StartupFailure(
            APP_ATTRIBUTE_MISSING,
            f"{text}: arun calls a factory without arguments, as {called}()",
            origin=origin,
            hint=f"write app = {called}({arguments} into a module, and name that: module:app",
        )


def _file_in(text: str, places: Places, *, is_path: bool) -> tuple[str, str, str]:
    """Return the existing file that the text names, or "", and the text in its two parts: before and behind a colon."""
    whole = _existing(text, places)
    if whole:
        return whole, text, ""
    name, colon, attribute = text.rpartition(":")
    if not colon:
        return "", text, ""
    file = _existing(name, places)
    if file and not is_path and os.path.isfile(f"{file}.py"):
        return "", name, attribute  # shop:app beside a program shop and a module shop.py
    return file, name, attribute


def _existing(name: str, places: Places) -> str:
    paths = [os.path.normpath(os.path.join(folder, name)) for folder in places]
    return next((path for path in paths if os.path.isfile(path)), "") if name else ""


def _folder_of(name: str, places: Places, *, is_path: bool) -> str:
    """Return the folder that the name stands for, or "": a bare name means a module before a folder that is no package."""
    is_bare = not is_path and "/" not in name and name not in {".", ".."}
    for place in places:
        path = os.path.normpath(os.path.join(place, name))
        if not os.path.isdir(path):
            continue
        if not is_bare:
            return path
        return "" if os.path.isfile(f"{path}/__init__.py") or _is_module(name, places.app_dir) else path
    return ""


def _is_module(name: str, app_dir: str) -> bool:
    """Whether an import of the name finds a module, and no mere folder; modules of Python's own are no app."""
    if name in sys.stdlib_module_names:
        return False
    spec = PathFinder.find_spec(name, [app_dir, *sys.path])
    return spec is not None and spec.origin is not None


def _located(target: Target, places: Places) -> Target:
    """Complete the target of a file: what it is called in its package, and the folders that it imports from.

    A link is in the package where it lies; one that lies in none is in the package of the file that it leads to.
    """
    written, real = target.file, os.path.realpath(target.file)
    path = written if _is_package(os.path.dirname(written)) or not _is_package(os.path.dirname(real)) else real
    name = os.path.basename(path)
    folder, packages, package_folder = os.path.dirname(path), list[str](), ""
    while _is_package(folder):
        package_folder = folder
        folder, package = os.path.split(folder)
        packages.insert(0, package)
        if "." in package:  # which no import could name: the package begins there
            break
    own = os.path.realpath(os.path.dirname(written)), os.path.dirname(real)
    first: tuple[str, ...]
    if packages:
        around = os.path.realpath(folder)
        first = (places.app_dir, around)
    else:
        first = (own[0], places.app_dir, own[1])
    return target._replace(
        name=name,
        file=path,
        package=".".join(one.replace(".", "_") for one in packages),
        package_folder=package_folder,
        first=tuple(dict.fromkeys(first)),
        last=tuple(one for one in dict.fromkeys(own) if one not in first),
    )


def _is_package(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "__init__.py"))
