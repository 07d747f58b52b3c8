"""What is reported about a run of start.py: its samples, its wanted figures, its tables."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass

import environment
import figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("Sample", "markdown", "report")

#: kB that the compiled build may take more than what was before it.
_MORE = 2048
_PAGE = "arun broken -> welcome page"


@dataclass(frozen=True, slots=True)
class Sample:
    """One instance: milliseconds from spawn to first byte, then kB of its tree of processes, and their number."""

    first_byte: float
    rss: float
    pss: float
    processes: int


def report(taken: dict[str, list[Sample]], bin_: str) -> dict[str, Any]:
    """Return everything that is known about a run, as JSON-able values."""
    return {
        **environment.circumstances(bin_),
        "cases": {
            name: {
                "first_byte_ms": figures.spread_of(samples, "first_byte"),
                "rss_kb": figures.spread_of(samples, "rss"),
                "pss_kb": figures.spread_of(samples, "pss"),
                "samples": [asdict(s) for s in samples],
            }
            for name, samples in taken.items()
        },
        "ratios": _ratios(taken),
        "wanted": [figures.judge(wanted, taken) for wanted in _wanted(taken)],
    }


def markdown(reported: dict[str, Any]) -> str:
    """Return the run as tables for people."""
    lines = [figures.headline(reported, max(len(case["samples"]) for case in reported["cases"].values()))]
    rows = []
    for name, case in sorted(reported["cases"].items(), key=lambda item: item[1]["first_byte_ms"]["median"]):
        ms = case["first_byte_ms"]
        times = [f"{ms['median']:.0f}", f"{ms['q1']:.0f} to {ms['q3']:.0f}", f"{ms['low']:.0f} to {ms['high']:.0f}"]
        sizes = [f"{case[quantity]['median'] / 1024:.1f}" for quantity in ("rss_kb", "pss_kb")]
        rows.append([name, *times, *sizes, str(case["samples"][-1]["processes"])])
    head = ["case", "first byte ms: median", "quartiles", "min to max", "RSS MB", "PSS MB", "processes"]
    lines += figures.table(head, rows)
    if reported["ratios"]:
        spreads = [
            [name, f"{r['median']:.2f}", f"{r['q1']:.2f} to {r['q3']:.2f}", f"{r['low']:.2f} to {r['high']:.2f}"]
            for name, r in reported["ratios"].items()
        ]
        lines += figures.table(["ratio per round, first byte", "median", "quartiles", "min to max"], spreads)
    return "\n".join(lines + (figures.wanted_table(reported["wanted"]) if reported["wanted"] else []))


def _wanted(taken: dict[str, list[Sample]]) -> list[figures.Wanted]:
    shells = [name for name in taken if name.startswith("shell:")]
    python = [name for name in shells if "uwsgi" not in name]
    best = min(python, key=lambda name: _median(taken[name]), default="no shell line")
    any_best = min(shells, key=lambda name: _median(taken[name]), default="no shell line")
    claim = f"broken app to page / best shell line of a Python runner ({best})"
    wanted = [
        figures.Wanted("ASGI start / granian's", "arun asgi", "granian asgi", "first_byte", 0.65),
        figures.Wanted(claim, _PAGE, best, "first_byte", 0.5),
        figures.Wanted("RSS of an idle ASGI instance / uvicorn's", "arun asgi", "uvicorn asgi", "rss", 0.8),
    ]
    for what in ("asgi", "wsgi", "aiohttp", "page"):
        ours, before = f"build compiled: {what}", f"build before: {what}"
        if before in taken:
            more = 1 + _MORE / statistics.median(s.rss for s in taken[before])
            wanted.append(figures.Wanted(f"{ours} / {before}", ours, before, "first_byte", 1.03))
            wanted.append(figures.Wanted(f"{ours} / {before}, RSS (2 MB more)", ours, before, "rss", round(more, 3)))
    if any_best != best:
        claim = f"broken app to page / best shell line of all ({any_best})"
        wanted.insert(2, figures.Wanted(claim, _PAGE, any_best, "first_byte", 0.5))
    return [one for one in wanted if one.case in taken]


def _ratios(taken: dict[str, list[Sample]]) -> dict[str, Any]:
    """Compare arun with every peer that does the same thing, and its fallback with every shell line."""
    pairs = []
    for ours in (name for name in taken if name.startswith("arun ")):
        kind = ours.removeprefix("arun ")
        pairs += [(ours, name) for name in taken if name != ours and name.partition(" ")[2] == kind]
    builds = [name for name in taken if name.startswith("build ")]
    for ours in (name for name in builds if not name.startswith("build before")):
        before = f"build before: {ours.partition(': ')[2]}"
        pairs += [(ours, before)] if before in taken else []
    if _PAGE in taken:
        pairs += [(_PAGE, name) for name in taken if name.startswith("shell:")]
    return {f"{ours} / {name}": asdict(figures.ratio(taken[ours], taken[name], "first_byte")) for ours, name in pairs}


def _median(samples: list[Sample]) -> float:
    return statistics.median(s.first_byte for s in samples)
