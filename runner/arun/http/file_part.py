"""Part of a file as the body of a response, and which files can be one."""

from __future__ import annotations

import os
import stat
from errno import EINVAL

from arun.core.values import Value

__all__ = ("FilePart", "has_size", "open_regular")

#: Bytes up to which the size of a file without a block on a disk may be wrong: a page of the largest kind.
_PAGE = 65_536


class FilePart(Value):
    """``size`` bytes of a file from ``offset`` on; the descriptor is our own, whatever the app does with its file."""

    descriptor: int
    offset: int
    size: int


def has_size(state: os.stat_result) -> bool:
    """Return whether the size of a regular file is its length: in /proc it is always 0, in /sys always a page."""
    return state.st_size > 0 and (state.st_blocks > 0 or state.st_size > _PAGE)


def open_regular(path: str) -> int:
    """Open a regular file for reading, without waiting for another process, and return its descriptor.

    Raises:
        OSError: it cannot be opened, or is a folder, a FIFO, a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(EINVAL, "Not a regular file", path)
    return descriptor
