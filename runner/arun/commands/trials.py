"""A start that is tried in a process of its own: lifecycle/probe.py seen from outside, by a command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from arun.core.failures import WORKER_DIED, FailureRecord, StartupFailure
from arun.core.values import Value
from arun.instance import handover
from arun.instance.handover import Handover, Trial
from arun.recovery.trial_reports import TrialReports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arun.core.listen_spec import ListenSpec

__all__ = ("Result", "Step", "command_of_arun", "environment", "failing_step", "run")

#: What a process that this one starts is not to be told: who waits for a start, and sockets that are not meant for it.
_NOT_PASSED = frozenset(
    {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"}
)
#: The step that a failure belongs to, by its stage.
_STEPS = {
    "settings": "settings",
    "identity": "surroundings",
    "listen": "addresses",
    "privileges": "privileges",
    "load": "app",
    "startup": "start-up",
    "fallback": "fallback",
}
#: Bytes of what a process said at its end that are shown where it ended without a word of why.
_LAST_WORDS = 2000
#: Bytes of it that are looked through for warnings.
_MOST_SAID = 1_048_576
_WARNING = "arun: warning: "


class Step(Value):
    """A step that has succeeded, and the seconds that it took."""

    name: str
    detail: str
    seconds: float


class Result(Value):
    """How a trial went: the steps that succeeded, what was warned of, and its failures; none where the start would serve."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    failures: tuple[FailureRecord, ...]
    seconds: float


def command_of_arun() -> tuple[str, ...]:
    """Return what starts arun as this process was started: the interpreter with its flags, and the script or module."""
    own = len(sys.argv) - 1
    words = sys.orig_argv[: len(sys.orig_argv) - own]
    return (sys.executable, *words[1:])


def environment() -> dict[str, str]:
    """Return the environment for such a process."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_PASSED}


def run(
    arguments: Sequence[str],
    *,
    past: Handover | None = None,
    held: Sequence[ListenSpec] = (),
    owner: int = 0,
) -> Result:
    """Try the start with these arguments; it takes as long as its app takes, under its start-timeout.

    Args:
        arguments: those of arun.
        past: what a fallback is told of the starts before it.
        held: where the instance ``owner`` listens, which makes room for this start.
        owner: the pid of that instance, which may stand in the pid file.
    """
    told = TrialReports()
    reading, writing = os.pipe()
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        trial = Trial(writing, os.getpid(), tuple(held), owner=owner, arguments=tuple(arguments))
        fd = handover.write((past or Handover())._replace(trial=trial))
        try:
            child = subprocess.Popen(  # noqa: S603 - ourselves
                command_of_arun(),
                env={**environment(), handover.VARIABLE: str(fd), handover.MARK: "1"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(fd, writing),
            )
        finally:
            os.close(fd)
            os.close(writing)
        try:
            with open(reading, "rb") as reports:
                for line in reports:
                    told.take(line)
        finally:
            child.terminate()  # which has reported all that there is, or is not waited for any more
            status = child.wait()
        words = os.pread(said.fileno(), _MOST_SAID, 0).decode(errors="replace")
    return _result(told, words, status, time.monotonic() - began)


def _result(told: TrialReports, said: str, status: int, seconds: float) -> Result:
    steps, before = list[Step](), 0.0
    for name, detail, after in told.steps:
        steps.append(Step(name, detail, after - before))
        before = after
    failures = told.records
    if not told.has_come_out:
        failures = (_without_a_word(steps, said, told.ended or f"ended with status {status}"),)
    lines = said.splitlines()
    warnings = tuple(dict.fromkeys(line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)))
    return Result(tuple(steps), warnings, failures, seconds)


def _without_a_word(steps: Sequence[Step], said: str, how: str) -> FailureRecord:
    """Return the failure of a process that has ended without a report."""
    after = f"after the step {steps[-1].name}" if steps else "before anything was read"
    failure = StartupFailure(
        WORKER_DIED, f"the process {how} {after}, without a word of why", detail=said[-_LAST_WORDS:]
    )
    return FailureRecord.of(failure, config="", when=time.time())


def failing_step(record: FailureRecord) -> str:
    """Return the name of the step in which a start has failed."""
    if record.identifier.startswith("certificate-"):
        return "certificates"
    if record.identifier == WORKER_DIED.identifier:
        return "process"
    return _STEPS.get(record.stage, record.stage)
