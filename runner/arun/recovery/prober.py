"""The probe of a start, seen from outside: its process is started, its reports are read, and it is ended; nothing blocks.

What a probe is made of stands in lifecycle/probe.py. The process that has started it has this one child; it is gone when the
result is there. The result comes from the pipe and never from the status, which a supervisor may have reaped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from arun.core.failures import START_TIMEOUT, WORKER_DIED, StartupFailure
from arun.instance import handover
from arun.recovery.trial_reports import TrialReports
from arun.recovery.watched import signatures
from arun.system import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from arun.core.listen_spec import ListenSpec
    from arun.system.launch import Launch

__all__ = ("Probe",)

#: Seconds until a probe has to report its time limit.
_BEGINNING = 30.0
#: Seconds that a probe may take where the start has no time limit.
_UNLIMITED = 300.0
#: Seconds beyond its limit in which a probe reports by itself that its time is up.
_MARGIN = 5.0
#: Seconds that a probe has to end once it is asked to.
_ENDING = 5.0
#: Seconds in which the processes are gone that were killed.
_REAPING = 0.05
#: Bytes of reports.
_MOST = 4_194_304
#: What the process is started with; its handover says what it is to try. An older arun, installed in the meantime, that does
#: not know of trials answers and ends, where it would serve without an argument.
_HARMLESS = "--version"
#: Variables that only the process itself may use: a service manager would take a probe for it.
_WITHHELD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class Probe:
    """One probe that runs.

    Args:
        launch: how the process was started that asks.
        arguments: the command line of the start to be tried.
        held: where the process that asks listens.
        starts_app: whether the app's start-up and shut-down run.
        is_told: what the probe writes is seen; else it goes to /dev/null.

    Raises:
        OSError: no process, descriptor or memory is left, or the interpreter is gone.
    """

    def __init__(
        self, launch: Launch, arguments: Sequence[str], held: Sequence[ListenSpec], *, starts_app: bool, is_told: bool
    ) -> None:
        self.held = tuple(held)
        self.began, self.began_at = time.monotonic(), time.time_ns()
        #: When it is killed that was asked to end, on the monotonic clock.
        self._killed_at: float | None = None
        self._taken = 0
        self.reports = TrialReports()
        self.reports.reads = signatures([os.path.join(launch.called, "")])
        #: Why there is no result: it has ended without a word, or was ended.
        self.failure: StartupFailure | None = None
        self._mark = f"{os.getpid()}-{self.began_at}"
        self._fd, writing = os.pipe()
        told = -1
        try:
            os.set_blocking(self._fd, False)
            trial = handover.Trial(writing, os.getpid(), self.held, starts_app, arguments=tuple(arguments))
            told = handover.write(handover.Handover(trial=trial))
            self._process = _started(launch, (writing, told), self._mark, is_told=is_told)
        except BaseException:
            os.close(self._fd)
            raise
        finally:
            os.close(writing)
            if told >= 0:
                os.close(told)

    def is_over(self) -> bool:
        """Return whether the probe is gone: true once, with the result in ``reports`` or with a ``failure``.

        One that has used up its time is ended.
        """
        self._receive()
        if self._process.poll() is None:
            now = time.monotonic()
            if self._killed_at is not None:
                if now >= self._killed_at:
                    self._send(signal.SIGKILL)
            elif now - (self.reports.limited_at or self.began) > self._limit:
                if not self.reports.has_come_out:
                    what = self.reports.limited or "start"
                    sentence = f"the {what} took longer than {self._limit:g} s when it was tried, and was ended"
                    self.failure = StartupFailure(START_TIMEOUT, sentence)
                self.end()
            return False
        self._receive()  # its last reports
        self.forget()
        if not self.reports.ended:
            _end_marked(self._mark)  # it was killed, and could end nothing
        if self.failure is None and not self.reports.has_come_out:
            how = self.reports.ended or ("was killed" if self._taken else "ended without a word")
            self.failure = StartupFailure(WORKER_DIED, f"the app's process {how} before it was ready")
        return True

    @property
    def _limit(self) -> float:
        if not self.reports.limited:
            return _BEGINNING
        return _UNLIMITED if self.reports.limit is None else self.reports.limit + _MARGIN

    def end(self) -> None:
        """Ask the probe to end at once, with all that it has started; ``is_over`` sees to it."""
        if self._killed_at is None:
            self._killed_at = time.monotonic() + _ENDING
            self._send(signal.SIGTERM)

    def forget(self) -> None:
        """Close the pipe, which a forked child has inherited, once: its number may soon be that of something else."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            self._process.send_signal(number)

    # ---- its reports

    def _receive(self) -> None:
        """Read what has come."""
        while True:
            try:
                piece = os.read(self._fd, 65_536)
            except OSError:  # nothing more for now
                return
            if not piece:
                return
            self._taken += len(piece)
            if self._taken > _MOST:
                self.end()
                continue
            self.reports.take(piece)


def _started(launch: Launch, passed: tuple[int, int], mark: str, *, is_told: bool) -> subprocess.Popen[bytes]:
    """Start the process, as the start to be tried would begin."""
    import subprocess

    environ = {name: value for name, value in launch.environ.items() if name not in _WITHHELD}
    environ |= {handover.VARIABLE: str(passed[1]), handover.MARK: mark}
    command = launch.command
    output = None if is_told else subprocess.DEVNULL
    return subprocess.Popen(  # noqa: S603 - ourselves
        (*command, _HARMLESS),
        executable=command[0] if os.path.exists(command[0]) else "/proc/self/exe",  # replaced by an upgrade since
        env=environ,
        cwd=launch.called if os.path.isdir(launch.called) else None,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=passed,
        start_new_session=True,
        umask=launch.surroundings.umask,
    )


def _end_marked(mark: str) -> None:
    """Kill and reap every process that bears the mark: descendants of a probe that was killed."""
    wanted, found = f"{handover.MARK}={mark}".encode(), []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(name)
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        os.kill(pid, signal.SIGKILL)
                        found.append(pid)
    ends = time.monotonic() + _REAPING
    while found and time.monotonic() < ends:  # those that came to this process
        found = list(process.reap(found))
