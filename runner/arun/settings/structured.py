"""The formats toml, json and yaml: a pure function from text to entries and problems, as parse_ini for ini."""

from __future__ import annotations

from arun.core.failures import CONFIG_FORMAT_UNAVAILABLE, CONFIG_MALFORMED, CONFIG_SECTION_MISSING, StartupFailure

from .entries import EARLY, Entry, normal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .entries import Source

__all__ = ("parse_structured",)

_MOST_YAML_NODES = 100_000
_EARLY_KEYS = (*EARLY, *(key.replace("-", "_") for key in EARLY))


def parse_structured(text: str, kind: str, source: Source) -> tuple[list[Entry], list[StartupFailure]]:
    """Read a TOML, JSON or YAML file: ``kind`` is one of these words, the rest as for parse_ini.

    Without a section the table ``arun`` is read, else ``uwsgi``, else the top level; in pyproject.toml ``tool.arun``.
    A text that its parser refuses still yields the lines that decide what follows a failed start.
    """
    name, path = source.name, source.path
    reader = {"TOML": _toml, "JSON": _json, "YAML": _yaml}[kind]
    try:
        top = reader(text, name)
        table, wanted = _table(top, source.section, name, pyproject=path.endswith("/pyproject.toml"))
    except StartupFailure as problem:
        return _salvage(text, name, path), [problem]
    return [
        Entry(normal(str(key)), value, f"{name}:{_line_of(text, wanted, str(key))}", path, wanted == "uwsgi")
        for key, value in table.items()
    ], []


def _table(top: Any, section: str, name: str, *, pyproject: bool) -> tuple[dict[Any, Any], str]:
    if not isinstance(top, dict):
        raise StartupFailure(CONFIG_MALFORMED, f"{name} is no table of keys and values at its top", origin=name)
    if pyproject and not section:
        tool = top.get("tool")
        top, section = (tool if isinstance(tool, dict) else {}), "arun"
    wanted = section or next((one for one in ("arun", "uwsgi") if isinstance(top.get(one), dict)), "")
    table = top.get(wanted) if wanted else top
    if not isinstance(table, dict):
        where = f"tool.{section}" if pyproject and section == "arun" else section
        raise StartupFailure(
            CONFIG_SECTION_MISSING,
            f"{name} has no table {where}",
            origin=name,
            hint="name another table as FILE:TABLE, or none",
        )
    if not table and not wanted:
        raise StartupFailure(CONFIG_MALFORMED, f"{name} is empty: it holds no key", origin=name)
    return table, wanted


def _toml(text: str, name: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        sentence, _, where = str(error).partition(" (at line ")
        line = where.partition(",")[0] if where[:1].isdigit() else str(text.count("\n") + 1)
        raise StartupFailure(CONFIG_MALFORMED, _lower(sentence), origin=f"{name}:{line}") from None
    except RecursionError:
        raise StartupFailure(CONFIG_MALFORMED, f"{name} is nested too deeply", origin=name) from None
    except ValueError as error:  # a number too long, for one
        raise StartupFailure(CONFIG_MALFORMED, _lower(str(error)), origin=name) from None


def _json(text: str, name: str) -> Any:
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            twice = next(key for key, _ in pairs if [other for other, _ in pairs].count(key) > 1)
            raise StartupFailure(CONFIG_MALFORMED, f"{twice!r} stands twice; write a list", origin=name)
        return table

    try:
        return json.loads(text, object_pairs_hook=once, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise StartupFailure(CONFIG_MALFORMED, _lower(error.msg), origin=f"{name}:{error.lineno}") from None
    except RecursionError:
        raise StartupFailure(CONFIG_MALFORMED, f"{name} is nested too deeply", origin=name) from None


def _yaml(text: str, name: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise StartupFailure(
            CONFIG_FORMAT_UNAVAILABLE, f"{name} needs PyYAML, which is not installed", origin=name
        ) from None
    try:
        loader = yaml.SafeLoader(text)
        try:
            return _plain(loader.get_single_node(), loader, name, iter(range(_MOST_YAML_NODES)))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        origin = f"{name}:{mark.line + 1}" if mark else name
        raise StartupFailure(CONFIG_MALFORMED, _lower(error.problem or "is no YAML"), origin=origin) from None
    except yaml.YAMLError as error:
        raise StartupFailure(CONFIG_MALFORMED, _lower(str(error).partition("\n")[0]), origin=name) from None
    except RecursionError:
        raise StartupFailure(CONFIG_MALFORMED, f"{name} is nested too deeply", origin=name) from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # from within PyYAML, for odd tags and keys
        raise StartupFailure(
            CONFIG_MALFORMED, f"{name} is no YAML that can be read: {type(error).__name__}", origin=name
        ) from None


def _plain(node: Any, loader: Any, name: str, budget: Iterator[int]) -> Any:
    """Return a node as tables, lists, booleans, None and otherwise its text as it is written.

    The text, because YAML 1.1 reads 0660 as 432 and 12:30 as 750. The budget ends what aliases multiply.
    """
    if node is None:
        return {}
    if next(budget, None) is None:
        raise StartupFailure(CONFIG_MALFORMED, f"{name} holds more than {_MOST_YAML_NODES} values", origin=name)
    kind = node.tag.rpartition(":")[2]
    if node.id == "sequence":
        return [_plain(one, loader, name, budget) for one in node.value]
    if node.id == "mapping":
        loader.flatten_mapping(node)
        table: dict[Any, Any] = {}
        for key, value in node.value:
            if key.value in table:
                where = f"{name}:{key.start_mark.line + 1}"
                raise StartupFailure(CONFIG_MALFORMED, f"{key.value!r} stands twice; write a list", origin=where)
            table[key.value if isinstance(key.value, str) else str(key.value)] = _plain(value, loader, name, budget)
        return table
    if kind == "bool":
        return loader.construct_object(node)
    return None if kind == "null" else node.value


def _line_of(text: str, table: str, key: str) -> int:
    """Return the number of the first line of the table that starts with the key; the parsers do not keep it."""
    wanted, found = [part for part in (table, key) if part], 1
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip().lstrip("{[\"'- ").removeprefix("tool.")
        while wanted and bare.startswith(wanted[0]) and bare[len(wanted[0]) :].lstrip("\"' ")[:1] in {"=", ":", "]"}:
            bare = bare[len(wanted.pop(0)) :].lstrip("\"': {")
            found = number
    return found


def _salvage(text: str, name: str, path: str) -> list[Entry]:
    """Find what follows a failed start in a text that its parser refuses, line by line; the last one counts."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        for key in _EARLY_KEYS:
            before, hit, behind = line.partition(key)
            value = behind.lstrip("\"' \t")
            if hit and value[:1] in {"=", ":"} and before.rstrip(" \t\"'")[-1:] in {"", ",", "{"}:
                found.append(Entry(normal(key), _unquoted(value[1:].strip()), f"{name}:{number}", path))
    return found


def _unquoted(text: str) -> str:
    if text[:1] in {'"', "'"}:
        return text[1:].partition(text[0])[0]
    for end in (",", "}", " #"):
        text = text.partition(end)[0]
    return text.strip()


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence
