"""Detaching: what becomes of the process that the user started, and what the one in the background is like."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Detaches, tells what it is, does what its argument says, and waits for a word on the pipe "go".
PROCESS = """
import os, sys
from arun.core import exits

exits.arm()
from arun.system import daemon
from arun.system.log_file import LogFile

log_file = LogFile(sys.argv[1])
log_file.open(origin="--daemonize")
go = os.open("go", os.O_RDONLY)  # comes to its end with the test
print("told once")  # stands in a buffer
command = daemon.detach(log_file, origin="--daemonize")
print(os.getpid(), os.getpgid(0), os.getsid(0), os.readlink("/proc/self/fd/0"), os.getcwd(), flush=True)
if sys.argv[2] == "fork" and os.fork() == 0:  # as an app may
    os.read(go, 1)
    exits.leave(0)
if sys.argv[2] == "exec":
    sys.stderr.write("the fallback\\n")
    os.dup2(go, 0)
    os.execv("/bin/cat", ["cat"])
if sys.argv[2] == "end":
    exits.leave(1)
command.release(serves=sys.argv[2] == "serve")
os.read(go, 1)
exits.leave(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the pipe "go", by which all that waits in it ends."""
    os.mkfifo(tmp_path / "go")
    keeper = os.open(tmp_path / "go", os.O_RDWR)
    yield tmp_path
    os.close(keeper)


def detached(folder: Path, order: str, log: str = "arun.log") -> tuple[int, str, list[str]]:
    """Return status and standard error of the command, and what the daemon says it is."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, log, order],
        cwd=folder,
        env={},  # the streams are buffered
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "told once\n"
    path = folder / log
    return done.returncode, done.stderr, path.read_text().splitlines() if path.is_file() else []


def test_the_daemon_has_a_session_of_its_own_that_it_does_not_lead(folder: Path) -> None:
    status, said, lines = detached(folder, "serve")

    pid, group, session, stdin, directory = lines[0].split()
    assert (status, said) == (0, "")
    assert int(session) not in {os.getsid(0), int(pid)}
    assert group == session
    assert (stdin, directory) == ("/dev/null", str(folder))
    os.kill(int(pid), 0)  # it lives


@pytest.mark.parametrize("order", ["exec", "end", "fail", "fork"])
def test_the_command_of_a_failed_start_has_status_1_and_repeats_what_was_told(folder: Path, order: str) -> None:
    """The daemon becomes its fallback, is gone, goes on by itself, or leaves children that still have the pipe."""
    (folder / "arun.log").write_text("of yesterday\n")

    status, said, lines = detached(folder, order)

    assert status == 1
    assert lines[0] == "of yesterday"
    assert said.splitlines()[0] == lines[1]
    assert ("the fallback" in said) == (order == "exec")


def test_a_log_that_cannot_be_read_is_named(folder: Path) -> None:
    status, said, _ = detached(folder, "fail", "/dev/null")

    assert (status, said) == (1, "arun: the start failed; /dev/null tells why\n")


def test_a_command_that_is_interrupted_ends_and_the_daemon_goes_on(folder: Path) -> None:
    pipe = folder / "arun.log"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    os.mkfifo(folder / "hold")
    script = PROCESS.replace("command.release", "open('hold').read()\ncommand.release")
    with subprocess.Popen([sys.executable, "-c", script, "arun.log", "serve"], cwd=folder) as process:
        writing = os.open(folder / "hold", os.O_WRONLY)  # the daemon waits there, and the command for the daemon
        pid = int(os.read(reading, 100).split()[0])

        process.send_signal(signal.SIGINT)

        assert process.wait(30) == -signal.SIGINT
    os.kill(pid, 0)
    os.close(writing)
    os.close(reading)
