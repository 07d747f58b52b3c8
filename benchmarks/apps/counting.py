"""How many requests a worker has begun, in a file named after its pid, which the measuring process may read at any time."""

from __future__ import annotations

import mmap
import os
import struct

_NUMBER = struct.Struct("Q")

with open(f"count.{os.getpid()}", "wb+") as _file:
    _file.truncate(_NUMBER.size)
    _shared = mmap.mmap(_file.fileno(), _NUMBER.size)
_begun = 0


def count() -> None:
    """Count one more."""
    global _begun  # noqa: PLW0603 - a process has one count
    _begun += 1
    _NUMBER.pack_into(_shared, 0, _begun)
