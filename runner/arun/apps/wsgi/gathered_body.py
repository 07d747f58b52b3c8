"""A request body that is gathered before a WSGI app is called: in memory, or in a temporary file if it is long."""

from __future__ import annotations

from io import SEEK_SET, BufferedReader, BytesIO, RawIOBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedIOBase
    from typing import IO, Any

__all__ = ("IN_MEMORY", "GatheredBody")

#: Bytes of a request body that are kept in memory; a longer one goes to a temporary file.
IN_MEMORY = 65_536


class GatheredBody:
    """What has come of a body; the file has no name, and is where TMPDIR says.

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
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


class _Reader(RawIOBase):
    """The file as the app reads it: whatever the app closes, forgets or wraps, the file itself stays ours."""

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
