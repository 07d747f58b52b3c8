"""Bodies that wait: of a request, until it is whole; of a response, until a slow client takes it.

What is too long for memory is in temporary files, which have no name, and are where TMPDIR says.
"""

from __future__ import annotations

import os
from io import SEEK_END, BufferedReader, BytesIO

from arun.apps.wsgi.file_reader import FileReader
from arun.core.genuine import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedIOBase
    from typing import IO, Final

__all__ = ("IN_MEMORY", "LONGER", "Backlog", "GatheredBody", "Room")

#: Bytes of any request body that are kept in memory. One that is longer stays there up to LONGER, as long as all of those have
#: room together; else it goes to a temporary file.
IN_MEMORY: Final = 65_536
LONGER: Final = 1_048_576
#: Bytes of a body that are read back at once.
_PIECE: Final = 65_536
#: All backlogs together may be so many times as long as one; so may the longer bodies in memory.
_TOGETHER: Final = 64


class Room:
    """The bytes that bodies of one kind may have together in a process; ``limit`` is for one of them, 0 for none at all."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._left = limit * _TOGETHER
        self._mutex = allocate_lock()

    def take(self, size: int) -> bool:
        """Take room for so many bytes; return False if there is none."""
        with self._mutex:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Give room back."""
        with self._mutex:
            self._left += size


class GatheredBody:
    """A request body that is gathered before the app is called: in memory, or in a file if it is long.

    Each method but ``close`` may raise an OSError: the disk is full, or no descriptor is left.
    """

    __slots__ = ("_file", "_memory", "_room", "_size", "_taken")

    def __init__(self, room: Room) -> None:
        self._room = room
        #: Bytes that have come, and for how many of them room is taken.
        self._size = self._taken = 0
        self._memory = BytesIO()
        self._file: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        self._size += len(data)
        file = self._file
        if file is None:
            if self._size <= IN_MEMORY or self._has_room():
                if self._size == len(data):
                    self._memory = BytesIO(data)  # it shares them: nothing is copied if nothing follows
                    self._memory.seek(0, SEEK_END)
                else:
                    self._memory.write(data)
                return
            from tempfile import TemporaryFile

            file = self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the request
            _append(file, self._memory.getvalue())
            self._leave_memory()
        _append(file, data)

    def open(self) -> BufferedIOBase:
        """Return the whole as a file for reading, what ``wsgi.input`` is."""
        if self._file is None:
            return BytesIO(self._memory.getvalue())  # it shares them, also with an app that reads all at once
        self._file.seek(0)
        return BufferedReader(FileReader(self._file), _PIECE)

    def close(self) -> None:
        """Close the file, and give the room back."""
        self._leave_memory()
        if self._file is not None:
            self._file.close()

    def _has_room(self) -> bool:
        size = self._size
        if size > self._room.limit or not self._room.take(size - self._taken):
            return False
        self._taken = size
        return True

    def _leave_memory(self) -> None:
        self._memory = BytesIO()
        self._room.give_back(self._taken)
        self._taken = 0


def _append(file: IO[bytes], data: bytes) -> None:
    left = memoryview(data)
    while left:
        written = file.write(left)
        left = left[written:]


class Backlog:
    """The part of a response that its client has not taken: one thread appends, and the loop takes, first in, first out.

    Raises:
        OSError: no file can be made.
    """

    def __init__(self, room: Room) -> None:
        from tempfile import TemporaryFile

        self._room = room
        self._file: IO[bytes] = TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the response
        self._start = self._end = 0
        self._closed = False
        self._mutex = allocate_lock()

    @property
    def is_empty(self) -> bool:
        """Whether all was taken; only the thread that appends can make it false."""
        return self._start == self._end

    def append(self, data: bytes) -> bool:
        """Keep the bytes after all others; return False if there is no room, on the disk or in the bounds."""
        size = len(data)
        with self._mutex:
            if self._closed or self._end + size > self._room.limit or not self._room.take(size):
                return False
            try:
                done = 0
                while done < size:
                    done += os.pwrite(self._file.fileno(), memoryview(data)[done:], self._end + done)
            except OSError:
                self._room.give_back(size)
                return False
            self._end += size
            return True

    def take(self) -> bytes:
        """Return the oldest bytes; empty if there are none.

        Raises:
            OSError: the file cannot be read.
        """
        with self._mutex:
            size = min(_PIECE, self._end - self._start)
            if not size:
                return b""
            data = os.pread(self._file.fileno(), size, self._start)
            if len(data) < size:
                raise OSError("a temporary file is shorter than what was written to it")
            self._start += size
            if self._start == self._end:
                self._room.give_back(self._end)
                self._start = self._end = 0
                os.ftruncate(self._file.fileno(), 0)
            return data

    def close(self) -> None:
        """Drop what is left."""
        with self._mutex:
            if not self._closed:
                self._closed = True
                self._room.give_back(self._end)
                self._start = self._end = 0
                self._file.close()
