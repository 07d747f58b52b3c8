"""What a thread has produced and its client has not taken: kept in a temporary file, so that the thread goes on."""

from __future__ import annotations

import os

from arun.core.genuine import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

__all__ = ("Backlog", "Room")

#: Bytes that are read at once.
_PIECE = 65_536
#: All backlogs together may be so many times as long as one.
_TOGETHER = 64


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
    """Bytes that one thread appends and the loop takes, first in, first out.

    Raises:
        OSError: no file can be made.
    """

    def __init__(self, room: Room) -> None:
        from tempfile import TemporaryFile

        self._room = room
        self._file: IO[bytes] = TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the answer
        self._begin = self._end = 0
        self._closed = False
        self._mutex = allocate_lock()

    @property
    def is_empty(self) -> bool:
        """Whether all was taken; only the thread that appends can make it false."""
        return self._begin == self._end

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
        """Return the oldest bytes, and nothing if there are none.

        Raises:
            OSError: the file cannot be read.
        """
        with self._mutex:
            size = min(_PIECE, self._end - self._begin)
            if not size:
                return b""
            data = os.pread(self._file.fileno(), size, self._begin)
            if len(data) < size:
                raise OSError("a temporary file is shorter than what was written to it")
            self._begin += size
            if self._begin == self._end:
                self._room.give_back(self._end)
                self._begin = self._end = 0
                os.ftruncate(self._file.fileno(), 0)
            return data

    def close(self) -> None:
        """Drop what is left."""
        with self._mutex:
            if not self._closed:
                self._closed = True
                self._room.give_back(self._end)
                self._begin = self._end = 0
                self._file.close()
