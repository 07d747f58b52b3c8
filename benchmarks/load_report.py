"""The report of a run of load.py: its samples, its wanted figures, its tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import environment
import figures
from servers import SERVERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cases import Case

__all__ = ("Held", "Results", "Sample", "markdown", "report")

_QUANTITIES = ("rate", "per_cpu", "cpu", "p50", "p99", "rss", "pss")
#: What must be known to read the tables.
_ABOUT = (
    "All servers run on the same interpreter, one process of each (two where it says so) on one core, their client on the "
    "other. **CPU time** is that of all the server's processes per request, in user and system together: it does not count what "
    "a neighbour or the client took, so its order is the one to trust. **Requests per second** by the clock stand beside it: "
    "they also measure how well server and client overlap. Memory is the PSS of the tree of processes."
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One burst.

    Answers per second by the clock on the wall, answers per second of the server's CPU time, that time in microseconds
    per answer, the median and the 99th percentile of latency in ms, kB of the server's tree of processes afterwards, and failures:
    connections that broke, time-outs, statuses of 400 and more.
    """

    rate: float
    per_cpu: float
    cpu: float
    p50: float
    p99: float
    rss: float
    pss: float
    errors: int


@dataclass(frozen=True, slots=True)
class Held:
    """What idle connections cost a server: bytes of RSS and PSS for each, and how many of them it closed."""

    connections: int
    rss: float
    pss: float
    lost: int


@dataclass(frozen=True, slots=True)
class Results:
    """What a case gave, by the label of who took part; ``left_out`` says why others did not."""

    samples: dict[str, list[Sample]]
    held: dict[str, Held]
    left_out: dict[str, str]


def report(taken: dict[Case, Results], bin_: str) -> dict[str, Any]:
    """Return everything that is known about a run, as JSON-able values."""
    flat = {f"{case.name}: {label}": s for case, found in taken.items() for label, s in found.samples.items()}
    return {
        **environment.circumstances(bin_),
        "cases": {case.name: _case(case, results) for case, results in taken.items()},
        "wanted": [figures.judge(wanted, flat) for wanted in _wanted()],
    }


def markdown(reported: dict[str, Any]) -> str:
    """Return the run as tables for people."""
    rounds = max((len(s["rate"]) for case in reported["cases"].values() for s in case["samples"].values()), default=0)
    lines = [figures.headline(reported, rounds), "", _ABOUT, *_places(reported["cases"])]
    lines += ["", "## What was wanted"]
    lines += figures.wanted_table(reported["wanted"], "the other of req/s and CPU time")
    for name, case in reported["cases"].items():
        lines += ["", f"## {name}: {case['about']}"]
        lines += _table(case) if case["servers"] else []
        lines += _ratio_table(case["ratios"]) if case["ratios"] else []
        lines += _held_table(case["held"]) if case["held"] else []
        if case["left_out"]:
            lines += ["", *(f"- {label} is left out: {why}" for label, why in case["left_out"].items())]
    return "\n".join(lines)


def _case(case: Case, results: Results) -> dict[str, Any]:
    samples = results.samples
    return {
        "about": case.about,
        "servers": {
            label: {quantity: figures.spread_of(rows, quantity) for quantity in _QUANTITIES}
            | {"errors": sum(sample.errors for sample in rows)}
            for label, rows in samples.items()
        },
        "ratios": {
            f"{ours} / {theirs}": {
                quantity: asdict(figures.ratio(samples[ours], samples[theirs], quantity))
                for quantity in ("rate", "per_cpu", "p99", "pss")
            }
            for ours, theirs in _pairs(list(samples))
        },
        "held": {label: asdict(held) for label, held in results.held.items()},
        "left_out": results.left_out,
        "samples": {label: _columns(rows) for label, rows in samples.items()},
    }


def _columns(rows: list[Sample]) -> dict[str, list[float]]:
    """Return the samples by quantity, to five digits: that many are meant, and the file stays small."""
    return {name: [float(f"{getattr(row, name):.5g}") for row in rows] for name in (*_QUANTITIES, "errors")}


def _pairs(labels: list[str]) -> list[tuple[str, str]]:
    """Pair each arun with its peers of the same kind and condition, and everybody with itself without the condition."""
    pairs = []
    for ours in (label for label in labels if label.startswith("arun ")):
        server, _, condition = ours.partition(", ")
        kind = server.rpartition(" ")[2]
        for label in labels:
            peer, _, its = label.partition(", ")
            if not label.startswith("arun ") and peer.rpartition(" ")[2] == kind and its == condition:
                pairs.append((ours, label))
    conditions = [label for label in labels if ", " in label and label.partition(", ")[0] in labels]
    return pairs + [(label, label.partition(", ")[0]) for label in conditions]


def _wanted() -> list[figures.Wanted]:
    """Return the ratios that issue 14 asks for: requests per CPU second of the first to those of the second."""
    of_two = "2 workers"
    speeds = (
        ("hello", "arun asgi", "h2corn asgi", 1.11),
        ("hello", "arun asgi", "uvicorn asgi", 2.2),
        ("browser", "arun asgi", "uvicorn asgi", 2.0),
        ("hello", "arun pure asgi", "uvicorn asgi", 1.55),
        ("hello", "arun wsgi", "granian wsgi", 1.3),
        ("hello", "arun inline wsgi", "granian wsgi", 1.4),
        ("hello", "arun aiohttp", "aiohttp uvloop aiohttp", 1.05),
        ("browser", "arun aiohttp", "aiohttp uvloop aiohttp", 1.05),
        ("echo", "arun wsgi", "uwsgi wsgi", 0.8),
        ("stream", "arun asgi", "uvicorn asgi", 1.0),
        ("stream", "arun asgi", "granian asgi", 1.0),
        ("stream", "arun asgi", "h2corn asgi", 1.0),
        ("websocket", "arun asgi", "uvicorn asgi", 1.8),
        # Twice the cores, each request at 1.05 times the cost: 1.9 times the requests.
        ("workers", f"arun asgi, {of_two}", "arun asgi", 0.95),
        ("workers", f"arun asgi, {of_two}", f"granian asgi, {of_two}", 1.3),
        ("workers", f"arun wsgi, {of_two}", f"granian wsgi, {of_two}", 1.3),
    )
    logs = [(f"arun {kind}, access log", f"arun {kind}") for kind in ("asgi", "wsgi", "aiohttp")]
    return [
        *(
            _wants("by CPU time", f"{case}: {ours}", f"{case}: {theirs}", limit, ("per_cpu", "rate"))
            for case, ours, theirs, limit in speeds
        ),
        *(
            _wants("req/s", f"access-log: {ours}", f"access-log: {theirs}", 0.9, ("rate", "per_cpu"))
            for ours, theirs in logs
        ),
    ]


def _wants(by: str, ours: str, theirs: str, limit: float, quantities: tuple[str, str]) -> figures.Wanted:
    case, _, peer = theirs.partition(": ")
    claim = f"{case}, {by}: {ours.partition(': ')[2]} / {peer}"
    return figures.Wanted(claim, ours, theirs, quantities[0], limit, at_least=True, witness=quantities[1])


def _places(cases: dict[str, Any]) -> list[str]:
    """Return the table that says where arun is first, and where it is not and why; the last answers by kind of app."""
    first, behind = [], []
    for name, case in cases.items():
        if name == "access-log":
            continue  # arun beside itself
        for ours in (label for label in case["servers"] if _is_ours(label, name)):
            peers = [label for label in case["servers"] if _is_peer(ours, label)]
            if peers:
                row, ahead = _place(case["servers"], ours, peers)
                (behind if ahead else first).append([f"{name}: {case['about']}", *row])
    head = ["", "arun", "CPU µs", "best other", "its CPU µs", "times as many requests per CPU second", "by the clock"]
    lines = ["", f"## Where arun is first: {len(first)} of {len(first) + len(behind)}", *figures.table(head, first)]
    lines += ["", "## Where it is not, and why"]
    return lines + (
        figures.table([*head, "who is ahead, and what one should know of it"], behind) if behind else ["", "-"]
    )


def _is_ours(label: str, case: str) -> bool:
    """Say whether a row is arun as one installs it, or inline; of a case with a condition, the row that has it."""
    server, _, condition = label.partition(", ")
    return server.partition(" ")[0] == "arun" and " pure " not in server and bool(condition) == (case in _CONDITIONED)


_CONDITIONED = ("workers", "idle")


def _is_peer(ours: str, label: str) -> bool:
    server, _, condition = label.partition(", ")
    mine, _, my_condition = ours.partition(", ")
    same = server.rpartition(" ")[2] == mine.rpartition(" ")[2] and condition == my_condition
    return same and not server.startswith("arun")


def _place(servers: dict[str, Any], ours: str, peers: list[str]) -> tuple[list[str], list[str]]:
    """Return the cells of a row, and who is ahead by CPU time."""

    def cpu(label: str) -> float:
        return float(servers[label]["cpu"]["median"])

    def rate(label: str) -> float:
        return float(servers[label]["rate"]["median"])

    best = min(peers, key=cpu)
    fastest = max(peers, key=rate)
    ahead = sorted((label for label in peers if cpu(label) < cpu(ours)), key=cpu)
    clock = f"{rate(ours) / rate(fastest):.2f} x {fastest} ({rate(ours):,.0f} req/s)"
    row = [ours, f"{cpu(ours):.1f}", best, f"{cpu(best):.1f}", f"**{cpu(best) / cpu(ours):.2f}**", clock]
    notes = {s.label: s.about for s in SERVERS}
    told = "; ".join(f"{label} ({notes.get(label.partition(', ')[0], '')})" for label in ahead)
    return ([*row, told] if ahead else row), ahead


def _table(case: dict[str, Any]) -> list[str]:
    rows = []
    for label, reported in sorted(case["servers"].items(), key=lambda item: item[1]["cpu"]["median"]):
        rate, cpu = reported["rate"], reported["cpu"]
        rows.append(
            [
                label,
                f"{cpu['median']:.1f}",
                f"{cpu['q1']:.1f} to {cpu['q3']:.1f}",
                f"{rate['median']:,.0f}",
                f"{rate['q1']:,.0f} to {rate['q3']:,.0f}",
                f"{reported['p50']['median']:.2f}",
                f"{reported['p99']['median']:.2f}",
                f"{reported['pss']['median'] / 1024:.1f}",
                str(reported["errors"]),
            ]
        )
    head = ["server", "CPU µs per request", "quartiles", "req/s: median", "quartiles", "p50 ms", "p99 ms", "PSS MB"]
    return figures.table([*head, "errors"], rows)


def _ratio_table(ratios: dict[str, Any]) -> list[str]:
    rows = []
    for pair, reported in ratios.items():
        rate, cpu = reported["rate"], reported["per_cpu"]
        spreads = [f"{r['median']:.2f} | {r['q1']:.2f} to {r['q3']:.2f}".split(" | ") for r in (cpu, rate)]
        rows.append(
            [pair, *spreads[0], *spreads[1], f"{reported['p99']['median']:.2f}", f"{reported['pss']['median']:.2f}"]
        )
    return figures.table(["ratio per round", "by CPU time", "quartiles", "req/s", "quartiles", "p99", "PSS"], rows)


def _held_table(held: dict[str, Any]) -> list[str]:
    rows = [
        [label, f"{reported['rss'] / 1024:.2f}", f"{reported['pss'] / 1024:.2f}", str(reported["lost"])]
        for label, reported in held.items()
    ]
    return figures.table(
        ["idle connections", "kB of RSS each", "kB of PSS each", "closed by the server, opened anew"], rows
    )
