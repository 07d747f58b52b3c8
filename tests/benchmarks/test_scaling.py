"""What scaling.py tells is what was measured: pairs, the spread over workers, and what follows for the default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Import = Callable[[str], Any]

NEEDED = ("kept-64", "kept-8", "short", "blocked")


def told(module: Import, **ratios: float) -> str:
    """Report in which a listener per worker answers 100 requests per second, and a shared one so many times as many."""
    report = module("scaling_report")

    def sample(rate: float) -> Any:
        return report.Sample(rate, cpu=10.0, busy=0.5, client=0.3, p99=2.0, most=0.6, errors=0)

    taken = {
        (name, "asked"): {report.SHARED: [sample(100 * ratios.get(name, 1.0))], report.EACH: [sample(100.0)]}
        for name in NEEDED
    }
    text: str = report.markdown(
        {
            "when": "today",
            "machine": {"cpus": 2, "architecture": "x", "kernel": "k", "load": 0.5},
            "versions": {"arun-server": "1"},
            "cases": {name: {"about": about, **report._case(samples)} for (name, about), samples in taken.items()},
        }
    )
    return text


@pytest.mark.parametrize(
    ("ratios", "recommended"),
    [
        ({}, "one shared listener"),
        ({"short": 0.5}, "a listener per worker"),
        ({"short": 0.5, "blocked": 10.0}, "one shared listener"),
    ],
)
def test_what_is_recommended_follows_from_the_figures(
    module: Import, ratios: dict[str, float], recommended: str
) -> None:
    assert f"as the default: {recommended}.**" in told(module, **ratios)


def test_the_table_tells_how_requests_were_spread(module: Import) -> None:
    assert "| 2.0 | 2.0 to 2.0 | 60% | 60% to 60% | 0 |" in told(module)


def test_two_workers_are_compared_with_one_and_with_two_of_the_peers(module: Import) -> None:
    labels = ["arun asgi, 1", "arun asgi, 2", "granian asgi, 1", "granian asgi, 2"]
    assert set(module("scaling_report")._pairs(labels)) == {
        ("arun asgi, 2", "arun asgi, 1"),
        ("granian asgi, 2", "granian asgi, 1"),
        ("arun asgi, 2", "granian asgi, 2"),
    }


def test_each_way_to_listen_is_compared_with_the_other_and_with_itself_unbound(module: Import) -> None:
    report = module("scaling_report")
    shared, each = report.SHARED, report.EACH
    assert set(report._pairs([shared, each, f"{shared}, bound", f"{each}, bound"])) == {
        (shared, each),
        (f"{shared}, bound", f"{each}, bound"),
        (f"{shared}, bound", shared),
        (f"{each}, bound", each),
    }
