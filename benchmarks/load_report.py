"""The report of a run of load.py: its samples, its wanted figures, its tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import environment
import figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cases import Case

__all__ = ("Held", "Results", "Sample", "markdown", "report")

_QUANTITIES = ("rate", "per_cpu", "cpu", "p99", "rss", "pss")


@dataclass(frozen=True, slots=True)
class Sample:
    """One burst.

    Answers per second by the clock on the wall, answers per second of the server's CPU time, that time in microseconds
    per answer, the 99th percentile of latency in ms, kB of the server's tree of processes afterwards, and failures:
    connections that broke, time-outs, statuses of 400 and more.
    """

    rate: float
    per_cpu: float
    cpu: float
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
    lines = [figures.headline(reported, rounds)]
    lines += figures.wanted_table(reported["wanted"], "by CPU time")
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
                for quantity in ("rate", "per_cpu", "p99", "rss")
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
    wanted = []
    for ours, theirs, limit in (
        ("arun asgi", "granian asgi", 1.15),
        ("arun asgi", "uvicorn asgi", 2.2),
        ("arun wsgi", "granian wsgi", 1.0),
        ("arun inline wsgi", "granian wsgi", 1.0),
        ("arun wsgi", "uwsgi wsgi", 3.0),
        ("arun inline wsgi", "uwsgi wsgi", 3.0),
        ("arun aiohttp", "aiohttp aiohttp", 1.0),
        ("arun aiohttp", "aiohttp uvloop aiohttp", 1.0),
    ):
        wanted.append(_speed("hello, req/s", "hello", ours, theirs, limit))
    for what, quantity, limit in (("hello, p99", "p99", 1.0), ("hello, RSS", "rss", 0.5)):
        for ours in ("arun asgi", "arun wsgi", "arun inline wsgi"):
            theirs = f"granian {ours.rpartition(' ')[2]}"
            claim, pair = f"{what}: {ours} / {theirs}", (f"hello: {ours}", f"hello: {theirs}")
            wanted.append(figures.Wanted(claim, *pair, quantity, limit))
    for case, condition in (("idle-10000", "10,000 idle"), ("access-log", "access log")):
        wanted += [
            _speed(f"{condition}, req/s", case, f"{arun}, {condition}", arun, 0.9)
            for arun in ("arun asgi", "arun wsgi", "arun inline wsgi", "arun aiohttp")
        ]
    return wanted


def _speed(what: str, case: str, ours: str, theirs: str, limit: float) -> figures.Wanted:
    pair = f"{case}: {ours}", f"{case}: {theirs}"
    return figures.Wanted(f"{what}: {ours} / {theirs}", *pair, "rate", limit, at_least=True, witness="per_cpu")


def _table(case: dict[str, Any]) -> list[str]:
    rows = []
    for label, reported in sorted(case["servers"].items(), key=lambda item: -item[1]["rate"]["median"]):
        rate, cpu, p99 = reported["rate"], reported["cpu"], reported["p99"]
        rows.append(
            [
                label,
                f"{rate['median']:,.0f}",
                f"{rate['q1']:,.0f} to {rate['q3']:,.0f}",
                f"{cpu['median']:.1f}",
                f"{cpu['q1']:.1f} to {cpu['q3']:.1f}",
                f"{p99['median']:.1f}",
                f"{reported['rss']['median'] / 1024:.1f}",
                f"{reported['pss']['median'] / 1024:.1f}",
                str(reported["errors"]),
            ]
        )
    head = ["server", "req/s: median", "quartiles", "CPU µs per request", "quartiles", "p99 ms", "RSS MB", "PSS MB"]
    return figures.table([*head, "errors"], rows)


def _ratio_table(ratios: dict[str, Any]) -> list[str]:
    rows = []
    for pair, reported in ratios.items():
        rate, cpu = reported["rate"], reported["per_cpu"]
        spreads = [f"{r['median']:.2f} | {r['q1']:.2f} to {r['q3']:.2f}".split(" | ") for r in (rate, cpu)]
        rows.append(
            [pair, *spreads[0], *spreads[1], f"{reported['p99']['median']:.2f}", f"{reported['rss']['median']:.2f}"]
        )
    return figures.table(["ratio per round", "req/s", "quartiles", "by CPU time", "quartiles", "p99", "RSS"], rows)


def _held_table(held: dict[str, Any]) -> list[str]:
    rows = [
        [label, f"{reported['rss'] / 1024:.2f}", f"{reported['pss'] / 1024:.2f}", str(reported["lost"])]
        for label, reported in held.items()
    ]
    return figures.table(
        ["idle connections", "kB of RSS each", "kB of PSS each", "closed by the server, opened anew"], rows
    )
