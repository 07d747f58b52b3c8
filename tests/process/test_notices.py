"""``--on-fallback`` and ``--on-recover``: commands that are told when a fallback serves, and when it is over."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until

if TYPE_CHECKING:
    from pathlib import Path

WORKS = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"mended"]
"""
#: Puts what it is told into a file whose name is its argument, all at once.
TELLER = """
import os, sys
text = sys.stdin.read()
with open(sys.argv[1] + ".part", "w") as file:
    file.write(text)
os.rename(sys.argv[1] + ".part", sys.argv[1])
"""
WAITER = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
with open("pids.part", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename("pids.part", "pids")
if sys.argv[1:]:
    child.wait()
"""
PROCESSES = pytest.mark.parametrize("processes", [(), ("--workers", "2")], ids=["one process", "workers"])


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(until(path.read_text, FileNotFoundError))
    return found


def gone(pid: int, path: str = "/proc/{}/stat") -> bool:
    """Return whether a process is gone; wait for it."""

    def look() -> bool:
        try:
            with open(path.format(pid)) as file:
                state = file.read().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        raise BlockingIOError(state)

    return until(look, BlockingIOError)


@PROCESSES
def test_the_commands_are_told_of_the_fallback_and_of_the_way_back(arun: Any, processes: tuple[str, ...]) -> None:
    arun.write("tell.py", TELLER)
    arun.write("shop.py", "1 / 0\n")
    instance = arun(
        *("shop.py", "--bind", "{address}", "--fallback-config", "welcome", *processes),
        *("--on-fallback", f"{sys.executable} tell.py fallback.json"),
        *("--on-recover", f"{sys.executable} tell.py 'recover it.json'"),
    ).ready()
    record = told(arun.folder / "fallback.json")
    assert (record["event"], record["identifier"], record["fallback"]) == ("fallback", "app-import-failed", "welcome")
    assert f"[{record['id']}]" in instance.logged
    assert "ZeroDivisionError" in record["traceback"]
    arun.write("shop.py", WORKS)
    instance.send(signal.SIGHUP)
    over = told(arun.folder / "recover it.json")
    assert (over["event"], over["id"], over["ended"]) == ("recover", record["id"], "recovered")
    assert instance.get().body == b"mended"
    until(lambda: none_left(instance, len(processes)), BlockingIOError)
    assert instance.stop() == 0


def none_left(instance: Any, workers: int) -> None:
    if len(instance.children()) != workers:
        raise BlockingIOError(instance.children())


@PROCESSES
def test_what_a_command_has_left_behind_ends_with_it(arun: Any, processes: tuple[str, ...]) -> None:
    """The fallback itself has one process or workers."""
    arun.write("wait.py", WAITER)
    arun.write("safe.ini", "[arun]\nbind = {address}\n" + ("workers = 2\n" if processes else ""))
    instance = arun(
        *(
            "gone.py",
            "--bind",
            "{address}",
            "--fallback-config",
            "safe.ini",
            "--on-fallback",
            f"{sys.executable} wait.py",
        )
    ).ready()
    pids = until((arun.folder / "pids").read_text, FileNotFoundError).split()
    assert all(gone(int(pid)) for pid in pids)
    until(lambda: none_left(instance, 2 if processes else 0), BlockingIOError)
    assert "warning: the command" not in instance.said


def test_a_command_that_runs_ends_with_the_instance(arun: Any) -> None:
    arun.write("wait.py", WAITER)
    instance = arun(
        *("gone.py", "--bind", "{address}", "--fallback-config", "welcome"),
        *("--on-fallback", f"{sys.executable} wait.py long"),
    ).ready()
    pids = until((arun.folder / "pids").read_text, FileNotFoundError).split()
    assert instance.stop() == 0
    assert all(gone(int(pid)) for pid in pids)


def test_a_command_that_takes_too_long_is_ended_also_after_an_exec(arun: Any) -> None:
    """It goes on over the way back, which it does not delay."""
    arun.write("wait.py", WAITER)
    instance = arun(
        *("shop.py", "--bind", "{address}", "--fallback-config", "welcome"),
        *("--on-fallback", f"{sys.executable} wait.py long"),
    ).ready()
    pids = until((arun.folder / "pids").read_text, FileNotFoundError).split()
    arun.write("shop.py", WORKS)
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: command line serves again, ")
    assert [str(pid) for pid in instance.children()] == pids[:1]
    instance.wait_for("the command of --on-fallback took longer than 10 s and was ended")
    assert all(gone(int(pid)) for pid in pids)
    assert instance.children() == []


@PROCESSES
def test_a_command_that_cannot_be_ended_holds_up_neither_the_instance_nor_its_stop(
    public_arun: Any, stranger: dict[str, Any], processes: tuple[str, ...]
) -> None:
    """It has become root, as by sudo; arun is a user that owns nothing."""
    found = shutil.which("setpriv")
    if found is None:
        pytest.skip("needs setpriv")
    becomes_root: Path = public_arun.folder / "become"
    shutil.copy(found, becomes_root)
    becomes_root.chmod(0o4755)
    public_arun.folder.chmod(0o777)
    public_arun.write("safe.ini", "[arun]\nbind = {address}\n" + ("workers = 2\n" if processes else ""))
    command = f"{becomes_root} --reuid 0 --clear-groups {shutil.which('sleep')} 60"
    words = ("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini", "--on-fallback", command)
    instance = public_arun(*words, **stranger).ready()
    sleepers = until(lambda: sleeping(instance), BlockingIOError)
    try:
        instance.wait_for("the command of --on-fallback took longer than 10 s and cannot be ended")
        assert instance.get().status == 503
        assert sleeping(instance) == sleepers
        assert instance.stop() == 0
        os.kill(sleepers[0], 0)
    finally:
        os.kill(sleepers[0], signal.SIGKILL)
    assert instance.said.count("the command of") == 1


def sleeping(instance: Any) -> list[int]:
    """Return the children that are ``sleep`` and root's."""
    found = []
    for pid in instance.children():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as name:
            if name.read() == "sleep\n" and os.stat(f"/proc/{pid}").st_uid == 0:
                found.append(pid)
    if not found:
        raise BlockingIOError
    return found


def test_a_command_goes_on_when_a_fallback_whose_workers_share_the_app_goes_back(arun: Any) -> None:
    arun.write("wait.py", WAITER)
    arun.write("safe.ini", "[arun]\nbind = {address}\nworkers = 2\npreload = true\n")
    instance = arun(
        *("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini"),
        *("--on-fallback", f"{sys.executable} wait.py long"),
    ).ready()
    pids = until((arun.folder / "pids").read_text, FileNotFoundError).split()
    arun.write("shop.py", WORKS)
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: command line serves again, ")
    assert [str(pid) for pid in instance.children()] == pids[:1]
    assert "warning: the command" not in instance.said


@PROCESSES
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("sh -c 'exit 3'", "exited with status 3"),
        ("sh -c 'kill -9 $$'", "was ended by SIGKILL"),
        ("/nowhere/at all", "cannot be run: /nowhere/at: No such file or directory"),
    ],
)
def test_what_goes_wrong_is_one_warning(arun: Any, processes: tuple[str, ...], command: str, says: str) -> None:
    arun.write("safe.ini", "[arun]\nbind = {address}\n" + ("workers = 2\n" if processes else ""))
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini", "--on-fallback", command).ready()
    instance.wait_for(f"arun: warning: the command of --on-fallback {says}")
    assert instance.get().status == 503
    assert instance.said.count("the command of") == 1


def test_a_command_is_known_though_the_settings_are_wrong(arun: Any) -> None:
    arun.write("tell.py", TELLER)
    arun(
        *("--banana", "--bind", "{address}", "--fallback-config", "welcome"),
        *("--on-fallback", f"{sys.executable} tell.py told"),
    ).ready()
    assert told(arun.folder / "told")["identifier"] == "option-unknown"


def test_a_command_that_cannot_be_split_is_a_failed_start(arun: Any) -> None:
    instance = arun("--on-fallback", "say 'it")
    assert instance.wait() == 1
    assert "cannot be split into words: no closing quotation" in instance.said
