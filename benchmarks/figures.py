"""From samples to a report: spreads, ratios per round, wanted figures, and the tables and files of a report."""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import asdict, dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

__all__ = ("Spread", "Wanted", "headline", "judge", "ratio", "spread_of", "table", "wanted_table", "write")


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
    """A figure to reach: the ratio of two cases per round, and the limit of its median.

    ``witness`` names a second quantity whose ratio stands beside the first without a say in the verdict.
    """

    claim: str
    case: str
    peer: str
    quantity: str
    limit: float
    at_least: bool = False
    witness: str = ""


def spread_of(samples: Iterable[Any], quantity: str) -> dict[str, float]:
    """Sum up one quantity of at least one sample."""
    return asdict(Spread.of([getattr(sample, quantity) for sample in samples]))


def ratio(ours: Sequence[Any], theirs: Sequence[Any], quantity: str) -> Spread:
    """Divide two rows of samples round by round, because neighbours of a round saw the same machine."""
    pairs = zip(ours, theirs, strict=True)
    return Spread.of([getattr(our, quantity) / getattr(their, quantity) for our, their in pairs])


def judge(wanted: Wanted, taken: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Say whether a wanted figure is reached, missed, or was not measured."""
    reported: dict[str, Any] = {**asdict(wanted), "ratio": None, "witnessed": None, "verdict": "not measured"}
    ours, theirs = taken.get(wanted.case), taken.get(wanted.peer)
    if ours and theirs:
        measured = ratio(ours, theirs, wanted.quantity)
        reached = measured.median >= wanted.limit if wanted.at_least else measured.median <= wanted.limit
        reported |= {"ratio": asdict(measured), "verdict": "reached" if reached else "missed"}
        if wanted.witness:
            reported["witnessed"] = asdict(ratio(ours, theirs, wanted.witness))
    return reported


def headline(reported: dict[str, Any], rounds: int) -> str:
    """Return when, where and with what a run was made, as one line."""
    machine = reported["machine"]
    return (
        f"{reported['when']}, {rounds} rounds, {machine['cpus']} CPUs ({machine['architecture']}), "
        f"kernel {machine['kernel']}, load {machine['load']:.1f} at the end; "
        + ", ".join(f"{name} {version}" for name, version in reported["versions"].items())
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown, with an empty one before it; a bar in a cell stays a bar."""
    lines = ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(cell.replace("|", "&#124;") for cell in row) + " |" for row in rows]


def wanted_table(judged: Iterable[dict[str, Any]], witness: str = "") -> list[str]:
    """Return the lines of the table of wanted figures; ``witness`` heads a column for the second quantity."""
    head = ["wanted", "limit", "measured", "quartiles", *([witness] if witness else []), ""]
    rows = []
    for item in judged:
        measured, witnessed = item["ratio"], item["witnessed"]
        row = [item["claim"], f"{'>=' if item['at_least'] else '<='} {item['limit']}"]
        row += (
            [f"{measured['median']:.2f}", f"{measured['q1']:.2f} to {measured['q3']:.2f}"] if measured else ["-", "-"]
        )
        row += [f"{witnessed['median']:.2f}" if witnessed else "-"] if witness else []
        rows.append([*row, item["verdict"]])
    return table(head, rows)


def write(reported: dict[str, Any], text: str, folder: str, name: str) -> None:
    """Write ``name.json`` and ``name.md`` into the folder."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"{name}.json"), "w", encoding="utf-8") as file:
        json.dump(reported, file, indent=1)
        file.write("\n")
    with open(os.path.join(folder, f"{name}.md"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
