"""From samples to what is told: medians, ratios per round, the wanted figures, and the tables."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("Sample", "Spread", "markdown", "report", "write")

_PACKAGES = ("arun-server", "uvicorn", "granian", "gunicorn", "aiohttp", "uwsgi", "uvloop", "httptools")
_PAGE = "arun broken -> welcome page"


@dataclass(frozen=True, slots=True)
class Sample:
    """One instance: milliseconds from spawn to first byte, then kB of its tree of processes, and their number."""

    first_byte: float
    rss: float
    pss: float
    processes: int


@dataclass(frozen=True, slots=True)
class Spread:
    """How values lie: the smallest, the quartiles, the largest."""

    low: float
    q1: float
    median: float
    q3: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Sum up at least one value."""
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(min(values), q1, median, q3, max(values))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A figure to reach: the ratio of two cases per round, and the limit of its median."""

    claim: str
    case: str
    peer: str
    quantity: str
    limit: float


def report(taken: dict[str, list[Sample]], bin_: str) -> dict[str, Any]:
    """Return everything that is known about a run, as JSON-able values."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": {
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0],
        },
        "versions": _versions(bin_),
        "cases": {
            name: {
                "first_byte_ms": asdict(Spread.of([s.first_byte for s in samples])),
                "rss_kb": asdict(Spread.of([s.rss for s in samples])),
                "pss_kb": asdict(Spread.of([s.pss for s in samples])),
                "samples": [asdict(s) for s in samples],
            }
            for name, samples in taken.items()
        },
        "ratios": _ratios(taken),
        "wanted": [_judge(wanted, taken) for wanted in _wanted(taken)],
    }


def markdown(told: dict[str, Any]) -> str:
    """Return the run as tables for people."""
    machine, versions = told["machine"], told["versions"]
    rounds = max(len(case["samples"]) for case in told["cases"].values())
    lines = [
        f"{told['when']}, {rounds} rounds, {machine['cpus']} CPUs ({machine['architecture']}), kernel {machine['kernel']}, "
        f"load {machine['load']:.1f} at the end; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        "| case | first byte ms: median | quartiles | min to max | RSS MB | PSS MB | processes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, case in sorted(told["cases"].items(), key=lambda item: item[1]["first_byte_ms"]["median"]):
        ms = case["first_byte_ms"]
        lines.append(
            f"| {name.replace('||', '&#124;&#124;')} | {ms['median']:.0f} | {ms['q1']:.0f} to {ms['q3']:.0f} "
            f"| {ms['low']:.0f} to {ms['high']:.0f} | {case['rss_kb']['median'] / 1024:.1f} "
            f"| {case['pss_kb']['median'] / 1024:.1f} | {case['samples'][-1]['processes']} |"
        )
    if told["ratios"]:
        lines += ["", "| ratio per round, first byte | median | quartiles | min to max |", "|---|---|---|---|"]
    for name, ratio in told["ratios"].items():
        lines.append(
            f"| {name.replace('||', '&#124;&#124;')} | {ratio['median']:.2f} | {ratio['q1']:.2f} to {ratio['q3']:.2f} "
            f"| {ratio['low']:.2f} to {ratio['high']:.2f} |"
        )
    lines += ["", "| wanted | limit | measured | |", "|---|---|---|---|"]
    for item in told["wanted"]:
        measured = "-" if item["ratio"] is None else f"{item['ratio']['median']:.2f}"
        lines.append(
            f"| {item['claim'].replace('||', '&#124;&#124;')} | {item['limit']} | {measured} | {item['verdict']} |"
        )
    return "\n".join(lines)


def write(told: dict[str, Any], folder: str) -> None:
    """Write ``start.json`` and ``start.md`` into the folder."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "start.json"), "w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
        file.write("\n")
    with open(os.path.join(folder, "start.md"), "w", encoding="utf-8") as file:
        file.write(markdown(told) + "\n")


def _wanted(taken: dict[str, list[Sample]]) -> list[Wanted]:
    shells = [name for name in taken if name.startswith("shell:")]
    python = [name for name in shells if "uwsgi" not in name]
    best = min(python, key=lambda name: _median(taken[name]), default="no shell line")
    any_best = min(shells, key=lambda name: _median(taken[name]), default="no shell line")
    wanted = [
        Wanted("ASGI start / granian's", "arun asgi", "granian asgi", "first_byte", 0.65),
        Wanted(f"broken app to page / best shell line of a Python runner ({best})", _PAGE, best, "first_byte", 0.5),
        Wanted("RSS of an idle ASGI instance / uvicorn's", "arun asgi", "uvicorn asgi", "rss", 0.8),
    ]
    if any_best != best:
        claim = f"broken app to page / best shell line of all ({any_best})"
        wanted.insert(2, Wanted(claim, _PAGE, any_best, "first_byte", 0.5))
    return wanted


def _judge(wanted: Wanted, taken: dict[str, list[Sample]]) -> dict[str, Any]:
    told: dict[str, Any] = {**asdict(wanted), "ratio": None, "verdict": "not measured"}
    if taken.get(wanted.case) and taken.get(wanted.peer):
        ratio = _ratio(taken[wanted.case], taken[wanted.peer], wanted.quantity)
        told |= {"ratio": asdict(ratio), "verdict": "reached" if ratio.median <= wanted.limit else "missed"}
    return told


def _ratios(taken: dict[str, list[Sample]]) -> dict[str, Any]:
    """Compare arun with every peer that does the same thing, and its fallback with every shell line."""
    pairs = []
    for ours in (name for name in taken if name.startswith("arun ")):
        kind = ours.removeprefix("arun ")
        pairs += [(ours, name) for name in taken if name != ours and name.partition(" ")[2] == kind]
    if _PAGE in taken:
        pairs += [(_PAGE, name) for name in taken if name.startswith("shell:")]
    return {f"{ours} / {name}": asdict(_ratio(taken[ours], taken[name], "first_byte")) for ours, name in pairs}


def _ratio(ours: list[Sample], theirs: list[Sample], quantity: str) -> Spread:
    pairs = zip(ours, theirs, strict=True)
    return Spread.of([getattr(our, quantity) / getattr(their, quantity) for our, their in pairs])


def _median(samples: list[Sample]) -> float:
    return statistics.median(s.first_byte for s in samples)


def _versions(bin_: str) -> dict[str, str]:
    """Ask the interpreter that runs the servers, not the one that runs this."""
    code = (
        "import json, platform, sys\nfrom importlib import metadata\nfound = {'python': platform.python_version()}\n"
        "for name in sys.argv[1:]:\n    try: found[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    command = [os.path.join(bin_, "python"), "-c", code, *_PACKAGES]
    versions: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return versions
