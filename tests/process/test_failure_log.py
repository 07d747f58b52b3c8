"""The file of failed starts: it is bounded, shared, torn, full, closed to its writer, and still tells what it can."""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Starter, own_address, until
from tests.process.conftest import STRANGER

if TYPE_CHECKING:
    from pathlib import Path

FAILS = ("gone.py", "--bind", "{address}", "--fallback-config", "welcome", "--state-dir", "state")
ENDS = ("gone.py", "--bind", "{address}", "--last-resort", "exit", "--state-dir", "state")
WORKS = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"up"]
"""


def events(folder: Path) -> list[dict[str, Any]]:
    """Every event; a line that is none is an error."""
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]


def test_starts_that_share_a_directory_lose_no_record_of_each_other(arun: Any) -> None:
    """More than the file may hold, so that each start rewrites it."""
    (arun.folder / "state").mkdir()
    write_many(arun.folder / "state", 1_100_000)
    instances = [arun(*ENDS[:2], own_address(), *ENDS[3:]) for _ in range(8)]
    assert [one.wait() for one in instances] == [1] * 8
    found = events(arun.folder / "state")
    failed = {one["pid"] for one in found if one["event"] == "failed"}
    assert {one.pid for one in instances} <= failed
    assert [one["how"] for one in found if one["event"] == "ended"][-8:] == ["exited"] * 8


def write_many(folder: Path, size: int) -> None:
    record = {
        "event": "failed",
        "time": "2026-11-30T12:00:00.000Z",
        "identifier": "app-not-found",
        "sentence": "x" * 900,
    }
    with (folder / "failures.jsonl").open("w") as file:
        for number in range(size // 1000):
            file.write(json.dumps({**record, "id": f"N{number:05}", "pid": 1}) + "\n")


def test_a_file_that_has_grown_keeps_the_newest(arun: Any) -> None:
    (arun.folder / "state").mkdir()
    write_many(arun.folder / "state", 1_500_000)
    instance = arun(*ENDS)
    assert instance.wait() == 1
    assert (arun.folder / "state/failures.jsonl").stat().st_size < 600_000
    found = [one["id"] for one in events(arun.folder / "state")]
    assert found[:-2] == [f"N{number:05}" for number in range(1300, 1500)]
    assert os.listdir(arun.folder / "state") == ["failures.jsonl"]


def test_a_file_that_grows_by_reloads_is_shortened_while_the_instance_serves(arun: Any) -> None:
    (arun.folder / "state").mkdir()
    write_many(arun.folder / "state", 1_019_000)
    path = arun.folder / "state/failures.jsonl"
    assert 1_048_000 < path.stat().st_size < 1_048_576
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--supervise", *FAILS[1:]).ready()
    arun.write("shop.py", "1 / 0\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: warning: reload failed")
    found = events(arun.folder / "state")
    assert path.stat().st_size < 600_000
    assert [one["identifier"] for one in found if one["event"] == "failed"][-2:] == [
        "app-not-found",
        "app-import-failed",
    ]
    assert instance.stop() == 0


def test_a_torn_line_is_passed_over_and_mended(arun: Any) -> None:
    (arun.folder / "state").mkdir()
    (arun.folder / "state/failures.jsonl").write_text('{"event": "failed", "id": "OLDONE", "sen')
    assert arun(*ENDS).wait() == 1
    first, failed, ended = (arun.folder / "state/failures.jsonl").read_text().splitlines()
    assert first.endswith('"sen')
    assert json.loads(failed)["id"] == json.loads(ended)["id"]


def test_a_full_disk_loses_the_record_and_nothing_else(arun: Any) -> None:
    (arun.folder / "state").mkdir()
    path = arun.folder / "state/failures.jsonl"
    write_many(arun.folder / "state", 200_000)
    room = path.stat().st_size + 100

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    instance = arun(*FAILS, preexec_fn=limit)
    instance.wait_for("serving the welcome page")
    told = f"arun: warning: the failure log {path} cannot be written: No space left on device; this is told once\n"
    assert instance.said.count(told) == 1
    assert instance.get().status == 503
    assert instance.stop() == 0
    assert arun(*ENDS).wait() == 1  # there is room again
    assert json.loads(path.read_text().splitlines()[-1])["how"] == "exited"


@pytest.mark.parametrize("directory", ["gone.txt/state", "/proc/state"])
def test_a_directory_that_cannot_be_made_is_one_warning(arun: Any, directory: str) -> None:
    arun.write("gone.txt", "")
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--bind", "{address}", "--state-dir", directory).ready()
    instance.wait_for("serving shop.py")
    assert instance.said.count("arun: warning: the failure log") == 1
    assert instance.get().body == b"up"
    failing = arun("lost.py", "--last-resort", "exit", "--state-dir", directory)
    assert failing.wait() == 1
    assert failing.said.count("arun: warning: the failure log") == 1
    assert failing.failures() == ["app-not-found"]


def test_what_root_makes_belongs_to_the_user_that_arun_becomes(public_folder: Path) -> None:
    folder = public_folder / "records"
    folder.mkdir(mode=0o755)
    starter = Starter(folder, own_address(), public_folder / "bin/arun")
    try:
        instance = starter(*FAILS[:-1], "state/deep", "--uid", str(STRANGER)).ready()
        instance.wait_for("serving the welcome page")
        assert instance.stop() == 0
        assert [one["event"] for one in events(folder / "state/deep")] == ["failed", "serving", "ended"]
        assert {(folder / "state/deep" / name).stat().st_uid for name in ("", "failures.jsonl")} == {STRANGER}
        assert "warning: the failure log" not in instance.said
    finally:
        starter.close()


def test_an_outage_that_was_killed_ends_when_the_same_command_serves_again(arun: Any) -> None:
    command = ("shop.py", *FAILS[1:])
    for _ in range(2):
        instance = arun(*command)
        instance.wait_for("serving the welcome page")
        instance.send(signal.SIGKILL)
        instance.wait()
    arun.write("shop.py", WORKS)
    assert arun(*command).ready().stop() == 0
    found = [one.get("how") for one in events(arun.folder / "state") if one["event"] == "ended"]
    assert found == ["failed again", "restarted"]


def test_a_successor_holds_the_file_open_once(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    instance = arun("gone.py", *FAILS[1:])
    instance.wait_for("serving the welcome page")
    kept = [target for target in instance.descriptors().values() if "failures.jsonl" in target]
    assert len(kept) == 1


def test_a_removed_file_is_made_anew(arun: Any) -> None:
    instance = arun(*FAILS, "--recover", "signal")
    instance.wait_for("serving the welcome page")
    (arun.folder / "state/failures.jsonl").unlink()
    arun.write(
        "gone.py", f"import os\nassert 'ARUN_PROBE' in os.environ\n{WORKS}"
    )  # it works when it is tried, and then not
    instance.send(signal.SIGHUP)
    instance.wait_for("serving the welcome page", times=2)
    recorded(arun.folder / "state", "failed", "serving")


def recorded(folder: Path, *names: str) -> None:
    """Wait until these are the last events."""

    def look() -> None:
        if tuple(one["event"] for one in events(folder)[-len(names) :]) != names:
            raise BlockingIOError

    until(look, BlockingIOError, FileNotFoundError, ValueError)
