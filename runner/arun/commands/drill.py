"""``arun drill``: starts are made to fail on purpose, beside the real instance; does the fallback answer, and is there a way back?"""

from __future__ import annotations

import os
import sys
import tempfile
import time

from arun.commands.colours import BOLD, DIM, GREEN, RED, painter
from arun.commands.drill_configs import Copies, Spare
from arun.commands.exercise import KINDS, Course, Exercise
from arun.commands.usage import Option, Usage
from arun.core.failures import CAUSES, OPTION_INVALID, StartupFailure, printable
from arun.instance.configuration import Configuration
from arun.instance.fallback import COMMAND_LINE
from arun.lifecycle import chain
from arun.settings import entries, read, validate
from arun.settings.validation import SettingsRejected
from arun.system import privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from arun.settings import Settings

__all__ = ("main",)

USAGE = Usage(
    "drill",
    "Makes real starts with these arguments fail on purpose, one after the other, and shows that the fallback answers, how "
    "fast and with what, and that the way back works.",
    (
        Option("fail", "KIND", f"only this failure: {', '.join(KINDS)}; by default all of them in turn"),
        Option("json", "", "JSON for programs: one object"),
    ),
    "ARGUMENTS",
    0,
    """\
ARGUMENTS are those of the start, all of arun's options among them; the
options of drill stand before them. The drill runs beside the real instance:
on spare ports of loopback, with copies of the configs in a temporary folder,
without pid file, log files, state directory and notices. The app is your own
in the drill of bind, and a small one in the others; your fallback is your own
in all of them. A client connects all the time.
The status is 0 where every failure was answered by the fallback, no
connection was refused, and the start came back by itself when its fault was
mended; else 1, and 2 where there is nothing to drill.
""",
)
_VERSION = 1
_WIDTH = 80
_HEAD = ("failure", "identifier", "fallback answers", "refused", "back after")
_COLUMNS = (12, 20, 18, 9)


def main(arguments: list[str]) -> int:
    """Drill; return 0 where everything went as it should, else 1.

    Raises:
        StartupFailure: the arguments cannot be read, or name no fallback.
    """
    own, rest = _own(arguments)
    given = USAGE.read(own)
    if given is None:
        return 0
    kinds = (given.get("fail") or ",".join(KINDS)).split(",")
    for kind in kinds:
        if kind not in KINDS:
            sentence = f"--fail takes one of {', '.join(KINDS)}, not {kind!r}"
            raise StartupFailure(OPTION_INVALID, sentence, origin="command line", hint="run arun drill --help")
    configuration = _configuration(rest)
    if given.has("json"):
        import json

        courses = list(_courses(configuration, kinds))
        sys.stdout.write(json.dumps(_as_values(courses), ensure_ascii=False, indent=2) + "\n")
    else:
        courses = _shown(configuration, _courses(configuration, kinds), painter())
    return int(not all(one.is_fine for one in courses))


def _own(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of drill, which stand first, and the arguments of arun."""
    own, rest = list[str](), list(arguments)
    while rest and (rest[0] in {"--json", "--help", "-h", "--fail"} or rest[0].startswith("--fail=")):
        own.append(rest.pop(0))
        if own[-1] == "--fail" and rest:
            own.append(rest.pop(0))
    return own, rest


def _configuration(arguments: Sequence[str]) -> Configuration:
    directory = os.path.realpath(os.getcwd())
    layers = read(arguments, os.environ, directory=directory, factory_reset=False)
    try:
        settings = validate(layers)
    except SettingsRejected as rejected:
        raise rejected.problems[0] from None
    configuration = Configuration(COMMAND_LINE, directory).read(layers).with_settings(settings)
    if layers.asked or configuration.fallback.config is None:
        raise StartupFailure(
            OPTION_INVALID,
            "no fallback is named: a start that fails would end with status 1, and nothing would answer",
            hint="name one: --fallback-config FILE, or --fallback-config welcome for the built-in page",
        )
    return configuration


def _courses(configuration: Configuration, kinds: Sequence[str]) -> Iterator[Course]:
    settings = configuration.settings
    following, _ = chain.links(configuration, os.environ)
    # Where root starts it, the user that the instance becomes has to read the copies.
    owner = privileges.lookup(settings.uid, settings.gid)
    for kind in kinds:
        if _is_left_out(configuration, kind):
            yield Course(kind, note="fallback-on leaves it out")
            continue
        with tempfile.TemporaryDirectory(prefix="arun-drill-", ignore_cleanup_errors=True) as folder:
            if owner is not None and os.geteuid() == 0:
                os.chown(folder, owner.uid, owner.gid)
            copies = Copies(folder, Spare(), owner)
            end = entries.WELCOME if not following or _ends_in_page(following[-1].settings) else None
            fallback = copies.fallbacks(following, end)
            assert fallback is not None  # noqa: S101 - there is one, and the built-in one where it is not a file
            course = Exercise(kind, configuration, copies, fallback).run()
        yield course._replace(fallbacks=tuple(_original(one, following, configuration) for one in course.fallbacks))


def _original(name: str, following: Sequence[chain.Link], configuration: Configuration) -> str:
    """Return the name of the config that a copy was made of."""
    number = os.path.basename(name).removeprefix("fallback-").removesuffix(".json")
    is_copy = number.isdigit() and int(number) <= len(following)
    return entries.shown(following[int(number) - 1].config, configuration.directory) if is_copy else name


def _ends_in_page(settings: Settings | None) -> bool:
    return settings is not None and settings.fallback_config == entries.WELCOME


def _is_left_out(configuration: Configuration, kind: str) -> bool:
    cause = CAUSES[KINDS[kind]]
    return not {"all", cause.identifier, cause.stage} & configuration.fallback.causes


# ---- for programs


def _as_values(courses: Sequence[Course]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "ok": all(one.is_fine for one in courses),
        "failures": [{"ok": one.is_fine, **one._asdict()} for one in courses],
    }


# ---- for people


def _shown(configuration: Configuration, courses: Iterable[Course], paint: Callable[[str, str], str]) -> list[Course]:
    """Write a line for each failure as soon as it was drilled."""
    name = entries.shown(configuration.fallback.config or "", configuration.directory)
    _write(paint(BOLD, printable(f"Drill of the fallback {name}")), "", paint(DIM, _row(_HEAD)))
    seen, began = list[Course](), time.monotonic()
    for one in courses:
        seen.append(one)
        _write(paint(GREEN if one.is_fine else RED, _row(_cells(one))), *(f"    {line}" for line in one.faults))
        _write(*(paint(DIM, printable(f"    | {line}")) for line in one.log))
    words = next((one.words for one in seen if one.words), "")
    bad = sum(not one.is_fine for one in seen)
    _write("")
    if words:
        _write(printable(f"It says: {words}")[:_WIDTH], "")
    took = f"{time.monotonic() - began:.0f} s"
    if bad:
        _write(paint(RED + BOLD, f"{bad} of {len(seen)} drills failed") + f", in {took}.")
    else:
        _write(paint(GREEN + BOLD, "Every failure was answered, and the way back works") + f", in {took}.")
    return seen


def _write(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _row(cells: Sequence[str]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, _COLUMNS, strict=False)]
    return "  " + "".join([*padded, *cells[len(padded) :]]).rstrip()


def _cells(one: Course) -> tuple[str, ...]:
    if one.note:
        return (one.kind, one.note)
    answer = "nothing" if one.answered_after is None else f"{one.status} in {_time(one.answered_after)}"
    back = "not at all" if one.back_after is None else f"{_time(one.back_after)}{' by SIGHUP' if one.was_asked else ''}"
    return (one.kind, one.identifier or "none", answer, str(one.refused), back)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s"
