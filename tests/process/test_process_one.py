"""arun as process 1 of a PID namespace, as in a container: signals, orphans, and the fallback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.conftest import Instance, Starter

#: Tells what runs beside it, and starts what its path names.
APP = """
import asyncio, json, os, subprocess
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/orphan":
        said = subprocess.run(["sh", "-c", "sleep 0.05 & echo $!"], stdout=subprocess.PIPE).stdout
    elif path == "/child":
        said = str(subprocess.run(["sh", "-c", "exit 7"]).returncode).encode()
    elif path == "/async-child":
        child = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.05; exit 5")
        said = str(await child.wait()).encode()
    else:
        said = str(os.getppid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})
"""


def may_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def as_process_one(arun: Starter) -> Callable[..., tuple[Instance, int]]:
    """Start arun as process 1 of a namespace of its own, and return its pid outside; what it leaves dies with it."""
    if not may_unshare():
        pytest.skip("needs to make a PID namespace, as root does")

    def start(*arguments: str) -> tuple[Instance, int]:
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        instance = arun(*arguments, "--bind", "{address}", command=[*unshare, str(arun.command)])
        instance.ready()
        (pid,) = instance.children()
        return instance, pid

    return start


def descendants(pid: int) -> dict[int, str]:
    """Pid and state of each process below one."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = re.findall(r"\) (\S) (\d+) ", (entry / "stat").read_text())[0]
            except (OSError, IndexError):
                continue
            if int(parent) == pid:
                found |= {int(entry.name): state, **descendants(int(entry.name))}
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=["TERM", "INT", "QUIT"])
def test_a_stop_signal_stops_process_one_in_time_with_status_0(
    arun: Starter, as_process_one: Callable[..., tuple[Instance, int]], number: signal.Signals
) -> None:
    arun.write("shop.py", APP)
    instance, pid = as_process_one("shop.py")
    began = time.monotonic()
    os.kill(pid, number)
    assert instance.wait() == 0
    assert time.monotonic() - began < PATIENCE / 2


def test_orphans_are_reaped_and_no_child_is_stolen_from_the_app(
    arun: Starter, as_process_one: Callable[..., tuple[Instance, int]]
) -> None:
    """An app waits for its own children; children without a parent are reaped by process 1."""
    arun.write("shop.py", APP)
    instance, pid = as_process_one("shop.py")
    assert instance.get().text == "1"  # the app runs in a worker, so that process 1 knows none of its children
    assert instance.get("/child").text == "7"
    assert instance.get("/async-child").text == "5"
    for _ in range(3):
        instance.get("/orphan")

    def settled() -> None:
        assert [state for state in descendants(pid).values() if state == "Z"] == []
        assert len(descendants(pid)) == 1

    until(settled, AssertionError)
    assert instance.get("/child").text == "7"
    os.kill(pid, signal.SIGTERM)
    assert instance.wait() == 0


def test_a_fallback_and_the_way_back_keep_process_one(
    arun: Starter, as_process_one: Callable[..., tuple[Instance, int]]
) -> None:
    arun.write("shop.py", "import os\nos._exit(3)\n")
    instance, pid = as_process_one("shop.py", "--fallback-config", "welcome")
    assert "worker-died" in instance.failures()
    assert "(pid: 1) exited with status 1" in instance.said
    assert instance.get().status == 503
    assert instance.children() == [pid]

    arun.write("shop.py", APP)
    os.kill(pid, signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    assert instance.get().text == "1"
    assert instance.children() == [pid]
    os.kill(pid, signal.SIGTERM)
    assert instance.wait() == 0


def test_without_a_supervisor_it_serves_as_process_one_itself(
    arun: Starter, as_process_one: Callable[..., tuple[Instance, int]]
) -> None:
    arun.write("shop.py", APP)
    instance, pid = as_process_one("shop.py", "--no-supervise")
    assert instance.get().text == "0"
    assert descendants(pid) == {}
    os.kill(pid, signal.SIGTERM)
    assert instance.wait() == 0


#: Sends itself a stop signal while arun's own modules are being imported, long before its handlers stand.
EARLY = """
import os, signal, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == "arun.lifecycle.start":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder)
from arun.__main__ import main
main()
"""


def test_a_stop_signal_that_comes_before_the_handlers_is_not_lost(arun: Starter) -> None:
    """Process 1 would not get it at all, and any other die of it, with no clean end."""
    arun.write("shop.py", APP)
    command = [sys.executable, "-c", EARLY]
    instance = arun("shop.py", "--bind", "{address}", command=command)
    assert instance.wait() == 0
    assert instance.failures() == []
