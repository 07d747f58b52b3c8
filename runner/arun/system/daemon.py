"""Detaching: the instance goes on in the background, and the command that the user typed waits for how its start ends."""

from __future__ import annotations

import os
import signal
import stat

from arun.core import exits
from arun.core.failures import DETACH_FAILED, StartupFailure
from arun.system import links, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from arun.system.log_file import LogFile

__all__ = ("WaitingCommand", "detach")

_SERVES, _FAILED = b"+", b"-"
#: Bytes of the log file that are repeated where the user looks.
_MOST_REPEATED = 65_536


class WaitingCommand:
    """The command that the user typed, as the daemon knows it: a pipe that it waits on.

    Its end comes with the first of three: ``release``, an exec, the end of this process and of all that it has forked.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self, *, serves: bool) -> None:
        """Let the command end: with status 0 if the instance serves as it was asked to, and otherwise with 1."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                os.write(fd, _SERVES if serves else _FAILED)
                os.close(fd)
            except OSError:
                return  # the command was ended, or the app has closed what is not its own


def detach(log_file: LogFile, *, origin: str) -> WaitingCommand:
    """Go on as a process without a terminal, in a session of its own, whose output goes to the file (daemon(7)).

    Directory and umask stay as they are. It returns in the daemon alone; the process that called it waits there for
    the start to end, repeats the report of a failed one on standard error, and leaves. Call it while there is one
    thread, and before anything is bound.

    Raises:
        StartupFailure(DETACH_FAILED): the system allows no further process; ``origin`` is where a user asked for it.
    """
    exits.flush()  # or both processes write it
    reading, writing = os.pipe()
    try:
        is_command = os.fork() != 0
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise StartupFailure(DETACH_FAILED, f"cannot go to the background: {error.strerror}", origin=origin) from error
    if is_command:
        os.close(writing)
        _wait(reading, log_file)
    os.close(reading)
    os.setsid()
    try:
        parent_of_daemon = os.fork() != 0  # a process that leads no session gets no terminal again by opening one
    except OSError:
        parent_of_daemon = False  # no terminal is opened by arun itself without O_NOCTTY
    if parent_of_daemon:
        exits.leave_at_once(0)
    exits.continue_in_child()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    log_file.take_streams()
    return WaitingCommand(writing)


def _wait(reading: int, log_file: LogFile) -> NoReturn:
    """Be the command that waits: signals end it as any other, and the daemon goes on."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if os.read(reading, 1) == _SERVES:
        exits.leave(0)
    _repeat(log_file)
    exits.leave(1)


def _repeat(log_file: LogFile) -> None:
    """Write to standard error what has come into the file since it was opened, the last of it if it is much."""
    try:
        fd = links.open_file(log_file.path, os.O_RDONLY | os.O_NONBLOCK, 0)
        status = os.fstat(fd)
        begin = max(log_file.begin, status.st_size - _MOST_REPEATED)
        report = os.pread(fd, _MOST_REPEATED, begin) if stat.S_ISREG(status.st_mode) else b""
    except OSError:
        report = b""
    logs.write(report.decode(errors="replace") or f"arun: the start failed; {log_file.path} tells why\n")
