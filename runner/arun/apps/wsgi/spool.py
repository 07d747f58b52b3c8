"""Bodies that wait in a temporary file: of a request, until it is whole; of a response, until a slow client takes it.

Files have no name, and are where TMPDIR says.
"""

from __future__ import annotations

import os
from io import SEEK_SET, BufferedReader, BytesIO, RawIOBase

from arun.core.genuine import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedIOBase
    from typing import IO, Any

__all__ = ("IN_MEMORY", "Backlog", "GatheredBody", "Room")

#: Bytes of a request body that are kept in memory; a longer one goes to a temporary file.
IN_MEMORY = 65_536
#: Bytes of a response that are read back at once.
_PIECE = 65_536
#: All backlogs together may be so many times as long as one.
_TOGETHER = 64


class GatheredBody:
    """A request body that is gathered before the app is called: in memory, or in a file if it is long.

    Each method but ``close`` may raise an OSError: the disk is full, or no descriptor is left.
    """

    __slots__ = ("_file", "_memory")

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        if self._file is None:
            self._memory += data
            if len(self._memory) <= IN_MEMORY:
                return
            from tempfile import TemporaryFile

            self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the request
            data, self._memory = bytes(self._memory), bytearray()
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def open(self) -> BufferedIOBase:
        """Return the whole as a file for reading, what ``wsgi.input`` is."""
        if self._file is None:
            memory, self._memory = self._memory, bytearray()
            return BytesIO(memory)
        self._file.seek(0)
        return BufferedReader(_Reader(self._file), IN_MEMORY)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class _Reader(RawIOBase):
    """The file as the app reads it: whatever the app closes, drops or wraps, the file itself stays ours."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: Any = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._file.readinto(buffer)
        return count

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        place: int = self._file.seek(offset, whence)
        return place


class Room:
    """The bytes that all backlogs of a process may have together; ``limit`` is for one of them, 0 for none at all."""

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
