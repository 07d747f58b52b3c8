"""``arun why``: the last failed start, for people: what failed and where, what to do, and what arun does about it."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time

from arun.commands import reaching
from arun.commands.usage import Option, Usage
from arun.control import places
from arun.core.failures import FILE_UNUSABLE, OPTION_INVALID, FailureRecord, StartupFailure, printable
from arun.instance import failure_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from typing import Any

    from arun.commands.usage import Arguments

__all__ = ("main",)

_WIDTH = 80
_INDENT = 12
_ID = re.compile("[0-9A-Za-z]{6}")
#: Where systemd puts the state of a service called arun, of the system and of a user (systemd.exec(5), StateDirectory=).
_DEFAULTS = ("/var/lib/arun", os.path.expanduser("~/.local/state/arun"))
#: What a record of another version of arun may lack.
_UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(("time", "identifier", "sentence", "origin", "hint", "config", "command", "traceback"), ""),
    "duration": 0.0,
    "versions": {},
    "chain": [],
}
#: ECMA-48: a failure in bold red, names faint.
_RED, _FAINT, _RESET = "\033[1;31m", "\033[2m", "\033[0m"

USAGE = Usage(
    "why",
    "Shows why the last start failed, what to do about it, and what arun does.",
    (
        Option(
            "state-dir",
            "DIR",
            "the state directory of the instance (default: ARUN_STATE_DIR, STATE_DIRECTORY, /var/lib/arun)",
        ),
        *(one for one in reaching.OPTIONS if one.name != "state-dir"),
        Option("all", "", "a list of all failed starts that are kept, the last one at its end"),
        Option("json", "", "JSON for programs: an object, with --all a line for each"),
    ),
    "[ID|CONFIG]",
    1,
    """\
Without a state directory the instance itself is asked, by its control socket.
ID is that of a failed start, as it stands in the log and on the page: six
letters and digits. CONFIG is a file: the config that the instance was started
with, which says where its state directory or its control socket is.
The status is 0 where there is one to show, 1 where none is recorded, and 2
where it cannot be told.
""",
)


def main(arguments: list[str]) -> int:
    """Show it; return 0, or 1 where no failure is recorded.

    Raises:
        StartupFailure: no state directory is known, or it cannot be read.
    """
    given = USAGE.read(arguments)
    if given is None:
        return 0
    wanted, config = _operand(given)
    records = _records(given, config)
    if wanted:
        records = [one for one in records if one["id"].casefold() == wanted.casefold()]
    if not records:
        sys.stdout.write(f"No failed start {wanted}.\n" if wanted else "No failed start.\n")
        return 1
    shown = records if given.has("all") else records[-1:]
    if given.has("json"):
        import json

        indent = None if given.has("all") else 2
        sys.stdout.write("".join(f"{json.dumps(one, ensure_ascii=False, indent=indent)}\n" for one in shown))
    elif given.has("all"):
        sys.stdout.write("".join(f"{_line(one)}\n" for one in shown))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _page(shown[0])))
    return 0


def _operand(given: Arguments) -> tuple[str, str | None]:
    """Return the id and the config that are asked for; a file is a config, whatever its name.

    Raises:
        StartupFailure(OPTION_INVALID): the operand is neither.
    """
    operand = given.operands[0] if given.operands else ""
    if os.path.isfile(operand):
        return "", operand
    if operand and not _ID.fullmatch(operand):
        raise StartupFailure(
            OPTION_INVALID,
            f"{operand!r} is no id of a failed start, and there is no such file",
            origin="command line",
            hint="an id has six letters and digits, as in the log: [9GWF2M]; a config is named by its path",
        )
    return operand, None


def _records(given: Arguments, config: str | None) -> list[dict[str, Any]]:
    """Return the records of the state directory; where none is named, those that the instance itself knows."""
    asks = given.has("control") or given.has("pidfile")
    named = reaching.settings_of(config) if config is not None and not given.has("state-dir") else None
    known: list[dict[str, Any]] = []
    if asks or (named is not None and named.state_dir is None):
        try:
            known = _known_to_the_instance(given, config)
        except StartupFailure:
            if not given.has("state-dir"):
                raise
        if not given.has("state-dir"):
            return known
    places = (
        (given.get("state-dir"), "--state-dir"),
        *(() if named is None else ((named.state_dir, named.origin("state-dir")),)),
        (os.environ.get("ARUN_STATE_DIR"), "ARUN_STATE_DIR"),
        (os.environ.get("STATE_DIRECTORY", "").partition(":")[0], "STATE_DIRECTORY"),
        *((one, "default") for one in _DEFAULTS if os.path.exists(os.path.join(one, failure_log.FILE))),
    )
    directory, origin = next(((one, origin) for one, origin in places if one), ("", ""))
    if not directory:
        return _known_to_the_instance(given, config)
    try:
        if not os.path.isdir(directory):
            raise NotADirectoryError(20, "there is no such directory")
        records = [{**_UNKNOWN, **one} for one in failure_log.read(directory)]
    except OSError as error:
        path = os.path.join(directory, failure_log.FILE)
        sentence = f"cannot read {path}: {(error.strerror or str(error)).lower()}"
        raise StartupFailure(FILE_UNUSABLE, sentence, origin=origin) from error
    if not known:
        _ask_about(records, directory)
    told = {one["id"] for one in known}
    return [*(one for one in records if one["id"] not in told), *known]


def _ask_about(records: list[dict[str, Any]], directory: str) -> None:
    """Add what only the instance knows of an outage that goes on, if it answers at its place in the state directory."""
    if not records or records[-1].get("ended"):
        return
    try:
        place = places.default(os.environ, directory, os.getcwd())
        state = reaching.state(place) if place is not None else {}
    except StartupFailure:
        return
    for known in state.get("failures", ()):
        for record in records:
            if record["id"] == known.get("id"):
                record |= {"tries": known.get("tries", 0), "next_try": state["next_try"]}


def _known_to_the_instance(given: Arguments, config: str | None) -> list[dict[str, Any]]:
    try:
        state = reaching.state(reaching.found(given, config))
    except StartupFailure as failure:
        if config is not None or given.options.keys() & {"control", "pidfile"}:
            raise
        hint = "name its state directory (--state-dir DIR), or its control socket (--control PATH)"
        raise StartupFailure(failure.cause, failure.sentence, origin=failure.origin, hint=hint) from failure
    records = [FailureRecord.of_fields(one) for one in state["failures"]]
    serves = {"time": failure_log.rfc3339(state["since"]), "fallback": state["config"], "pid": state["pid"]}
    known = [
        failure_log.fields_of(one, records[:number]) | {"fallback": serves, "next_try": state["next_try"]}
        for number, one in enumerate(records)
    ]
    return [*known, *_survived(state, {one.id for one in records})]


def _survived(state: Mapping[str, Any], told: Container[str]) -> Iterator[dict[str, Any]]:
    """Yield the record of the last reload, if it has failed: its problems share one id, and the instance serves as before."""
    last = state["reloads"]["last"]
    records = [] if last is None else [FailureRecord.of_fields(one) for one in last["failures"]]
    groups: dict[str, list[FailureRecord]] = {}
    for record in records:
        if record.id not in told:
            groups.setdefault(record.id, []).append(record)
    for first, *others in groups.values():
        problems = {"problems": [failure_log.problem(one) for one in others]} if others else {}
        ended = {"ended": "survived", "ended_time": failure_log.rfc3339(first.when)}
        yield failure_log.fields_of(first) | ended | problems


def _line(record: Mapping[str, Any]) -> str:
    """Return a record on one line of at most 80 columns."""
    state = "goes on" if not record.get("ended") else record["ended"]
    line = printable(
        f"{record['id']}  {_date(record['time'])}  {state:9}  {record['identifier']}: {record['sentence']}"
    )
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."


def _page(record: Mapping[str, Any]) -> Iterator[str]:
    for problem in (record, *record.get("problems", ())):
        for line in textwrap.wrap(printable(f"{problem['identifier']}: {problem['sentence']}"), _WIDTH):
            yield _painted(line, _RED)
    yield ""
    yield from _entry("id", record["id"])
    # What an instance has survived, a reload or a worker to replace another, was not its start.
    into = "" if record.get("ended") == "survived" else f"; {_span(record['duration'])} into the start"
    yield from _entry("when", f"{_date(record['time'])}, {_ago(record['time'])}{into}")
    yield from _entry("where", record["origin"])
    yield from _entry("hint", record["hint"])
    yield from _entry("config", record["config"])
    yield from _entry("command", record["command"])
    yield from _entry("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items()))
    links = [*record["chain"], record]
    if len(links) > 1:
        for number, link in enumerate(links, 1):
            text = f"{number}. {link['config']}: {link['identifier']}: {link['sentence']}"
            yield from _entry("chain" if number == 1 else "", text)
    yield from _entry("now", _now(record))
    if record["traceback"]:
        yield ""
        yield from record["traceback"].rstrip("\n").split("\n")


def _entry(name: str, text: str) -> Iterator[str]:
    if text.strip():
        first = f"  {name}".ljust(_INDENT)
        line, *more = textwrap.wrap(
            printable(text), _WIDTH, initial_indent=first, subsequent_indent=" " * _INDENT, break_on_hyphens=False
        )
        yield _painted(line[:_INDENT], _FAINT) + line[_INDENT:]
        yield from more


def _painted(text: str, color: str) -> str:
    """Return a text in a color, where a person sees it and wants that."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    return f"{color}{text}{_RESET}"


def _now(record: Mapping[str, Any]) -> str:
    """Return what arun does about it, or how it ended."""
    if record.get("ended") == "survived":
        return "the instance goes on serving as before"
    if record.get("ended"):
        return f"over: {record['ended']} at {_date(record['ended_time'])}"
    fallback = record.get("fallback")
    if fallback is None:
        return "no fallback has served in its place so far"
    served = f"the fallback {fallback.get('fallback', '')} serves in its place since {_date(fallback['time'])}"
    pid = fallback.get("pid", 0)
    if not _lives(pid):
        return f"{served}, but its process {pid} is not to be seen from here"
    tries, next_try = record.get("tries", 0), record.get("next_try")
    if tries:
        served += (
            f"; the start was tried again {'once' if tries == 1 else f'{tries} times'}, and failed in the same way"
        )
    if next_try is not None:
        served += f"; the next try is in {_span(max(0.0, next_try - time.time()))}"
    return served


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _seconds(text: str) -> float:
    import calendar

    try:
        return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0.0


def _date(text: str) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_seconds(text)))


def _ago(text: str) -> str:
    return f"{_span(max(0.0, time.time() - _seconds(text)))} ago"


def _span(seconds: float) -> str:
    """Return a time span in the two largest units that it has."""
    if seconds < 10:  # noqa: PLR2004 - tenths tell something here
        return f"{seconds:.1f} s"
    parts, rest = list[str](), int(seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if rest >= size or (parts and unit == "s"):
            parts.append(f"{rest // size} {unit}")
            rest %= size
    return " ".join(parts[:2])
