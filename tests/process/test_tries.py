"""What tries of the first start find while its fallback serves: a new cause is told and recorded once, the same one counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until
from tests.process.recovering import BROKEN, good, started
from tests.process.test_why import events, why

if TYPE_CHECKING:
    from tests.conftest import Starter

OFTEN = ("--fallback-config", "welcome", "--recover-interval", "0.1", "--recover-interval-max", "0.1")


def told(arun: Starter, *arguments: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(why(arun.folder, *arguments, "--json").stdout)
    return record


@pytest.mark.parametrize("form", ["one", "workers"])
def test_a_new_cause_is_one_record_and_the_same_one_is_counted(arun: Starter, form: str) -> None:
    arun.write("shop.py", BROKEN)
    kept = ("--state-dir", "state", "--control", str(arun.folder / "state/arun.sock"))
    instance = started(arun, form, "shop.py", "--bind", "{address}", *OFTEN, *kept, "--debug")
    first = told(arun, *kept[:2])
    until(lambda: at_least(told(arun, *kept[:2])["tries"], 2), AssertionError)

    arun.write("shop.py", "1 / 0\n")
    instance.wait_for("it would fail now for another reason:")
    until(lambda: at_least(told(arun, *kept[:2])["tries"], 2), AssertionError)
    second = told(arun, *kept[:2])
    assert (first["identifier"], second["identifier"]) == ("app-dependency-missing", "app-import-failed")
    assert "ZeroDivisionError" in second["traceback"]
    shown = why(arun.folder, *kept[:2]).stdout
    assert "the start was tried again" in " ".join(shown.split())
    assert "the next try is in" in " ".join(shown.split())
    page = instance.get().text
    assert second["id"] in page
    assert first["id"] not in page
    known = told(arun, *kept[2:])
    assert (known["id"], known["tries"] >= 2) == (second["id"], True)
    assert instance.failures() == ["app-dependency-missing", "app-import-failed"]

    arun.write("shop.py", good())
    instance.wait_for("arun running on", times=2)
    until(lambda: ended(arun, 2), AssertionError)
    assert instance.stop() == 0
    assert [(one["event"], one["id"]) for one in events(arun.folder / "state")] == [
        ("failed", first["id"]),
        ("serving", first["id"]),
        ("failed", second["id"]),
        ("serving", second["id"]),
        ("ended", first["id"]),
        ("ended", second["id"]),
    ]
    assert told(arun, *kept[:2], first["id"])["tries"] >= 2


def at_least(number: int, least: int) -> None:
    assert number >= least


def ended(arun: Starter, number: int) -> None:
    assert [one["event"] for one in events(arun.folder / "state")].count("ended") == number


def test_a_cause_that_has_other_words_each_time_does_not_fill_the_record(arun: Starter) -> None:
    arun.write("shop.py", "import time\nraise RuntimeError(f'at {time.time()}')\n")
    instance = started(arun, "one", "shop.py", "--bind", "{address}", *OFTEN, "--state-dir", "state")
    instance.wait_for("it would fail now for another reason:", times=11)
    assert instance.stop() == 0
    failed = [one for one in events(arun.folder / "state") if one["event"] == "failed"]
    assert len(failed) == 9
    assert all(
        one["ended"]
        for one in map(json.loads, why(arun.folder, "--state-dir", "state", "--all", "--json").stdout.splitlines())
    )
