"""``arun check``: all that a start does, short of serving, and all that its fallbacks would do; then the first thing to mend."""

from __future__ import annotations

import os
import sys
import textwrap
import time

from arun.commands import trials
from arun.commands.colours import BOLD, DIM, GREEN, RED, YELLOW, painter
from arun.commands.running import Running
from arun.commands.usage import Option, Usage
from arun.core import redaction
from arun.core.failures import OPTION_INVALID, FailureRecord, StartupFailure, printable
from arun.core.values import Value
from arun.instance import notices
from arun.instance.configuration import Configuration
from arun.instance.fallback import COMMAND_LINE
from arun.instance.handover import Handover
from arun.lifecycle import chain
from arun.settings import DEFAULT, SettingsRejected, entries, listeners, read, validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from arun.commands.trials import Result
    from arun.core.listen_spec import ListenSpec
    from arun.settings import Settings

__all__ = ("main",)

USAGE = Usage(
    "check",
    "Does all that a start with these arguments does, short of serving: reads the settings, looks at the addresses, imports the "
    "app, runs its start-up and shut-down. Then the same for each fallback.",
    (Option("json", "", "JSON for programs: one object"),),
    "ARGUMENTS",
    0,
    """\
ARGUMENTS are those of the start, all of arun's options among them; the
options of check stand before them, --json also at the end. Each start is tried
in a process of its own; nothing listens, and no file is written. ARUN_PROBE is
set in the environment of the app, and tells it that it is only tried.
The status is 0 where all of them would serve, 1 where one would not, and 2
where nothing could be tried.
""",
)
_VERSION = 1
_WIDTH, _MARK, _NAME, _TIME = 80, 9, 17, 9
_OK, _WARNING, _FAILED = "ok", "warning", "failed"
_COLOURS = {_OK: GREEN, _WARNING: YELLOW, _FAILED: RED}


class Start(Value):
    """One start of the chain, as it was tried."""

    name: str
    is_fallback: bool
    result: Result
    warnings: tuple[str, ...]
    failures: tuple[FailureRecord, ...]


class Row(Value):
    """A line of the report: its mark, the name of the step, what is told of it, and the seconds that it took."""

    mark: str
    name: str
    text: str
    seconds: float | None = None


def main(arguments: list[str]) -> int:
    """Check; return 0 where every start of the chain would serve, else 1.

    Raises:
        StartupFailure: the arguments ask for something else than a start.
    """
    if arguments[:1] in (["--help"], ["-h"]):
        USAGE.read(arguments[:1])
        return 0
    rest, as_json = _without_json(arguments)
    if as_json:
        import json

        starts = list(_starts(rest))
        sys.stdout.write(json.dumps(_as_values(starts), ensure_ascii=False, indent=2) + "\n")
        return int(any(one.failures for one in starts))
    return _report(_starts(rest), painter())


def _without_json(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the arguments of the start, and whether JSON is wanted.

    The start has an option ``--json FILE``: check's own one comes first, or has no file behind it.
    """
    for place, word in enumerate(arguments):
        following = arguments[place + 1 : place + 2]
        if word == "--json" and (not place or not following or following[0].startswith("-")):
            return [*arguments[:place], *arguments[place + 1 :]], True
        if word == "--":
            break
    return list(arguments), False


def _starts(arguments: Sequence[str]) -> Iterator[Start]:
    """Try the start, then each fallback that would follow it."""
    directory = os.path.realpath(os.getcwd())
    layers = read(arguments, os.environ, directory=directory, factory_reset=False)
    if layers.asked:
        asked = ", ".join(f"--{name}" for name in sorted(layers.asked))
        raise StartupFailure(
            OPTION_INVALID,
            f"{asked} starts nothing that could be checked",
            hint="run arun check --help for what it takes",
        )
    configuration = Configuration(COMMAND_LINE, directory).read(layers)
    warnings = list(layers.warnings)
    try:
        settings = validate(layers)
        warnings += [*settings.idle, *_unfound(settings)]
    except SettingsRejected as rejected:
        settings = rejected.partial
    configuration = configuration.with_settings(settings)
    wanted = _wanted(configuration)
    following, end = chain.links(configuration, os.environ)
    running = Running.beside(configuration, arguments, [one.config for one in following], wanted)
    held = wanted if running.pid else ()
    if running.pid:
        warnings.append(f"{running.where} in use by a running arun (pid {running.pid}), which has the same arguments")
    result = trials.run(arguments, held=held, owner=running.pid)
    ends = [] if end is None else [_record(end, "")]
    failures = (*result.failures, *([] if following else ends))
    warned = tuple(map(redaction.masked, (*warnings, *result.warnings)))
    yield Start(_shown(configuration), False, result, warned, failures)
    tried = entries.config_key(configuration.name)
    past = Handover((sys.argv[0], *arguments), directory, failures=(_not_failed(),), tried=(tried,), wanted=wanted)
    for link in following:
        result = trials.run((link.config,), past=past, held=held, owner=running.pid)
        told = {one.identifier for one in result.failures}
        more = [_record(one, link.config) for one in link.problems if one.cause.identifier not in told]
        if link is following[-1]:
            more += ends
        name = entries.shown(link.config, directory)
        yield Start(name, True, result, result.warnings, (*result.failures, *more))
        past = past._replace(tried=(*past.tried, entries.config_key(link.config)))
    if configuration.fallback.config is not None and configuration.fallback.chain.last_resort == "page":
        result = trials.run((entries.welcome_config(),), past=past, held=held, owner=running.pid)
        yield Start(entries.WELCOME, True, result, result.warnings, result.failures)


def _unfound(settings: Settings) -> Iterator[str]:
    """Yield a warning for each command of a notice whose program is not found."""
    for name, command in (("on-fallback", settings.on_fallback), ("on-recover", settings.on_recover)):
        if command is not None and (program := notices.unfound(command, os.environ)):
            yield f"{name} (from {settings.origin(name)}) cannot be run: the program {program!r} is not found"


def _wanted(configuration: Configuration) -> tuple[ListenSpec, ...]:
    settings = configuration.settings
    named = (*listeners.shared(settings, inherits=False), *listeners.named(settings, inherits=False))
    return named or (listeners.default(settings, inherits=False)._replace(address=DEFAULT),)


def _shown(configuration: Configuration) -> str:
    settings = configuration.settings
    if configuration.name != COMMAND_LINE:
        return entries.shown(configuration.name, configuration.directory)
    return settings.app or settings.wsgi_file or f"the folder {configuration.directory}"


def _record(failure: StartupFailure, config: str) -> FailureRecord:
    return FailureRecord.of(failure, config=config, when=time.time())


def _not_failed() -> FailureRecord:
    """Return what stands for the failure that a fallback comes after: none of it is shown."""
    return FailureRecord("check", "start", "the start is taken to have failed", "", "", "", COMMAND_LINE, time.time())


# ---- for programs


def _as_values(starts: Sequence[Start]) -> dict[str, Any]:
    first = next((record for one in starts for record in one.failures), None)
    return {
        "version": _VERSION,
        "ok": first is None,
        "starts": [
            {
                "name": one.name,
                "fallback": one.is_fallback,
                "ok": not one.failures,
                "seconds": round(one.result.seconds, 3),
                "steps": [
                    {"name": step.name, "detail": step.detail, "seconds": round(step.seconds, 4)}
                    for step in one.result.steps
                ],
                "warnings": one.warnings,
                "failures": [_failure(record) for record in one.failures],
            }
            for one in starts
        ],
        "mend": None if first is None else _failure(first),
    }


def _failure(record: FailureRecord) -> dict[str, str]:
    names = "identifier", "stage", "sentence", "origin", "hint"
    return {
        "step": trials.failing_step(record),
        **{name: getattr(record, name) for name in names},
        "traceback": record.detail,
    }


# ---- for people


def _report(starts: Iterator[Start], paint: Callable[[str, str], str]) -> int:
    """Write each start when it has been tried, then the sum; return the status."""
    seen: list[Start] = []
    for one in starts:
        kind = f"Fallback {len(seen)}" if one.is_fallback else "Start"
        lines = [
            paint(BOLD, printable(f"{kind}: {one.name}")),
            *(line for row in _rows(one) for line in _lines(row, paint)),
        ]
        _write([*lines, ""])
        seen.append(one)
    if len(seen) == 1:
        _write(["No fallback: a start that fails ends with status 1 (see --fallback-config).", ""])
    first = next((record for one in seen for record in one.failures), None)
    if first is None:
        warned = sum(len(one.warnings) for one in seen)
        about = f", with {warned} warning{'s' if warned > 1 else ''}" if warned else ""
        what = "This start and its fallbacks would serve" if len(seen) > 1 else "This start would serve"
        _write([f"{paint(GREEN + BOLD, what)}{about}."])
        return 0
    _write(_to_mend(first, paint))
    return 1


def _write(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _to_mend(first: FailureRecord, paint: Callable[[str, str], str]) -> Iterator[str]:
    head = "First thing to mend: "
    yield from _wrapped(paint(RED + BOLD, head), head, f"{first.identifier}: {first.sentence}")
    for name, text in (("where", first.origin), ("hint", first.hint)):
        if text:
            yield from _wrapped(paint(DIM, f"  {name:6}"), f"  {name:6}", text)
    if first.detail:
        yield ""
        yield from first.detail.rstrip("\n").split("\n")


def _rows(one: Start) -> Iterator[Row]:
    for step in one.result.steps:
        yield Row(_OK, step.name, entries.shown(step.detail, os.path.realpath(os.getcwd())), step.seconds)
    for text in one.warnings:
        yield Row(_WARNING, "", text)
    for record in one.failures:
        origin = f" (from {record.origin})" if record.origin else ""
        yield Row(_FAILED, trials.failing_step(record), f"{record.identifier}: {record.sentence}{origin}")


def _lines(row: Row, paint: Callable[[str, str], str]) -> Iterator[str]:
    """Return a row as lines: mark, step, detail, time; a long detail goes on below."""
    indent = 2 + _MARK + (_NAME if row.name else 0)
    room = _WIDTH - indent - (_TIME if row.seconds is not None else 0)
    first, *more = textwrap.wrap(printable(row.text), room, break_on_hyphens=False) or [""]
    taken = "" if row.seconds is None else f"{first.ljust(room)[len(first) :]}{_time(row.seconds):>{_TIME}}"
    yield f"  {paint(_COLOURS[row.mark], row.mark.ljust(_MARK))}{row.name.ljust(indent - 2 - _MARK)}{first}{paint(DIM, taken)}"
    yield from (f"{'':{indent}}{line}" for line in more)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - two figures are enough


def _wrapped(head: str, plain: str, text: str) -> Iterator[str]:
    indent = 8 if plain.startswith(" ") else 2
    lines = textwrap.wrap(
        printable(text), _WIDTH, initial_indent=" " * len(plain), subsequent_indent=" " * indent, break_on_hyphens=False
    )
    yield head + lines[0][len(plain) :]
    yield from lines[1:]
