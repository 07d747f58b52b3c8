"""The report of a run of scaling.py: its samples, its ratios, its tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import environment
import figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("EACH", "SHARED", "Sample", "markdown", "report")

SHARED, EACH = "shared listener", "listener per worker"
_QUANTITIES = ("rate", "cpu", "busy", "client", "p99", "most")
#: What must be known to read the tables.
_ABOUT = (
    "The client runs on the cores of the servers and takes its part of them: two workers cannot be twice as fast as one "
    "here, and what the client takes stands beside it. Trust the ratios by CPU time more than those by the clock."
)
#: How much faster a listener per worker would have to be where all is well, to be worth what it does where it is not.
_WORTH, _LOST = 1.2, 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One burst.

    Answers per second by the clock on the wall, microseconds of the servers' CPU time per answer, cores that servers and
    client kept busy, the 99th percentile of latency in ms, the share of the busiest worker in the requests, failures.
    """

    rate: float
    cpu: float
    busy: float
    client: float
    p99: float
    most: float
    errors: int

    @property
    def per_cpu(self) -> float:
        """Answers per second of the servers' CPU time."""
        return 1e6 / self.cpu


def report(taken: dict[tuple[str, str], dict[str, list[Sample]]], bin_: str) -> dict[str, Any]:
    """Return everything that is known about a run, as JSON-able values."""
    return {
        **environment.circumstances(bin_),
        "cases": {name: {"about": about, **_case(samples)} for (name, about), samples in taken.items()},
    }


def markdown(reported: dict[str, Any]) -> str:
    """Return the run as tables for people."""
    rounds = max((len(rows) for case in reported["cases"].values() for rows in case["samples"].values()), default=0)
    lines = [figures.headline(reported, rounds), "", _ABOUT, *_recommended(reported["cases"])]
    for name, case in reported["cases"].items():
        lines += ["", f"## {name}: {case['about']}", *_table(case), *_ratio_table(case["ratios"])]
    return "\n".join(lines)


def _recommended(cases: dict[str, Any]) -> list[str]:
    """Return what the figures say about the default; nothing where one of the cases is missing."""
    needed = ("kept-64", "kept-8", "short", "blocked")
    if not all(name in cases for name in needed):
        return []
    ratios = {name: cases[name]["ratios"][f"{SHARED} / {EACH}"] for name in needed}
    rates = {name: ratio["rate"]["median"] for name, ratio in ratios.items()}
    most = {
        (name, label): cases[name]["entrants"][label]["most"]
        for name in ("kept-64", "kept-8")
        for label in (SHARED, EACH)
    }
    gain = max(1 / rates["short"], 1 / rates["kept-64"])
    shared = rates["blocked"] >= _LOST or gain < _WORTH
    spread = "; ".join(
        f"{label} in {name}, {reported['median']:.0%} ({reported['low']:.0%} to {reported['high']:.0%})"
        for (name, label), reported in most.items()
    )
    verdict = (
        f"**What the figures recommend as the default: {'one shared listener' if shared else 'a listener per worker'}.** "
        "A shared listener answers, by the clock, so many requests for each that listeners per worker answer: "
        f"{rates['short']:.2f} on short connections, {rates['kept-64']:.2f} on 64 kept ones, {rates['kept-8']:.2f} on 8, "
        f"and {rates['blocked']:.1f} (with {ratios['blocked']['p99']['median']:.2f} of the p99) while one worker is held "
        "up, for the kernel gives a listener of its own its share of the new connections whether its worker takes them or "
        "not. What waits there when its worker dies is reset; what waits at a shared one is not (chaos.md)."
    )
    weakness = (
        "The weak side of the shared one is how kept connections are spread that are opened in one moment, as who wakes "
        f"first takes all that wait (two workers: 50% is even): the busiest worker had: {spread}. A hash spreads those "
        "of listeners per worker."
    )
    return ["", verdict, "", weakness]


def _case(samples: dict[str, list[Sample]]) -> dict[str, Any]:
    return {
        "entrants": {
            label: {quantity: figures.spread_of(rows, quantity) for quantity in _QUANTITIES}
            | {"errors": sum(sample.errors for sample in rows)}
            for label, rows in samples.items()
        },
        "ratios": {
            f"{ours} / {theirs}": {
                quantity: asdict(figures.ratio(samples[ours], samples[theirs], quantity))
                for quantity in ("rate", "per_cpu", "p99")
            }
            for ours, theirs in _pairs(list(samples))
        },
        "samples": {label: [asdict(sample) for sample in rows] for label, rows in samples.items()},
    }


def _pairs(labels: list[str]) -> list[tuple[str, str]]:
    """Pair two workers with one, arun with its peers of as many; or the listeners, and each of them bound to cores or not."""
    two = [label for label in labels if label.endswith(", 2")]
    pairs = [(label, f"{label[:-1]}1") for label in two]
    pairs += [(ours, label) for ours in two if ours.startswith("arun ") for label in two if label != ours]
    pairs += [(label, label.replace(SHARED, EACH)) for label in labels if label.startswith(SHARED)]
    return pairs + [(label, label.partition(", ")[0]) for label in labels if label.endswith(", bound")]


def _table(case: dict[str, Any]) -> list[str]:
    rows = []
    for label, reported in case["entrants"].items():
        rate, cpu, p99, most = reported["rate"], reported["cpu"], reported["p99"], reported["most"]
        rows.append(
            [
                label,
                f"{rate['median']:,.0f}",
                f"{rate['q1']:,.0f} to {rate['q3']:,.0f}",
                f"{cpu['median']:.1f}",
                f"{cpu['q1']:.1f} to {cpu['q3']:.1f}",
                f"{reported['busy']['median']:.2f}",
                f"{reported['client']['median']:.2f}",
                f"{p99['median']:.1f}",
                f"{p99['q1']:.1f} to {p99['q3']:.1f}",
                f"{most['median']:.0%}",
                f"{most['low']:.0%} to {most['high']:.0%}",
                str(reported["errors"]),
            ]
        )
    head = ["server, workers" if "asgi" in rows[0][0] or "wsgi" in rows[0][0] else "arun, 2 workers"]
    head += ["req/s: median", "quartiles", "CPU µs per request", "quartiles", "cores of the servers", "of the client"]
    head += ["p99 ms", "quartiles", "busiest worker", "min to max", "errors"]
    return figures.table(head, rows)


def _ratio_table(ratios: dict[str, Any]) -> list[str]:
    rows = []
    for pair, reported in ratios.items():
        cells = [pair]
        for quantity in ("rate", "per_cpu", "p99"):
            spread = reported[quantity]
            cells += [f"{spread['median']:.2f}", f"{spread['q1']:.2f} to {spread['q3']:.2f}"]
        rows.append(cells)
    head = ["ratio per round", "req/s", "quartiles", "by CPU time", "quartiles", "p99", "quartiles"]
    return figures.table(head, rows)
