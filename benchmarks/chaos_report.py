"""The report of a run of chaos.py: a row for each thing that was done, every fault with its moment, the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import chaos_memory
import environment
import figures
from chaos_clients import ANSWERED, CUT, FAULTS, KILLED, LOST, OVERLONG, PAGE, REFUSED, WRONG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from chaos_clients import Ledger
    from chaos_memory import Kept

__all__ = ("Holdings", "Results", "markdown", "report")

#: What goes on, as it is called in the table.
STEADY = "nothing: load alone, and between the others"
RELOAD, BROKEN_RELOAD, MOVE = "reload", "reload of broken code", "reload onto an overlapping address"
KILL, UPGRADE, FILES_AWAY = "a worker is killed", "upgrade", "arun's files are away, and a worker is killed"
CRASH_LOOP, BROKEN_START, WAY_BACK = "crash loop into the fallback", "way back, broken", "way back"
_ACTIVITIES = (STEADY, RELOAD, BROKEN_RELOAD, MOVE, KILL, FILES_AWAY, UPGRADE, CRASH_LOOP, BROKEN_START, WAY_BACK)
#: Faults that are listed; more of them say nothing new.
_LISTED = 60


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a supervisor has: children, open descriptors, kB of resident memory."""

    children: int
    descriptors: int
    rss: int


@dataclass(frozen=True, slots=True)
class Results:
    """One run: what the clients saw, its seconds, what the supervisor had before and after, and the memory of a worker."""

    ledger: Ledger
    seconds: float
    before: Holdings
    after: Holdings
    kept: list[Kept]


def report(taken: dict[str, Results], bin_: str, options: str) -> dict[str, Any]:
    """Return everything that is known about the runs, as JSON-able values."""
    runs = {kind: _run(results) for kind, results in taken.items()}
    return {
        **environment.circumstances(bin_),
        "options": options,
        "runs": runs,
        "failed": [kind for kind, reported in runs.items() if reported["failed"]],
    }


def markdown(reported: dict[str, Any]) -> str:
    """Return the runs as tables for people."""
    lines = [figures.headline(reported, 1)]
    for kind, run in reported["runs"].items():
        lines += ["", f"## {kind}{' ' if reported['options'] else ''}{reported['options']}: {run['verdict']}"]
        lines += _table(run)
        before, after = run["before"], run["after"]
        held = (
            f"{run['seconds']:.0f} s. The supervisor had {before['children']} children, {before['descriptors']} "
            f"descriptors and {before['rss'] / 1024:.1f} MB at the beginning, and {after['children']}, "
            f"{after['descriptors']} and {after['rss'] / 1024:.1f} MB at the end."
        )
        lines += ["", held, ""]
        lines += [
            f"{one['times']:,} {one['what']}: {one['before'] / 1024:.1f} MB before, {one['after'] / 1024:.1f} MB after.  "
            for one in run["kept"]
        ]
        listed = [fault for fault in run["faults"] if fault["what"] != KILLED]
        lines += [""] if listed else []
        lines += [
            f"- {fault['when']:.3f} s, {fault['activity']} (begun in: {fault['began_in']}): {fault['what']}, "
            f"{fault['client']}: {fault['detail']}"
            for fault in listed[:_LISTED]
        ]
        lines += [f"- and {len(listed) - _LISTED} more"] if len(listed) > _LISTED else []
    return "\n".join(lines)


def _run(results: Results) -> dict[str, Any]:
    ledger = results.ledger
    rows = {name: _row(ledger, name) for name in _ACTIVITIES if name in ledger.times}
    faults = sum(row[what] for row in rows.values() for what in FAULTS)
    answers = sum(row[ANSWERED] for row in rows.values())
    leaks = results.after.children > results.before.children
    grown = [one for one in results.kept if one.after - one.before > chaos_memory.LIMIT]
    verdict = f"{faults} faults in {answers + faults:,} requests" if faults else f"no fault in {answers:,} requests"
    return {
        "verdict": verdict + (", processes that stayed" if leaks else "") + (", memory that stayed" if grown else ""),
        "failed": bool(faults or leaks or grown),
        "seconds": results.seconds,
        "before": asdict(results.before),
        "after": asdict(results.after),
        "kept": [asdict(one) for one in results.kept],
        "activities": rows,
        "faults": [asdict(fault) for fault in ledger.faults],
    }


def _row(ledger: Ledger, name: str) -> dict[str, Any]:
    counts, waits = ledger.counts.get(name, {}), sorted(ledger.waits.get(name, []))
    return {
        "times": ledger.times[name],
        **{what: counts.get(what, 0) for what in (ANSWERED, PAGE, *FAULTS, KILLED)},
        "closed": ledger.closed.get(name, 0),
        "p50_ms": waits[len(waits) // 2] * 1000 if waits else 0.0,
        "p99_ms": waits[len(waits) * 99 // 100] * 1000 if waits else 0.0,
        "longest_ms": waits[-1] * 1000 if waits else 0.0,
    }


def _table(run: dict[str, Any]) -> list[str]:
    quantities = ("times", ANSWERED, PAGE, *FAULTS, KILLED, "closed")
    rows = [
        [
            name,
            *(f"{row[quantity]:,}" for quantity in quantities),
            *(f"{row[quantity]:,.0f}" for quantity in ("p50_ms", "p99_ms", "longest_ms")),
        ]
        for name, row in run["activities"].items()
    ]
    head = ["what went on", "times", "answers", "of these the page", REFUSED, LOST, CUT, WRONG, OVERLONG]
    head += ["with a killed worker", "kept, closed idle", "first byte ms: median", "p99", "longest"]
    return figures.table(head, rows)
