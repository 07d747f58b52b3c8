"""The file that standard output and standard error of the instance go to, and its opening again after a rotation."""

from __future__ import annotations

import contextlib
import os
import sys

from arun.core.failures import FILE_UNUSABLE, StartupFailure
from arun.system import links, logs

__all__ = ("LogFile",)

#: The mode of a new file: the group may read it, as log readers do; others may not, for lines may hold secrets.
_MODE = 0o640


class LogFile:
    """A file that lines are added to; ``path`` is absolute. After an exec the streams go there already."""

    def __init__(self, path: str) -> None:
        self.path = path
        #: Where the lines of this process begin, in bytes.
        self.begin = 0
        self._fd = -1

    def open(self, *, origin: str) -> None:
        """Open it; ``origin`` is where a user named it.

        Raises:
            StartupFailure(FILE_UNUSABLE): it cannot be opened for writing; also a named pipe without a reader.
        """
        try:
            self._fd = _opened(self.path)
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise StartupFailure(
                FILE_UNUSABLE, f"cannot write the log file {self.path}: {reason}", origin=origin
            ) from error
        self.begin = os.fstat(self._fd).st_size

    def take_streams(self) -> None:
        """Let standard output and standard error go there, of this process and of all that it starts."""
        fd, self._fd = self._fd, -1
        _put_on_streams(fd)

    def reopen(self) -> None:
        """Open the file again by its name, after a rotation has moved it; where that fails the old one is kept."""
        try:
            fd = _opened(self.path)
        except OSError as error:
            logs.warning(f"the log file {self.path} cannot be opened again: {error.strerror}; the old one is kept")
            return
        _put_on_streams(fd)


def _put_on_streams(fd: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or whatever an app has put in its place
            stream.flush()
    for number in (1, 2):
        os.dup2(fd, number)
    os.close(fd)


def _opened(path: str) -> int:
    """Open the file to add to it; to wait for the reader of a pipe would be to wait for ever."""
    fd = links.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK, _MODE)
    os.set_blocking(fd, True)  # what the app prints is its own to wait for
    return fd
