"""Import an app: a module by its name, a file by where it lies, whatever its ending and whatever else has its name.

A file that lies in a package is imported as a part of it, so that relative imports work; it is known by its plain name as
well, so that ``from app import db`` in another module means the same module, and no second one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.machinery import PathFinder, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    from arun.apps.target import Target

__all__ = ("extend_path", "import_app")


def extend_path(target: Target) -> None:
    """Put the folders of the target before and behind the rest of sys.path."""
    rest = [entry for entry in sys.path if entry not in target.first]
    sys.path[:] = [*target.first, *rest, *(folder for folder in target.last if folder not in rest)]


def import_app(target: Target) -> ModuleType:
    """Import the module or the file; whatever its code raises passes through."""
    if not target.file:
        return importlib.import_module(target.name)
    package = _package(target) if target.package else ""
    if target.name == "__init__.py" and package:
        return sys.modules[package]
    stem = target.name.removesuffix(".py")
    is_module = stem != target.name and stem.isidentifier()
    plain = stem if is_module and stem not in sys.modules and _is_found_as(stem, target.file) else ""
    if not package:
        return _load(plain or _private(stem), target.file, ())
    name = f"{package}.{stem if is_module else _private(stem)}"
    if name in sys.modules:  # the package has imported it already
        return sys.modules[name]
    module = _load(name, target.file, (plain,) if plain else ())
    setattr(sys.modules[package], name.rpartition(".")[2], module)
    return module


def _is_found_as(name: str, file: str) -> bool:
    """Whether an import of the name finds this file, and not a package beside it or another module before it."""
    spec = PathFinder.find_spec(name)
    return spec is not None and spec.origin is not None and os.path.realpath(spec.origin) == os.path.realpath(file)


def _package(target: Target) -> str:
    """Import the package of the file from where it lies, and return its name; another one may have that name."""
    outermost, _, inner = target.package.partition(".")
    there = getattr(sys.modules.get(outermost), "__path__", ())
    if outermost in sys.modules and target.package_folder not in there:
        outermost = _private(outermost)
    if outermost not in sys.modules:
        _load(outermost, os.path.join(target.package_folder, "__init__.py"), (), folders=[target.package_folder])
    name = f"{outermost}.{inner}" if inner else outermost
    importlib.import_module(name)
    return name


def _load(name: str, file: str, aliases: tuple[str, ...], folders: list[str] | None = None) -> ModuleType:
    """Load a file as the module of that name, as the import system would."""
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None:  # no ending that Python knows
        spec = importlib.util.spec_from_file_location(name, file, loader=_Source(name, file))
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.update(dict.fromkeys((name, *aliases), module))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for one in (name, *aliases):
            sys.modules.pop(one, None)
        raise
    return sys.modules.get(name, module)


class _Source(SourceFileLoader):
    """Loads source of any ending; its byte code is not kept, for app.wsgi and app.py would share one file."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file."""
        path = self.get_filename(fullname)
        code: Any = self.source_to_code(self.get_data(path), path)
        return code  # type: ignore[no-any-return]


def _private(name: str) -> str:
    return "_app_" + "".join(letter if letter.isalnum() else "_" for letter in name)
