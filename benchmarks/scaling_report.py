"""What is told about a run of scaling.py: its samples, its ratios, its tables."""

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


def markdown(told: dict[str, Any]) -> str:
    """Return the run as tables for people."""
    rounds = max((len(rows) for case in told["cases"].values() for rows in case["samples"].values()), default=0)
    lines = [figures.headline(told, rounds)]
    for name, case in told["cases"].items():
        lines += ["", f"## {name}: {case['about']}", *_table(case), *_ratio_table(case["ratios"])]
    return "\n".join(lines)


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
    for label, told in case["entrants"].items():
        rate, cpu, p99, most = told["rate"], told["cpu"], told["p99"], told["most"]
        rows.append(
            [
                label,
                f"{rate['median']:,.0f}",
                f"{rate['q1']:,.0f} to {rate['q3']:,.0f}",
                f"{cpu['median']:.1f}",
                f"{cpu['q1']:.1f} to {cpu['q3']:.1f}",
                f"{told['busy']['median']:.2f}",
                f"{told['client']['median']:.2f}",
                f"{p99['median']:.1f}",
                f"{p99['q1']:.1f} to {p99['q3']:.1f}",
                f"{most['median']:.0%}",
                f"{most['low']:.0%} to {most['high']:.0%}",
                str(told["errors"]),
            ]
        )
    head = ["server, workers" if "asgi" in rows[0][0] or "wsgi" in rows[0][0] else "arun, 2 workers"]
    head += ["req/s: median", "quartiles", "CPU µs per request", "quartiles", "cores of the servers", "of the client"]
    head += ["p99 ms", "quartiles", "busiest worker", "min to max", "errors"]
    return figures.table(head, rows)


def _ratio_table(ratios: dict[str, Any]) -> list[str]:
    rows = []
    for pair, told in ratios.items():
        cells = [pair]
        for quantity in ("rate", "per_cpu", "p99"):
            spread = told[quantity]
            cells += [f"{spread['median']:.2f}", f"{spread['q1']:.2f} to {spread['q3']:.2f}"]
        rows.append(cells)
    head = ["ratio per round", "req/s", "quartiles", "by CPU time", "quartiles", "p99", "quartiles"]
    return figures.table(head, rows)
