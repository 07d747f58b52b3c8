"""A request body in a file, as an app reads it; apart from the compiled modules, whose classes cannot inherit from one of io's."""

from __future__ import annotations

from io import SEEK_SET, RawIOBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

__all__ = ("FileReader",)


class FileReader(RawIOBase):
    """The file as the app reads it: whatever the app closes, drops or wraps, the file itself stays ours."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: Any = file

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return how many bytes were read."""
        count: int = self._file.readinto(buffer)
        return count

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a place in the file, and return it."""
        place: int = self._file.seek(offset, whence)
        return place
