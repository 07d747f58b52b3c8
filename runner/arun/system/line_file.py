"""A file that takes lines: gathered, written many at once, and never waited for.

A pipe without a reader, a closed one and a full disk lose lines, whose number is logged, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import stat
from select import PIPE_BUF

from arun.core.genuine import POLLOUT, poll, write
from arun.system import links, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ("LineFile",)

#: Seconds that a line waits for others before it is written.
_GATHERED: Final = 0.2
#: Characters that are written at once, without waiting for more.
_FULL: Final = 65_536
#: Bytes that wait for a reader before lines are dropped.
_HELD: Final = 262_144
#: Milliseconds that the end waits for a reader, for each piece.
_PATIENCE: Final = 100


class LineFile:
    """Lines on their way into a file, or into a stream that this process has (``-`` is standard output).

    It belongs to the thread of the event loop; ``name`` is what messages call it, in which a path is absolute.

    Raises:
        OSError: the file cannot be opened for writing; ENXIO is a named pipe without a reader.
    """

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name
        self._fd = _opened(path)
        self._is_pipe = not stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._lines: list[str] = []
        self._rest = b""
        self._size = 0
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: str) -> None:
        """Take a line, which ends with a newline; it is in the file 0.2 seconds later."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHERED, self._gathered)
        self._lines.append(line)
        self._size += len(line)
        if self._size > _FULL:
            self._write_out()

    def reopen(self) -> None:
        """Open the file again by its name, after a rotation has moved it; where that fails the old one is kept.

        Standard output may go elsewhere by now.
        """
        self._write_out()
        try:
            fd = _opened(self._path)
        except OSError as error:
            logs.warning(f"{self._name} cannot be opened again: {error.strerror}; the old file is kept")
            return
        old, self._fd = self._fd, fd
        os.close(old)

    def close(self) -> None:
        """Write the lines that wait, as long as they are read, and close the file."""
        if self._timer is not None:
            self._timer.cancel()
        self._write_out(_PATIENCE)
        lost = self._dropped + self._rest.count(b"\n")
        if lost:
            logs.warning(f"{self._name} lost {lost} lines")
        os.close(self._fd)

    def _gathered(self) -> None:
        self._timer = None
        self._write_out()

    def _write_out(self, patience: int = 0) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        if len(self._rest) > _HELD:
            if not self._dropped:
                logs.warning(f"{self._name} takes no more: lines are dropped")
            self._dropped += len(lines)
            lines = []
        data = self._rest + "".join(lines).encode()
        taken = self._take(data, patience)  # before the slice: the compiler would compute it twice in there
        self._rest = data[taken:]
        if self._dropped and not self._rest:
            logs.warning(f"{self._name} goes on: {self._dropped} lines were dropped")
            self._dropped = 0

    def _take(self, data: bytes, patience: int) -> int:
        """Write as much as goes without waiting and return how many bytes that is."""
        chunk = PIPE_BUF if self._is_pipe else _FULL
        taken, waiting = 0, poll()
        try:
            waiting.register(self._fd, POLLOUT)
            while taken < len(data) and waiting.poll(patience):
                # whole lines, for another worker may write in between
                end = data.rfind(b"\n", taken, taken + chunk) + 1
                taken += write(self._fd, data[taken : end or taken + chunk])
        except OSError:
            pass  # no room, or no reader: what is left is tried again with the next lines
        return taken


def _opened(path: str) -> int:
    """Open a file to add to it, or the standard output once more.

    A pipe or terminal gets a description of its own: O_NONBLOCK on the one we share would change it for the others.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
    if path != "-":
        return links.open_file(path, flags | os.O_CREAT, 0o640)
    mode = os.fstat(1).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open("/dev/fd/1", flags)
        except OSError:
            pass  # not ours to open (the process has changed its user), or no reader: poll() has to do
    return os.dup(1)
