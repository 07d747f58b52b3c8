"""``arun status``: the state of an instance on one screen, once or again and again."""

from __future__ import annotations

import os
import sys
import time

from arun.commands import reaching
from arun.commands.colours import BOLD, DIM, GREEN, RED, YELLOW, painter
from arun.commands.usage import Option, Usage
from arun.core.failures import StartupFailure, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from arun.control.places import Place

__all__ = ("main",)

USAGE = Usage(
    "status",
    "Shows the state of an instance: what it serves, its workers, what failed last and when it is tried again.",
    (
        *reaching.OPTIONS,
        Option("watch", "", "show it again each second, until Ctrl-C"),
        Option("json", "", "JSON for programs, as /status has it"),
    ),
    "[CONFIG]",
    1,
    f"""\
{reaching.NOTES}
The status is 0 where the app answers all requests, 1 in every other state
(starting, fallback, offline, draining, stopping), and 2 where no instance is
found, or the arguments are wrong.
""",
)
_WIDTH, _LABEL = 80, 12
#: Seconds between two looks.
_EACH = 1.0
_COLOURS = {"serving": GREEN, "fallback": RED}
_COLUMNS = ("WORKER", "PID", "STATE", "SINCE", "REQUESTS", "IN FLIGHT", "CONNECTIONS")
#: Workers that a screen lists; of more, the last line tells how many.
_MOST_WORKERS = 32


def main(arguments: list[str]) -> int:
    """Show it; return 0 while the app answers all requests, else 1.

    Raises:
        StartupFailure: no instance is found.
    """
    given = USAGE.read(arguments)
    if given is None:
        return 0
    place = reaching.found(given, *given.operands)
    if given.has("watch"):
        return _watch(place, as_json=given.has("json"))
    state = reaching.state(place)
    _write(state, as_json=given.has("json"))
    return int(not state["ready"])


def _write(state: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        import json

        sys.stdout.write(json.dumps(state, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _screen(state, time.time(), painter())))


def _watch(place: Place, *, as_json: bool) -> int:
    """Show the state each second, on a terminal in place of the one before; return what the last one says."""
    is_terminal, status, before = sys.stdout.isatty() and not as_json, 2, None
    if is_terminal:
        sys.stdout.write("\033[?1049h\033[?25l")
    try:
        while True:
            try:
                state = reaching.state(place)
                status = int(not state["ready"])
                if as_json:
                    _write(state, as_json=True)
                    lines = []
                else:
                    lines = list(_screen(state, time.time(), painter(), before))
                before = time.monotonic(), state
            except StartupFailure as failure:
                status, lines = 2, [printable(failure.sentence)]
            if is_terminal:
                rows = os.get_terminal_size().lines - 1
                sys.stdout.write("\033[H" + "".join(f"{line}\033[K\n" for line in lines[:rows]) + "\033[J")
            else:
                sys.stdout.write("".join(f"{line}\n" for line in [*lines, ""] if lines))
            sys.stdout.flush()
            time.sleep(_EACH)
    except KeyboardInterrupt:
        return status
    finally:
        if is_terminal:
            sys.stdout.write("\033[?25h\033[?1049l")


def _screen(
    state: Mapping[str, Any],
    now: float,
    paint: Callable[[str, str], str],
    before: tuple[float, Mapping[str, Any]] | None = None,
) -> Iterator[str]:
    name = state["state"]
    mark = "\u25cf" if "utf" in (sys.stdout.encoding or "").lower() else "*"
    head = f"{mark} {name}"
    about = f"since {_when(state['since'], now)}"
    yield f"{paint(_COLOURS.get(name, YELLOW) + BOLD, head)}  {about}"
    if state["reason"]:
        yield from _entry("why", state["reason"], paint)
    yield from _entry("app", state["app"], paint)
    yield from _entry("config", state["config"] if state["config"] != "command line" else "", paint)
    yield from _entry("listens", ", ".join(state["listeners"]), paint)
    for sentence in state["waiting"]:
        yield from _entry("waits", sentence, paint)
    yield from _entry("process", f"pid {state['pid']}, arun {state['arun']}, Python {state['python']}", paint)
    if state["state"] != "starting":
        yield from _entry("requests", _requests(state, before), paint)
    if state["supervised"]:
        yield from _entry("workers", _workers(state), paint)
    if state["offline"] is not None and name != "offline":  # then it is the reason
        yield from _entry("offline", " ".join(state["offline"]["text"].split()) or "without a text", paint)
    if state["offline"] is not None and state["offline"]["allow"]:
        yield from _entry("allowed", ", ".join(state["offline"]["allow"]), paint)
    yield from _failures(state, now, paint)
    if state["workers"]:
        yield ""
        yield from _table(state["workers"], now, paint)


def _requests(state: Mapping[str, Any], before: tuple[float, Mapping[str, Any]] | None) -> str:
    rate = ""
    if before is not None and before[1]["pid"] == state["pid"]:
        seconds = time.monotonic() - before[0]
        rate = f" ({max(0.0, (state['requests'] - before[1]['requests']) / seconds):,.0f}/s)"
    connections = f"{state['connections']:,} connection{'' if state['connections'] == 1 else 's'}"
    return f"{state['requests']:,}{rate}, {state['in_flight']:,} in flight, {connections}"


def _workers(state: Mapping[str, Any]) -> str:
    serving = sum(one["state"] == "serving" for one in state["workers"])
    text = f"{serving} serving, generation {state['generation']}"
    if state["restarts"]:
        text += f", {state['restarts']} lost and replaced"
    reloads = state["reloads"]
    if reloads["begun"]:
        text += f"; reloads: {reloads['done']} done, {reloads['failed']} failed"
    return text


def _failures(state: Mapping[str, Any], now: float, paint: Callable[[str, str], str]) -> Iterator[str]:
    """Yield the failure that counts: the first one of a chain, or that of the last reload."""
    last = state["reloads"]["last"]
    failures, label = state["failures"], "failed"
    if not failures and last is not None and not last["done"]:
        failures, label = last["failures"], "reload"
    for one in failures[:1]:
        yield ""
        title = f"{one['identifier']}, {_when(one['when'], now)}" + (f", id {one['id']}" if one.get("id") else "")
        yield from _entry(label, title, paint, colour=RED)
        yield from _entry("", one.get("sentence", ""), paint)
        yield from _entry("from", one.get("origin", ""), paint)
        yield from _entry("hint", one.get("hint", ""), paint)
    if len(failures) > 1:
        yield from _entry("", f"and {len(failures) - 1} more: arun why shows them all", paint)
    if state["trying"] or state["next_try"] is not None:
        when = "now" if state["trying"] else f"in {_span(state['next_try'] - now)}"
        tries = f"; {state['attempts']} so far" if state["attempts"] else ""
        yield from _entry("next try", when + tries, paint)


def _table(workers: list[Mapping[str, Any]], now: float, paint: Callable[[str, str], str]) -> Iterator[str]:
    rows = [
        (
            str(one["number"]),
            str(one["pid"]) if one["pid"] else "-",
            one["state"],
            _span(now - one["since"]),
            f"{one['requests']:,}",
            f"{one['in_flight']:,}",
            f"{one['connections']:,}",
        )
        for one in workers[:_MOST_WORKERS]
    ]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    left = {2, 3}
    for row in (_COLUMNS, *rows):
        cells = (
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        line = "  " + "  ".join(cells).rstrip()
        yield paint(DIM, line) if row is _COLUMNS else line
    if len(workers) > _MOST_WORKERS:
        yield f"  and {len(workers) - _MOST_WORKERS} more"


def _entry(label: str, text: str, paint: Callable[[str, str], str], *, colour: str = DIM) -> Iterator[str]:
    if not text:
        return
    import textwrap

    first, *more = textwrap.wrap(printable(text), _WIDTH - _LABEL, break_on_hyphens=False) or [""]
    yield paint(colour, f"  {label}".ljust(_LABEL)) + first
    for line in more:
        yield " " * _LABEL + line


def _when(moment: float, now: float) -> str:
    form = "%H:%M:%S" if now - moment < 43_200 else "%Y-%m-%d %H:%M"  # noqa: PLR2004 - half a day
    return f"{time.strftime(form, time.localtime(moment))} ({_span(now - moment)})"


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size * (1 if unit == "min" else 2):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
