"""Notices: the commands of ``--on-fallback`` and ``--on-recover``, run by the instance that serves by then.

A command is split as a shell would split it and run without one, as the user that arun runs as, in the starting directory, with the
record as JSON on its standard input; what it prints goes where arun's lines go. It leads a process group of its own, which
is ended with it, or 10 seconds after its start. What goes wrong with it is one warning. One that runs at an exec is handed over.
Nothing waits for one that cannot be ended, as it has become another user: it is looked after until it ends by itself.
"""

from __future__ import annotations

import os
import signal
import time
from math import inf

from arun.core.values import Value
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from arun.system.launch import Launch

__all__ = ("Notice", "Notices", "unfound")

#: Seconds that a command may take.
_LIMIT = 10.0
#: Seconds between two looks at it: the first, and the most.
_FIRST, _MOST = 0.02, 0.5
#: Commands that are looked after, at most: some may never end.
_KEPT = 16


class Notice(Value):
    """A command that runs: its process, the option that names it, and when it is ended, in seconds since the epoch.

    ``ends`` is 0 when it was ended, or could not be: all that is left is to reap it.
    """

    pid: int
    option: str
    ends: float


class Notices:
    """The commands that run. They are looked after by ``tick``, by timers of a loop or in the turns of a supervisor."""

    def __init__(self, running: Iterable[Notice] = ()) -> None:
        self._running = list(running)
        self._pause = _FIRST
        self._call_later: Callable[..., object] | None = None

    @property
    def running(self) -> tuple[Notice, ...]:
        """Those that run."""
        return tuple(self._running)

    def tell(self, option: str, command: str, fields: Mapping[str, Any], launch: Launch) -> None:
        """Start a command with these fields as JSON on its standard input. It raises nothing."""
        import json
        import shlex
        import subprocess

        try:
            with open(_anonymous_file(json.dumps(fields).encode() + b"\n"), "rb") as record:
                process = subprocess.Popen(  # noqa: S603 - the user's own command
                    shlex.split(command),
                    stdin=record,
                    stdout=2,
                    env=dict(launch.environ),
                    cwd=launch.called,
                    start_new_session=True,
                )
            process.returncode = 0  # waited for here, not when the object is collected
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = getattr(error, "strerror", None) or error
            self._warn(option, f"cannot be run: {_program(command)}: {reason}")
            return
        self._running.append(Notice(process.pid, option, time.time() + _LIMIT))
        del self._running[:-_KEPT]
        self._pause = _FIRST
        self._plan()

    def drive(self, call_later: Callable[..., object]) -> None:
        """Look after the commands by the timers of an event loop from now on."""
        self._call_later = call_later
        self._plan()

    def tick(self) -> float:
        """Look whether commands have ended, and end those that take too long; return in how many seconds to look again."""
        now = time.time()
        for notice in self.running:
            try:
                pid, status = os.waitpid(notice.pid, os.WNOHANG)
            except ChildProcessError:  # reaped elsewhere, by the app for one
                self._running.remove(notice)
                continue
            if pid:
                self.reaped(pid, status)
            elif notice.ends and now >= notice.ends:
                how = "was" if _end_group(notice.pid) else "cannot be"
                self._warn(notice.option, f"took longer than {_LIMIT:g} s and {how} ended")
                self._running[self._running.index(notice)] = notice._replace(ends=0.0)
        if not self._running:
            return inf
        self._pause, pause = min(self._pause * 2, _MOST), self._pause
        return pause

    def reaped(self, pid: int, status: int) -> None:
        """A child has ended and was reaped: if it is a command, the rest of its group is ended too."""
        for notice in self.running:
            if notice.pid == pid:
                self._running.remove(notice)
                _end_group(pid)
                code = os.waitstatus_to_exitcode(status)
                if code and notice.ends:
                    how = f"exited with status {code}" if code > 0 else f"was ended by {_signal(-code)}"
                    self._warn(notice.option, how)

    def cut(self) -> None:
        """End all that run: the process ends."""
        for notice in self._running:
            _end_group(notice.pid)
        self._running.clear()

    def _plan(self) -> None:
        if self._call_later is not None and self._running:
            self._call_later(_FIRST, self._look)

    def _look(self) -> None:
        pause = self.tick()
        if pause < inf and self._call_later is not None:
            self._call_later(pause, self._look)

    def _warn(self, option: str, what: str) -> None:
        logs.warning(f"the command of --{option} {what}", "notice-failed", option=option)


def unfound(command: str, environ: Mapping[str, str]) -> str:
    """Return the program of a command if it is not found where it would be looked for now; else an empty text."""
    import shutil

    program = _program(command)
    return "" if shutil.which(program, path=environ.get("PATH", os.defpath)) else program


def _program(command: str) -> str:
    import shlex

    try:
        return shlex.split(command)[0]
    except (ValueError, IndexError):
        return command


def _end_group(leader: int) -> bool:
    """End a process group; return False where all that is left of it runs as another user."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError:  # on macOS also where all of it has ended
        return False
    return True


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"


def _anonymous_file(content: bytes) -> int:
    """Return a descriptor from which the content is read; a pipe would be waited for if nothing reads it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("arun-notice", os.MFD_CLOEXEC)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
