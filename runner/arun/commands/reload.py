"""``arun reload``: what SIGHUP does, and how it has ended."""

from __future__ import annotations

import sys
import time

from arun.commands import reaching
from arun.commands.usage import Option, Usage
from arun.core.failures import OPTION_INVALID, StartupFailure, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from arun.control.places import Place

__all__ = ("main",)

USAGE = Usage(
    "reload",
    "Reloads an instance with workers, and waits until the new ones serve, or one of them has failed. A fallback tries "
    "its first start again.",
    (*reaching.OPTIONS, Option("timeout", "SECONDS", "how long to wait (default: until it has ended)")),
    "[CONFIG]",
    1,
    f"""\
{reaching.NOTES}
The status is 0 where the new workers serve, or the first start does again; 1
where that has failed (what failed is shown, and those who served before go
on), where the instance has nothing to reload with, or the time is over; and 2
where no instance is found, or the arguments are wrong. One process without
workers reads its certificates again, and has nothing else to reload.
""",
)
#: Seconds between two looks, and for which an instance may not answer: it becomes another.
_LOOK, _GAP = 0.05, 30.0


def main(arguments: list[str]) -> int:
    """Reload and wait; return 0 if it has ended well, else 1.

    Raises:
        StartupFailure: no instance is found.
    """
    given = USAGE.read(arguments)
    if given is None:
        return 0
    seconds = _seconds(given.get("timeout"))
    place = reaching.found(given, *given.operands)
    before = reaching.state(place)
    accepted, said = reaching.order(place, "/reload")
    if not accepted:
        sys.stderr.write(f"arun: no reload: {printable(said)}\n")
        return 1
    if not before["supervised"] and not before["level"]:
        sys.stdout.write(f"{printable(said)}\n")
        return 0
    ends = _until_primary if before["level"] else _until_reloaded
    return ends(place, before, time.monotonic() + seconds)


def _seconds(text: str | None) -> float:
    try:
        seconds = float("inf") if text is None else float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise StartupFailure(
            OPTION_INVALID, f"--timeout takes a number of seconds, not {text!r}", origin="command line"
        )
    return seconds


def _until_reloaded(place: Place, before: Mapping[str, Any], deadline: float) -> int:
    while time.monotonic() < deadline:
        state = reaching.state(place)
        last = state["reloads"]["last"]
        if last is not None and last["number"] > before["reloads"]["begun"]:
            if last["done"]:
                sys.stdout.write(f"reloaded: {printable(state['app'])}\n")
                return 0
            _report(last["failures"])
            sys.stderr.write("arun: the reload has failed: those who served before go on\n")
            return 1
        if state["state"] in {"draining", "stopping"}:
            sys.stderr.write("arun: the instance stops\n")
            return 1
        time.sleep(_LOOK)
    return _late()


def _until_primary(place: Place, before: Mapping[str, Any], deadline: float) -> int:
    """Wait for the first start of a fallback: the process becomes it, and then perhaps the fallback again."""
    heard = time.monotonic()
    while time.monotonic() < deadline:
        try:
            state = reaching.state(place)
            heard = time.monotonic()
        except StartupFailure:
            if time.monotonic() - heard > _GAP:
                raise
            time.sleep(_LOOK)
            continue
        is_another = state["began"] != before["began"]
        if is_another and not state["level"] and state["state"] in {"serving", "offline"}:
            sys.stdout.write(f"the first start serves again: {printable(state['app'])}\n")
            return 0
        was_tried = state["attempts"] > before["attempts"] and not state["trying"]
        if state["state"] == "fallback" and (is_another or was_tried):
            first = state["failures"][0]["config"]
            _report(one for one in state["failures"] if one["config"] == first)
            sys.stderr.write("arun: the first start has failed again: the fallback serves\n")
            return 1
        time.sleep(_LOOK)
    return _late()


def _late() -> int:
    sys.stderr.write("arun: the time is over, and it has not ended (--timeout)\n")
    return 1


def _report(failures: Iterable[Mapping[str, Any]]) -> None:
    for one in failures:
        detail = one.get("detail", "").rstrip()
        if detail:
            sys.stderr.write(f"{detail}\n")
        origin = f" (from {one['origin']})" if one.get("origin") else ""
        mark = f" [{one['id']}]" if one.get("id") else ""  # as in the log
        sys.stderr.write(printable(f"arun: {one['identifier']}: {one.get('sentence', '')}{origin}{mark}") + "\n")
        sys.stderr.write(f"arun: hint: {printable(one.get('hint', ''))}\n")
