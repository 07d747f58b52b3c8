"""What follows from the declaration for readers: --help, --show-config, the reference page and the JSON schema."""

from __future__ import annotations

from arun.core.failures import CAUSES, STAGES, printable

from .declaration import declared
from .options import BIND_RETRY, DEFAULT
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .declaration import Option

__all__ = ("help_text", "reference", "schema", "show_config")

_WIDTH = 80
_INDENT = 26
_USAGE = """\
usage: arun [options] [app | config]

Starts one HTTP instance that always answers: when a start fails, the process
becomes the instance of its fallback config.

  arun app.py                          finds the app in a file
  arun shop.web:make_app               module:attribute
  arun site.ini                        a config (ini, toml, yaml, json)
  arun --fallback-config welcome --http-socket :8080 app.py

Commands about an instance, each with a --help of its own:
  arun check | drill                   would it start, does its fallback answer
  arun why | status | health           what failed, and how it is
  arun reload | stop | offline | online
"""
_SOURCES = """\
Each option is also an environment variable (--log-level: ARUN_LOG_LEVEL) and a
key of a config file (log-level). The command line goes before the environment,
the environment before files, files before PORT, WEB_CONCURRENCY and
FORWARDED_ALLOW_IPS. A flag takes --name, --name=no and --no-name.
"""


_IMPORTS = """\
## Where an app imports from

The order of `sys.path`, each folder once, links to folders resolved:

1. the folder of the app's file, as Python has it for a script, unless the file lies in a package (a folder with an
   `__init__.py`); for a linked file, the folder of the link;
2. `--app-dir`, by default the working directory;
3. the folder that holds the file's package, so that `from shop import db` works in `shop/main.py`; for a linked file in no
   package, the folder of the file that the link leads to;
4. each `--pythonpath`, and then what Python has by itself: `PYTHONPATH`, its library, what is installed;
5. the folder of a file in a package, so that a plain `import db` works there too. It comes last, for modules of a package are
   often named like others (`email.py`), unless it is `--app-dir` itself.

A file in a package is imported as a part of it, so relative imports work. A link has the package in which it lies, or, where
that is none, the package of the file that it leads to.
"""


def help_text() -> str:
    """Return the page of --help, at most 80 columns wide."""
    import textwrap

    lines = [_USAGE]
    group = ""
    for one in _in_reading_order():
        if one.group != group:
            group = one.group
            lines += ["", f"{group}:"]
        about = one.about + _default(one)
        left = "  " + _flags(one)
        wrapped = textwrap.wrap(about, _WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False)
        if len(left) > _INDENT - 2:
            lines += textwrap.wrap(left, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        else:
            wrapped[0] = left.ljust(_INDENT) + wrapped[0]
            lines.append(wrapped.pop(0))
        lines += [" " * _INDENT + line for line in wrapped]
    return "\n".join([*lines, "", _SOURCES])


def show_config(settings: Settings, connections: int | None = None) -> str:
    """Return each setting with its origin behind it, one line for each value; values of env are masked.

    Where a value is not given the one that holds is shown; it is empty where there is none. ``connections`` are those that
    the descriptors of the process allow.
    """
    lines = []
    used = _effective(settings) | {"limit-connections": connections}
    for one in _in_reading_order():
        if one.command_line_only:
            continue
        value = settings.value(one.name)
        values = (value or [None]) if one.repeatable else [used.get(one.name) if value is None else value]
        for each, origin in zip(values, settings.origins(one.name) or ["default"] * len(values), strict=True):
            shown = "" if each is None else one.kind.shown(each)
            lines.append((f"{one.name} = {shown}", origin))
    column = min(max(len(left) for left, _ in lines), 48)
    return "".join(f"{printable(left).ljust(column)}  ({printable(origin)})\n" for left, origin in lines)


def _effective(settings: Settings) -> dict[str, Any]:
    """Return the values that follow from other options, or from the start, where none is given."""
    used: dict[str, Any] = {
        "app-dir": ".",
        "bind-retry": BIND_RETRY if settings.fallback_config is None else 0.0,
        "supervise": settings.is_supervised,
        "welcome-status": 200,
        "access-log": settings.logs_requests,
        "request-id": settings.names_requests,
        "fallback-config": "none",
    }
    elsewhere = settings.addresses or settings.shared_addresses or settings.secure_addresses
    if settings.host is not None or settings.port is not None or not elsewhere:  # else nothing completes them
        used |= {"host": DEFAULT.host, "port": DEFAULT.port}
    return used


def schema() -> dict[str, Any]:
    """Return the JSON schema of a config file in toml, yaml or json."""
    properties: dict[str, Any] = {}
    for one in _in_reading_order():
        if one.command_line_only:
            continue
        single = {"anyOf": [one.kind.schema(), {"type": "string", "pattern": r"[%$@]"}]}
        values: dict[str, Any] = {"anyOf": [single, {"type": "array", "items": single}]} if one.repeatable else single
        if one.name == "env":
            values["anyOf"].append(
                {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
            )
        for spelling in one.spellings:
            properties[spelling] = {"description": one.about + _default(one), **values}
            if "-" in spelling:
                properties[spelling.replace("-", "_")] = {"$ref": f"#/properties/{spelling}"}
    properties["set-placeholder"] = {"description": "NAME=VALUE for %(NAME) in other values; may be a list or a table"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "arun config",
        "description": "The table arun of a toml, yaml or json file, or its top level.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def reference() -> str:
    """Return the reference page in Markdown."""
    lines = [
        "# Settings",
        "",
        "This page is made from the declaration in `runner/arun/settings/options.py` by `python -m arun.settings docs`.",
        "",
        *_SOURCES.splitlines(),
    ]
    group = ""
    for one in _in_reading_order():
        if one.group != group:
            group = one.group
            lines += ["", f"## {group}", "", "| option | takes | default | meaning |", "|---|---|---|---|"]
        names = [f"`--{one.name}`", *([f"`-{one.short}`"] if one.short else []), *(f"`--{a}`" for a in one.aliases)]
        takes = "" if one.is_flag else one.metavar.replace("|", "\\|")
        default = _default_text(one)
        lines.append(f"| {', '.join(names)} | {takes} | {f'`{default}`' if default else ''} | {one.about} |")
    return "\n".join([*lines, "", *_IMPORTS.splitlines(), "", *_causes(), ""])


def _causes() -> list[str]:
    """Return the table of what --fallback-on takes, in the order of the stages."""
    lines = [
        "## Causes of failure",
        "",
        "What `--fallback-on` takes beside `all` and `none`: a stage of the start, for all its causes, or an identifier, as it",
        "stands behind `arun:` in the report of a failed start.",
        "",
        "| stage | identifier | meaning |",
        "|---|---|---|",
    ]
    for stage in STAGES:
        causes = sorted(cause for cause in CAUSES.values() if cause.stage == stage)
        lines += [f"| `{stage}` | `{cause.identifier}` | {cause.meaning} |" for cause in causes]
    return lines


def _in_reading_order() -> list[Option]:
    return list(declared(Settings).values())


def _flags(one: Option) -> str:
    short = f"-{one.short}, " if one.short else ""
    negated = f", --no-{one.name}" if one.is_flag and one.default is not False else ""
    value = "" if one.is_flag else (f"[={one.metavar}]" if one.bare else f" {one.metavar}")
    return f"{short}--{one.name}{value}{negated}" + "".join(f", --{alias}" for alias in one.aliases)


def _default_text(one: Option) -> str:
    if one.default in (None, False, (), ""):
        return ""
    values = one.default if one.repeatable else (one.default,)
    return ",".join(one.kind.shown(value) for value in values)


def _default(one: Option) -> str:
    default = _default_text(one)
    return f" (default: {default})" if default else ""
