"""``arun why`` and the failure log: what is kept of a failed start, and what a person is told of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import ARUN, until

if TYPE_CHECKING:
    from pathlib import Path

WORKS = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"mended"]
"""


def why(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ARUN, "why", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]


def recorded(folder: Path, name: str) -> None:
    """Wait until this is the last event: it is written when the instance has said that it serves."""

    def look() -> None:
        if events(folder)[-1]["event"] != name:
            raise BlockingIOError

    until(look, BlockingIOError, FileNotFoundError)


def test_a_failed_start_is_told_while_its_fallback_serves(arun: Any) -> None:
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "welcome", "--state-dir", "state").ready()
    instance.wait_for("serving the welcome page")
    recorded(arun.folder / "state", "serving")
    told = why(arun.folder, "--state-dir", "state")
    assert told.returncode == 0
    assert told.stdout.startswith("app-not-found: there is no file")
    assert "  hint      name an app as module:attribute or path/to/file.py\n" in told.stdout
    assert "the fallback welcome serves in its place since " in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 80


def test_the_record_says_how_the_outage_ended(arun: Any) -> None:
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome", "--state-dir", "state")
    instance.wait_for("serving the welcome page")
    arun.write("shop.py", WORKS)
    instance.process.send_signal(signal.SIGHUP)
    instance.wait_for("serving shop.py")
    recorded(arun.folder / "state", "ended")
    assert json.loads(why(arun.folder, "--state-dir", "state", "--json").stdout)["ended"] == "recovered"
    assert instance.stop() == 0
    assert [one["event"] for one in events(arun.folder / "state")] == ["failed", "serving", "ended"]


def test_a_primary_that_fails_again_ends_the_first_outage_and_begins_another(arun: Any) -> None:
    line = ("shop.py", "--bind", "{address}", "--fallback-config", "welcome", "--state-dir", "state")
    instance = arun(*line, "--recover", "signal")
    instance.wait_for("serving the welcome page")
    arun.write(
        "shop.py", f"import os\nassert 'ARUN_PROBE' in os.environ\n{WORKS}"
    )  # it works when it is tried, and then not
    instance.process.send_signal(signal.SIGHUP)
    instance.wait_for("serving the welcome page", times=2)
    assert instance.stop() == 0
    records = [
        json.loads(line) for line in why(arun.folder, "--state-dir", "state", "--all", "--json").stdout.splitlines()
    ]
    assert [one["ended"] for one in records] == ["failed again", "stopped"]
    assert records[0]["id"] != records[1]["id"]


def test_every_failure_of_a_chain_is_a_record_with_those_before_it(arun: Any) -> None:
    arun.write("a.ini", "[arun]\nbind = {address}\napp = gone.py\nstate-dir = state\nfallback-config = b.ini\n")
    arun.write("b.ini", "[arun]\nbind = {address}\nneed-app = banana\n")
    arun("a.ini").wait_for("serving the welcome page")
    recorded(arun.folder / "state", "serving")
    first, second = (one for one in events(arun.folder / "state") if one["event"] == "failed")
    assert (first["config"], first["identifier"], first["chain"]) == ("a.ini", "app-not-found", [])
    assert (second["config"], second["identifier"]) == ("b.ini", "option-invalid")
    assert [one["identifier"] for one in second["chain"]] == ["app-not-found"]
    assert "1. a.ini: app-not-found" in why(arun.folder, "--state-dir", "state").stdout


def test_settings_that_cannot_be_read_are_recorded_too(arun: Any) -> None:
    instance = arun("--banana", "--bind", "{address}", "--port=x", "--last-resort", "exit", "--state-dir=state")
    assert instance.wait() == 1
    (record, ended) = events(arun.folder / "state")
    assert [record["identifier"], *(one["identifier"] for one in record["problems"])] == [
        "option-unknown",
        "option-invalid",
    ]
    assert ended["how"] == "exited"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no instance is named: neither --control, a config, --pidfile nor --state-dir is given"),
        (
            ["--state-dir", "nowhere"],
            "cannot read nowhere/failures.jsonl: there is no such directory (from --state-dir)",
        ),
        (["--state-dir"], "--state-dir takes a value (DIR)"),
        (["--al"], "did you mean --all?"),
        (["A", "B"], "'B' is one argument too many"),
    ],
)
def test_a_wrong_call_has_one_clear_error(tmp_path: Path, arguments: list[str], says: str) -> None:
    told = why(tmp_path, *arguments)
    assert told.returncode == 2
    assert told.stdout == ""
    assert says in told.stderr
    assert [line.partition(": ")[0] for line in told.stderr.splitlines()] == ["arun", "arun"]


def test_nothing_recorded_has_status_1(tmp_path: Path) -> None:
    assert (why(tmp_path, STATE_DIRECTORY=str(tmp_path)).returncode, why(tmp_path, "--help").returncode) == (1, 0)


def test_a_reload_that_fails_is_a_record_and_no_outage(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--bind", "{address}", "--supervise", "--state-dir", "state").ready()
    arun.write("shop.py", "1 / 0\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("reload failed")
    recorded(arun.folder / "state", "ended")
    told = why(arun.folder, "--state-dir", "state")
    assert told.stdout.startswith("app-import-failed: ")
    assert "the instance goes on serving as before" in told.stdout
    assert instance.stop() == 0
    assert [one.get("how") for one in events(arun.folder / "state")] == [None, "survived"]


def test_a_record_of_another_version_is_shown_as_far_as_it_is_understood(tmp_path: Path) -> None:
    (tmp_path / "failures.jsonl").write_text('{"event": "failed", "id": "K7Q2MX", "identifier": "new", "newer": 1}\n')
    for arguments in ((), ("k7q2mx",), ("--all",)):
        told = why(tmp_path, *arguments, STATE_DIRECTORY=str(tmp_path))
        assert (told.returncode, told.stderr) == (0, "")
        assert "K7Q2MX" in told.stdout
