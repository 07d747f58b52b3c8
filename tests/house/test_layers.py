"""The rules of the house: floors without a circle, one way out, one exec."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE, WELCOME = ROOT / "runner", ROOT / "welcome"

#: The packages that each package may import beside itself.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "core": frozenset(),
    "settings": frozenset({"core"}),
    "system": frozenset({"core"}),
    "listen": frozenset({"core", "system"}),
    "http": frozenset({"core", "system"}),
    "supervisor": frozenset({"core", "system"}),
    "control": frozenset({"core", "system"}),
    "apps": frozenset({"core", "system", "http"}),
    "server": frozenset({"core", "system", "listen", "http"}),
    "instance": frozenset({"core", "settings", "system", "listen", "supervisor", "control"}),
    "recovery": frozenset({"core", "settings", "system", "listen", "instance"}),
}
#: What happens to an instance may know all that it is made of.
MAY_IMPORT["lifecycle"] = frozenset(MAY_IMPORT) | {"arun_welcome"}
#: The top floor may import all that is below it.
MAY_IMPORT["commands"] = frozenset(MAY_IMPORT) | {"arun_welcome"}
#: What of ours the built-in app knows.
WELCOME_KNOWS = frozenset({"arun.core.failures", "arun.core.loopback", "arun.core.outlook", "arun.core.values"})
#: Kinds of app, which do not know each other.
KINDS = frozenset({"asgi", "wsgi", "aiohttp"})
#: Lines of a file: it is cut at a joint, and none was found in longer ones.
LONGEST = 520
FILES = {
    ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
    for root in (SOURCE, WELCOME)
    for path in sorted(root.rglob("*.py"))
}
OURS = sorted(name for name in FILES if name.startswith("arun."))


def imports_of(module: str) -> frozenset[str]:
    """Every module of ours that a module imports, wherever in the file, for its types only as well."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, [above, node.module]))
            found.update(name if (name := f"{base}.{alias.name}") in FILES else base for alias in node.names)
    return frozenset(found & FILES.keys()) - {module}


IMPORTS = {module: imports_of(module) for module in FILES}


def package_of(module: str) -> str:
    """The package that a module lies in: the one below ``arun``, or the welcome app."""
    top, _, rest = module.partition(".")
    return top if top != "arun" or not rest else rest.partition(".")[0]


def circles(arrows: dict[str, frozenset[str]]) -> list[list[str]]:
    """Return the groups of names that reach each other along the arrows."""

    def reached_from(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in arrows.get(waiting.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
        return seen

    reach = {name: reached_from(name) for name in arrows}
    groups = {frozenset(other for other in reach[name] if name in reach.get(other, ())) for name in arrows}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def test_nothing_stands_loose_beside_the_packages() -> None:
    assert {path.name for path in (SOURCE / "arun").glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {package_of(name) for name in OURS} - {"__main__"} == MAY_IMPORT.keys()


@pytest.mark.parametrize("module", OURS)
def test_a_module_imports_its_own_package_and_the_floors_below(module: str) -> None:
    own = package_of(module)
    allowed = MAY_IMPORT.get(own, frozenset(MAY_IMPORT)) | {own, "arun"}
    assert {name for name in IMPORTS[module] if package_of(name) not in allowed} == set()


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("arun_welcome")])
def test_the_welcome_app_imports_only_the_failure_record_and_the_rule_of_who_sees_one(module: str) -> None:
    assert {name for name in IMPORTS[module] if name.startswith("arun.")} <= WELCOME_KNOWS


def test_nothing_but_the_entry_imports_a_command() -> None:
    importing = {module for module in OURS if any(package_of(name) == "commands" for name in IMPORTS[module])}
    assert {module for module in importing if package_of(module) != "commands"} == {"arun.__main__"}


def test_every_command_has_a_module_with_a_main() -> None:
    (words,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(FILES["arun"].read_text()).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS"
    )
    for word in words:
        tree = ast.parse(FILES[f"arun.commands.{word}"].read_text())
        assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"], word


def test_kinds_of_app_do_not_know_each_other() -> None:
    for module in OURS:
        own = module.split(".")[2] if package_of(module) == "apps" and module.count(".") > 1 else ""
        others = {
            name.split(".")[2] for name in IMPORTS[module] if name.startswith("arun.apps.") and name.count(".") > 2
        }
        assert own not in KINDS or not (others & KINDS) - {own}, module


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside a package and between them, type imports counted: what knows each other cannot be read apart."""
    assert circles(IMPORTS) == []


def test_no_packages_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, imported in IMPORTS.items():
        arrows[package_of(module)] |= {package_of(name) for name in imported} - {package_of(module)}
    assert circles({name: frozenset(to) for name, to in arrows.items()}) == []


def names_in(module: str) -> set[str]:
    """Dotted names of everything that the file refers to, as ``os._exit``, or imports by name."""
    nodes = list(ast.walk(ast.parse(FILES[module].read_text())))
    return {
        f"{node.value.id}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    } | {f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize("module", FILES)
def test_only_the_exit_shim_ends_the_process_and_only_the_successor_replaces_it(module: str) -> None:
    used = names_in(module)
    exits = {"sys.exit", "os._exit", "os.abort"} & used
    assert not exits or module == "arun.core.exits", exits
    forks = {"os.fork", "os.forkpty"} & used
    assert not forks or module in {"arun.supervisor.forking", "arun.system.daemon"}, forks
    execs = {name for name in used if name.startswith(("os.exec", "os.posix_spawn", "os.spawn"))}
    assert not execs or module == "arun.lifecycle.successor", execs
    raised = [
        node
        for node in ast.walk(ast.parse(FILES[module].read_text()))
        if isinstance(node, ast.Name) and node.id in {"exit", "quit"}
    ]
    assert not raised


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_longer_than_one_trade_needs(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", FILES)
def test_a_module_begins_by_saying_what_lives_there(module: str) -> None:
    assert ast.get_docstring(ast.parse(FILES[module].read_text()))
