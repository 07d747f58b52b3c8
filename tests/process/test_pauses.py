"""A pause of the whole instance: Ctrl-Z, SIGSTOP, a container that is paused. Time in which no process ran counts towards no limit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import ARUN, Instance, until
from tests.process.family import descendants, processes, settled, stop
from tests.process.shops import SHOP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.conftest import Starter

#: Seconds of a pause: longer than what is waited for in each test.
PAUSE = 3.0


def pause(instance: Instance, seconds: float = PAUSE) -> None:
    """Stop the group of the instance for so long."""
    os.killpg(instance.pid, signal.SIGSTOP)
    until(lambda: assert_state(instance, "T"), AssertionError)
    time.sleep(seconds)
    os.killpg(instance.pid, signal.SIGCONT)


def assert_state(instance: Instance, *states: str) -> None:
    family = [one for one in processes() if one.pid == instance.pid] + descendants(instance.pid)
    assert {one.state for one in family} <= set(states), family


def ask_for(instance: Instance, seconds: float) -> None:
    """Ask again and again for so long."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert instance.get().status == 200


@pytest.mark.parametrize("way", ["--workers=2", "--preload"])
def test_no_process_is_stuck_after_a_pause_of_the_whole_group(arun: Starter, way: str) -> None:
    arun.write("shop.py", SHOP)
    options = ("--bind", "{address}", "--workers", "2", "--worker-timeout", "1", way)
    instance = arun("shop.py", *options, process_group=0).ready()
    before = settled(instance, 2 + (way == "--preload"))
    for _ in range(2):
        pause(instance)
        ask_for(instance, 1.5)
    assert settled(instance, len(before)) == before
    assert "stuck" not in instance.said
    stop(instance)


SLOW = (
    """
import os, time
os.write(2, b"it begins\\n")
while not os.path.exists("go"): time.sleep(0.01)
"""
    + SHOP
)


@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--workers", "2", "--preload")], ids=" ".join)
def test_a_pause_is_no_part_of_the_time_that_a_start_may_take(arun: Starter, options: tuple[str, ...]) -> None:
    arun.write("shop.py", SLOW)
    instance = arun("shop.py", "--bind", "{address}", "--start-timeout", "5", *options, process_group=0)
    instance.wait_for("it begins", times=2 if options == ("--workers", "2") else 1)  # in each worker
    pause(instance, 10)  # beyond what a supervisor adds to the limit
    assert_state(instance, "S", "R", "D")
    arun.write("go", "")
    assert instance.ready().get().status == 200
    assert instance.failures() == []
    stop(instance)


def test_a_worker_that_is_stuck_is_found_after_a_pause_too(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    options = ("--bind", "{address}", "--workers", "2", "--worker-timeout", "1")
    instance = arun("shop.py", *options, process_group=0).ready()
    stopped = min(settled(instance, 2))
    pause(instance)
    os.kill(stopped, signal.SIGSTOP)
    instance.wait_for("has been stuck for 1 s")
    settled(instance, 2, without={stopped})
    stop(instance)


class Terminal(Instance):
    """What is written to a terminal, which ends with an error when no process has it open any more."""

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            super()._read()


@contextlib.contextmanager
def shell(arun: Starter) -> Iterator[Instance]:
    """A shell with job control in a terminal of its own; what appears there is what the instance says."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [bash, "--norc", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=arun.folder,
        env={"PATH": os.environ["PATH"], "PS1": "$ ", "TERM": "dumb"},
        preexec_fn=take_terminal,  # noqa: PLW1509 - there is no other way to take a terminal
    )
    os.close(theirs)
    process.stderr = open(ours, "rb+", buffering=0)  # noqa: SIM115 - closed with the instance
    instance = Terminal(process, arun.address)
    try:
        yield instance
    finally:
        for one in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        instance.close()


@pytest.mark.parametrize("options", ["", "--workers 2 --worker-timeout 1"], ids=["one process", "workers"])
def test_ctrl_z_suspends_every_process_and_fg_resumes(arun: Starter, options: str) -> None:
    arun.write("shop.py", SHOP)
    with shell(arun) as instance:
        terminal = instance.process.stderr
        assert terminal is not None
        terminal.write(f"{ARUN} shop.py --bind {arun.address} {options}\n".encode())
        instance.wait_for("serving shop.py")
        assert instance.get().status == 200
        before = {one.pid for one in descendants(instance.pid)}
        terminal.write(b"\x1a")
        instance.wait_for("Stopped")
        until(lambda: assert_suspended(instance), AssertionError)
        time.sleep(PAUSE)
        terminal.write(b"fg\n")
        ask_for(instance, 1.5)
        assert {one.pid for one in descendants(instance.pid)} == before
        assert "stuck" not in instance.said
        terminal.write(b"\x03")
        instance.wait_for("stopping")
        until(lambda: assert_gone(instance), AssertionError)


def assert_suspended(instance: Instance) -> None:
    assert {one.state for one in descendants(instance.pid)} == {"T"}


def assert_gone(instance: Instance) -> None:
    assert descendants(instance.pid) == []
