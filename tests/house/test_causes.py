"""The table of causes: each identifier once, each cause raised by the runner and provoked by a test of the whole command."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from arun.core import failures
from arun.core.failures import CAUSES, STAGES, Cause

TESTS = Path(__file__).parents[1]
RAISED = {
    node.args[0].id
    for path in (TESTS.parent / "runner").rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "StartupFailure"
    if node.args and isinstance(node.args[0], ast.Name)
}
#: Identifiers in what the tests of the whole command compare its output with.
EXPECTED = {
    word
    for path in (TESTS / "process").rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if not isinstance(node, ast.Expr)  # a docstring proves nothing
    for part in ast.iter_child_nodes(node)
    if isinstance(part, ast.Constant) and isinstance(part.value, str)
    for word in re.findall(r"[a-z]+(?:-[a-z]+)+", part.value)
}


def test_no_two_causes_have_one_identifier() -> None:
    rows = [value for value in vars(failures).values() if isinstance(value, Cause)]
    assert len(rows) == len({cause.identifier for cause in rows}) == len(CAUSES)


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
def test_a_cause_is_raised_under_the_name_of_its_identifier_and_provoked_by_a_test(cause: Cause) -> None:
    name = cause.identifier.replace("-", "_").upper()
    assert getattr(failures, name) is cause
    assert cause.stage in STAGES
    assert name in RAISED
    assert cause.identifier in EXPECTED
