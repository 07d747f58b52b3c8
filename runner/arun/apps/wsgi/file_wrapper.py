"""``wsgi.file_wrapper``: a file as the body of a response, sent by the kernel where possible (PEP 3333)."""

from __future__ import annotations

import io
import os
import stat

from arun.http.file_part import FilePart, has_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ("FileWrapper", "file_part")


class FileWrapper:
    """An iterable of the rest of a file, in blocks of ``block_size`` bytes; closing it closes the file."""

    def __init__(self, file: Any, block_size: int = 65_536) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        """Go on where the file stands."""
        return self

    def __next__(self) -> bytes:
        """Return the next block."""
        block: bytes = self.file.read(self.block_size)
        if not block:
            raise StopIteration
        return block


def file_part(body: object) -> FilePart | None:
    """Return what is left of the regular file that an app returned in a :class:`FileWrapper`, else None.

    Only the plain files of ``open`` count: others may have a descriptor whose bytes are not theirs (gzip). So do only
    those that tell their size; others are read to their end, as any iterable.
    """
    if type(body) is not FileWrapper:
        return None
    file = body.file
    raw = file.raw if isinstance(file, (io.BufferedReader, io.BufferedRandom)) else file
    if not isinstance(raw, io.FileIO) or raw.closed:
        return None
    file.flush()
    state = os.fstat(raw.fileno())
    if not (stat.S_ISREG(state.st_mode) and has_size(state) and raw.readable()):
        return None
    offset = file.tell()
    return FilePart(os.dup(raw.fileno()), offset, max(0, state.st_size - offset))
