"""The ceiling holds: a rise of more than 3 % fails and says what to do, a fall is told, comments survive new figures."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Import = Callable[[str], Any]

CEILINGS = Path(__file__).parents[2] / "benchmarks" / "ceilings.toml"


@pytest.mark.parametrize(
    ("instructions", "said", "holds"),
    [(1029, "holds", True), (1031, "ABOVE", False), (971, "holds", True), (969, "below", True)],
)
def test_three_per_cent_more_fail_and_three_less_are_told(
    module: Import, instructions: float, said: str, *, holds: bool
) -> None:
    ceiling = module("ceiling")
    lines, whole = ceiling.judge([ceiling.Counted("pure", "asgi", 1000, instructions)])
    assert (lines[0].split()[0], whole) == (said, holds)


def test_a_rise_names_its_case_its_figures_and_what_to_do(module: Import) -> None:
    ceiling = module("ceiling")
    counted = ceiling.Counted("compiled", "asgi --head browser", 40_000, 44_000.4)
    (line,), holds = ceiling.judge([counted])
    assert not holds
    assert "compiled asgi --head browser: was 40,000, is 44,000 instructions per request (+10.0%)" in line
    assert "valgrind --tool=callgrind" in line
    assert "--write" in line


def test_one_rise_among_many_fails_all(module: Import) -> None:
    ceiling = module("ceiling")
    lines, holds = ceiling.judge(ceiling.Counted("pure", "asgi", 1000, n) for n in (1000, 2000, 900))
    assert not holds
    assert len(lines) == 3


def test_a_case_without_a_figure_fails(module: Import) -> None:
    ceiling = module("ceiling")
    lines, holds = ceiling.judge([ceiling.Counted("pure", "asgi", 0, 1000)])
    assert not holds
    assert "--write" in lines[0]


def test_a_case_that_cannot_be_counted_fails_and_keeps_its_figure(module: Import) -> None:
    ceiling = module("ceiling")
    counted = [ceiling.Counted("pure", "asgi", 1000, 0.0, "it hangs"), ceiling.Counted("pure", "wsgi", 1000, 999.0)]
    lines, holds = ceiling.judge(counted)
    assert not holds
    assert lines[0] == "FAILED     pure     asgi: it hangs"
    text = '[pure]\n"asgi" = 1_000\n"wsgi" = 1_000\n'
    assert ceiling.rewritten(text, {}, counted) == '[pure]\n"asgi" = 1_000\n"wsgi" = 999\n'


def test_another_interpreter_is_told(module: Import) -> None:
    different = module("ceiling").differences
    assert not different({"python": "3.11.2"}, {"python": "3.11.2"})
    assert different({"python": "3.11.2", "gcc": "12"}, {"python": "3.13.0", "gcc": "12"}) == [
        "python: the figures are of '3.11.2', this is '3.13.0'"
    ]


def test_new_figures_leave_comments_and_what_was_not_counted(module: Import) -> None:
    ceiling = module("ceiling")
    text = (
        '# Why.\n[machine]\npython = "3.10"\n\n[pure]\n# 2026-11-30: more checks.\n"asgi --case json" = 1\n"asgi" = 70_000\n'
        '\n[compiled]\n"asgi --case json" = 2\n'
    )
    counted = [ceiling.Counted("pure", "asgi --case json", 1, 81_234.6)]
    assert ceiling.rewritten(text, {"python": '3.11.2 "x"'}, counted) == (
        '# Why.\n[machine]\npython = "3.11.2 \\"x\\""\n\n[pure]\n# 2026-11-30: more checks.\n"asgi --case json" = 81_235\n'
        '"asgi" = 70_000\n\n[compiled]\n"asgi --case json" = 2\n'
    )


def test_every_ceiling_is_a_command_line_of_cost_and_both_builds_have_the_same(module: Import) -> None:
    committed = tomllib.loads(CEILINGS.read_text())
    assert list(committed["pure"]) == list(committed["compiled"])
    assert all(committed["machine"].values())
    arguments = module("cost").arguments
    for case, ceiling in (committed["pure"] | committed["compiled"]).items():
        assert arguments(case.split()).kind
        assert ceiling > 0
