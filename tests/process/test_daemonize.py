"""An instance in the background, and what the command that started it says of its start."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until, without_heads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.conftest import Instance, Starter

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {os.getppid()}".encode()]
"""
supervision = pytest.mark.parametrize("mode", [(), ("--workers", "2")], ids=["single", "supervised"])


class Daemons:
    """Starts instances that go to the background, and ends them."""

    def __init__(self, arun: Starter) -> None:
        self.arun = arun
        self.log = arun.folder / "arun.log"
        self.pid = 0

    def __call__(self, *arguments: str) -> tuple[int, str, Instance]:
        """Start one; return status and output of the command, and where the daemon listens."""
        instance = self.arun("--daemonize", "arun.log", "--pidfile", "pid", "--bind", "{address}", *arguments)
        status = instance.wait()
        with contextlib.suppress(FileNotFoundError):
            self.pid = int((self.arun.folder / "pid").read_text())
        return status, instance.said, instance

    def is_alive(self) -> bool:
        """Whether it serves on; one that has ended is reaped by the system."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def wait_for_end(self) -> None:
        def look() -> None:
            assert not self.is_alive()

        until(look, AssertionError)

    def close(self) -> None:
        if self.pid and self.is_alive():
            os.kill(self.pid, signal.SIGKILL)


@pytest.fixture
def daemons(arun: Starter) -> Iterator[Daemons]:
    arun.write("app.py", APP)
    with contextlib.closing(Daemons(arun)) as made:
        yield made


@supervision
def test_the_command_ends_when_the_daemon_serves(daemons: Daemons, mode: tuple[str, ...]) -> None:
    status, said, instance = daemons("app.py", *mode)

    assert (status, said) == (0, "")
    answering, parent = map(int, instance.get().text.split())
    assert daemons.pid == (parent if mode else answering)
    assert daemons.pid != instance.pid
    assert os.getsid(daemons.pid) not in {os.getsid(0), daemons.pid}
    assert os.readlink(f"/proc/{daemons.pid}/fd/0") == "/dev/null"
    assert "\nserving app.py" in without_heads(daemons.log.read_text())

    os.kill(daemons.pid, signal.SIGTERM)
    daemons.wait_for_end()
    assert not (daemons.arun.folder / "pid").exists()


@supervision
def test_the_command_of_a_failed_start_states_the_cause_and_the_daemon_serves_its_fallback(
    daemons: Daemons, mode: tuple[str, ...]
) -> None:
    daemons.arun.write("safe.ini", "[arun]\nlog-file = safe.log\n")
    status, said, instance = daemons("late.py", "--fallback-config", "safe.ini", *mode)

    assert status == 1
    assert instance.failures() == ["app-not-found"]
    assert instance.fallbacks() == ["safe.ini"]
    assert instance.eventually().status == 503
    assert f"(pid: {daemons.pid}) exited with status 1" in said

    daemons.arun.write("late.py", APP)  # and the way back goes by the same pid
    os.kill(daemons.pid, signal.SIGHUP)

    def look() -> None:
        assert instance.get().status == 200

    until(look, AssertionError)
    answering, parent = map(int, instance.get().text.split())
    assert daemons.pid == (parent if mode else answering)
    assert daemons.is_alive()


@supervision
def test_the_command_of_a_failed_start_without_a_fallback_states_the_cause_and_leaves_no_process(
    daemons: Daemons, mode: tuple[str, ...]
) -> None:
    status, _, instance = daemons("nope.py", *mode)

    assert (status, instance.failures()) == (1, ["app-not-found"])
    daemons.wait_for_end()
    with pytest.raises(ConnectionRefusedError):
        instance.get()


def test_a_child_that_a_failed_app_leaves_behind_does_not_hold_the_command(daemons: Daemons) -> None:
    os.mkfifo(daemons.arun.folder / "go")
    go = os.open(daemons.arun.folder / "go", os.O_RDWR)
    daemons.arun.write("forks.py", "import os\nif os.fork() == 0:\n    os.read(os.open('go', 0), 1)\nbroken\n")

    status, _, instance = daemons("forks.py")

    os.write(go, b".")
    os.close(go)
    assert (status, instance.failures()) == (1, ["app-import-failed"])


def test_settings_that_are_broken_end_in_a_fallback_in_the_background(daemons: Daemons) -> None:
    daemons.arun.write("safe.ini", "[arun]\nbind = {address}\npidfile = pid2\n")
    status, _, instance = daemons("app.py", "--nope", "--fallback-config", "safe.ini")

    assert (status, instance.failures()) == (1, ["option-unknown"])
    assert instance.eventually().status == 503
    daemons.pid = int((daemons.arun.folder / "pid2").read_text())
    assert os.getsid(daemons.pid) != os.getsid(0)


def test_settings_that_are_broken_are_reported_at_once_without_a_fallback(daemons: Daemons) -> None:
    status, _, instance = daemons("app.py", "--nope")

    assert (status, instance.failures()) == (1, ["option-unknown"])
    assert not daemons.log.exists()


def test_lines_go_to_the_log_file_where_one_is_named_too(daemons: Daemons) -> None:
    assert daemons("app.py", "--log-file", "other.log")[0] == 0

    assert "\nserving app.py" in without_heads((daemons.arun.folder / "other.log").read_text())
    assert not daemons.log.exists()


def test_the_file_of_a_daemon_is_opened_again(daemons: Daemons) -> None:
    daemons("app.py")
    daemons.log.rename(daemons.arun.folder / "arun.log.1")

    os.kill(daemons.pid, signal.SIGUSR1)

    until(daemons.log.stat, FileNotFoundError)


def test_a_fallback_that_wants_to_go_to_the_background_stays(arun: Starter) -> None:
    """The parent of the failed start, a service manager say, keeps a valid pid."""
    arun.write("safe.ini", "[arun]\ndaemonize = safe.log\n")
    instance = arun("nope.py", "--bind", "{address}", "--fallback-config", "safe.ini")

    assert instance.eventually().status == 503
    instance.wait_for("daemonize: a fallback stays in the foreground")
    assert instance.stop() == 0


#: Becomes a user that may have no further process (setrlimit(2), RLIMIT_NPROC), and then the command.
ALONE = """
import os, resource, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_user_who_may_have_no_further_process_is_reported(public_arun: Starter) -> None:
    public_arun.folder.chmod(0o777)
    command = (sys.executable, "-c", ALONE, str(public_arun.command))
    instance = public_arun("--daemonize", "arun.log", "--bind", "{address}", command=command)

    assert instance.wait() == 1
    assert instance.failures() == ["detach-failed"], instance.said


def test_a_file_that_cannot_be_opened_is_reported_by_the_command(daemons: Daemons) -> None:
    daemons.log.mkdir()

    status, said, instance = daemons("app.py")

    assert (status, instance.failures()) == (1, ["file-unusable"])
    assert "Is a directory (from --daemonize)" in said
