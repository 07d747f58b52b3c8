"""The benchmarks are programs, not a package: their folder is where their modules import each other from."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of the benchmarks by its name; none of them stays imported."""
    names = {path.stem for path in FOLDER.glob("*.py")} | {"apps", "apps.answers"}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(FOLDER)

    def imported(name: str) -> Any:
        before = set(sys.modules)
        found = import_module(name)
        for new in (set(sys.modules) - before) & names:
            # Registered with the patch, so that it is forgotten with it.
            monkeypatch.setitem(sys.modules, new, sys.modules.pop(new))
        return found

    return imported
