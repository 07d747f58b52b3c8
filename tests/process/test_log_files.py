"""The log file of an instance, and the opening again of its logs after a rotation."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until, without_heads

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.conftest import FailingStart, Starter

APP = """
import subprocess, sys

print("said while it is imported", flush=True)
subprocess.run(["echo", "said by a child"], check=True)

def app(environ, start_response):
    sys.stderr.write(f"asked for {environ['PATH_INFO']}\\n")
    sys.stderr.flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"up"]
"""
supervision = pytest.mark.parametrize("mode", [(), ("--workers", "2")], ids=["single", "supervised"])


def wait_for(path: Path, text: str, *, times: int = 1) -> str:
    """Wait until the file has the text in it, and return all of it."""

    def look() -> str:
        content = without_heads(path.read_text())
        assert content.count(text) >= times, content
        return content

    return until(look, AssertionError, FileNotFoundError)


@supervision
@pytest.mark.parametrize("name", ["--log-file", "--error-logfile", "--logto"])
def test_all_lines_go_to_the_log_file(arun: Starter, name: str, mode: tuple[str, ...]) -> None:
    arun.write("app.py", APP)
    (arun.folder / "sub").mkdir()
    path = arun.folder / "arun.log"  # a relative path counts from the starting directory
    arguments = ("../app.py", "--chdir", "sub", "--bind", "{address}", name, "arun.log", *mode)
    instance = arun(*arguments)
    wait_for(path, "\nserving ")

    assert instance.get("/here").status == 200

    told = wait_for(path, "asked for /here\n")
    assert told.startswith("*** Starting arun ")
    workers = 2 if mode else 1
    assert [told.count(f"said {how}\n") for how in ("while it is imported", "by a child")] == [workers] * 2
    assert instance.said == ""
    assert instance.stop() == 0


def test_a_dash_leaves_the_lines_where_they_are(arun: Starter) -> None:
    arun.write("app.py", APP)

    assert "said by" not in arun("app.py", "--bind", "{address}", "--log-file", "-").ready().said
    assert not (arun.folder / "-").exists()


def test_a_log_file_that_cannot_be_opened_is_a_failed_start(failing_start: FailingStart) -> None:
    said = failing_start("--bind", "{address}", "--log-file", "nowhere/arun.log", fails=["file-unusable"])

    assert "/nowhere/arun.log: No such file or directory (from --log-file)" in said


@supervision
@pytest.mark.parametrize("logs", [("--log-file", "arun.log"), ("--log-file", "arun.log", "--access-logfile", "a.log")])
def test_rotated_logs_are_left_and_new_ones_are_written(
    arun: Starter, mode: tuple[str, ...], logs: tuple[str, ...]
) -> None:
    """With one file for both, the access log follows standard output."""
    arun.write("app.py", APP)
    arun_log = arun.folder / "arun.log"
    access_log = arun.folder / "a.log" if "a.log" in logs else arun_log
    instance = arun("app.py", "--bind", "{address}", *logs, "--access-log", *mode)
    wait_for(arun_log, "\nserving ")
    instance.get("/before")
    wait_for(access_log, '"GET /before ')
    for path in {arun_log, access_log}:
        path.rename(path.with_suffix(".1"))

    instance.send(signal.SIGUSR1)
    until(lambda: (arun_log.stat(), access_log.stat()), FileNotFoundError)
    if mode:  # the supervisor's file is there at once, its workers take their turn
        until(lambda: assert_all_reopened(instance.children(), ".1"), AssertionError, FileNotFoundError)
    instance.get("/after")

    wait_for(arun_log, "asked for /after\n")
    wait_for(access_log, '"GET /after ')
    assert "/after" not in access_log.with_suffix(".1").read_text()
    assert instance.stop() == 0
    if mode:
        wait_for(arun_log, "arun: stopping 2 workers")


def assert_all_reopened(pids: list[int], suffix: str) -> None:
    from pathlib import Path

    for pid in pids:
        assert not [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.readlink().suffix == suffix]


def test_a_fallback_opens_the_log_file_of_its_failed_start_again(arun: Starter) -> None:
    path = arun.folder / "arun.log"
    instance = arun("nope.py", "--bind", "{address}", "--log-file", "arun.log", "--fallback-config", "welcome")
    assert "arun: app-not-found: " in wait_for(path, "serving the welcome page")
    path.rename(path.with_suffix(".1"))

    instance.send(signal.SIGUSR1)

    until(path.stat, FileNotFoundError)
    assert instance.get().status == 503


@supervision
def test_without_a_log_file_the_signal_ends_nothing(arun: Starter, mode: tuple[str, ...]) -> None:
    arun.write("app.py", APP)
    instance = arun("app.py", "--bind", "{address}", *mode).ready()

    instance.send(signal.SIGUSR1)

    assert instance.get().status == 200
    assert instance.stop() == 0


def test_an_app_that_takes_the_signal_for_itself_has_it(arun: Starter) -> None:
    arun.write("app.py", f"import signal\nsignal.signal(signal.SIGUSR1, lambda *_: print('mine', flush=True))\n{APP}")
    instance = arun("app.py", "--bind", "{address}", "--log-file", "arun.log")
    wait_for(arun.folder / "arun.log", "\nserving ")

    instance.send(signal.SIGUSR1)

    wait_for(arun.folder / "arun.log", "mine\n")
