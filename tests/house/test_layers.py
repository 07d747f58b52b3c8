"""The rules of the house: floors, one way out, one exec, small files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "runner"

#: The floors from the ground up; a module imports its own folder and the floors below.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "runner",
        "runner.values",
        "runner.failures",
        "runner.tls_failures",
        "runner.genuine",
        "runner.loopback",
        "runner.exits",
        "runner.addresses",
        "runner.transport",
        "runner.handover",
        "runner.access_format",
        "runner.worker_failures",
    ),
    ("runner.settings",),
    ("runner.system",),
    ("runner.apps",),
    ("runner.serve", "runner.supervision"),
    ("runner.watch", "runner.fallback"),
    (
        "runner.transports",
        "runner.listening",
        "runner.serving",
        "runner.telling",
        "runner.ending",
        "runner.last_resort",
        "runner.output",
    ),
    ("runner.worker_process",),
    ("runner.supervising",),
    ("runner.start",),
    ("runner.__main__",),
)
MODULES = sorted(RUNNER.rglob("*.py"))


def floor_of(module: str) -> int:
    """The floor of a module: that of the longest name in the table that it is, or lies in."""
    places = [
        (len(name), floor)
        for floor, names in enumerate(FLOORS)
        for name in names
        if module == name or (name != "runner" and module.startswith(f"{name}."))
    ]
    assert places, f"{module} stands on no floor"
    return max(places)[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module of ours that the file imports, wherever in the file."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [*package.split(".")[: len(package.split(".")) - node.level + 1], base]))
            for alias in node.names:
                path_of = ROOT.joinpath(*f"{base}.{alias.name}".split("."))
                is_module = path_of.with_suffix(".py").exists() or path_of.is_dir()
                found.add(f"{base}.{alias.name}" if is_module else base)
    return {name for name in found if name.partition(".")[0] in {"runner", "welcome"}}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_its_own_folder_and_the_floors_below(path: Path) -> None:
    own = name_of(path)
    for imported in imports(path):
        if imported.partition(".")[0] == "welcome":
            assert floor_of(own) > floor_of("runner.serve"), f"{own} imports {imported}"
        else:
            assert floor_of(imported) <= floor_of(own), f"{own} looks up to {imported}"


@pytest.mark.parametrize("path", sorted((ROOT / "welcome").rglob("*.py")), ids=name_of)
def test_the_welcome_app_imports_only_the_failure_record_and_the_rule_of_who_is_told_one(path: Path) -> None:
    assert {name for name in imports(path) if name.startswith("runner")} <= {"runner.failures", "runner.loopback"}


def calls(path: Path) -> set[str]:
    """Dotted names of everything that the file refers to, as ``os._exit``, or imports by name."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return {
        f"{node.value.id}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    } | {f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "welcome").rglob("*.py"))], ids=name_of)
def test_only_the_exit_shim_ends_the_process_and_only_the_fallback_replaces_it(path: Path) -> None:
    used = calls(path)
    exits = {"sys.exit", "os._exit", "os.abort"} & used
    assert not exits or name_of(path) == "runner.exits", exits
    forks = {"os.fork", "os.forkpty"} & used
    assert not forks or name_of(path) in {"runner.supervision.forking", "runner.system.daemon"}, forks
    execs = {name for name in used if name.startswith(("os.exec", "os.posix_spawn", "os.spawn"))}
    assert not execs or name_of(path) == "runner.fallback", execs
    raised = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id in {"exit", "quit"}
    ]
    assert not raised


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_settings_stop_at_the_start(path: Path) -> None:
    """Floors between settings and start take plain values."""
    floor = floor_of(name_of(path))
    if floor_of("runner.settings") < floor < floor_of("runner.watch"):
        assert not {name for name in imports(path) if name.startswith("runner.settings")}


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "welcome").rglob("*.py"))], ids=name_of)
def test_no_file_is_longer_than_one_trade_needs(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 460


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_begins_by_saying_what_lives_there(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
