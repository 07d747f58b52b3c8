"""How the bytes of a config are read: bounded in size and in time, whatever its path names.

A path may name a pipe that never ends or has no writer. Reading must not wait for it: clients may be waiting for the start
or its fallback.
"""

from __future__ import annotations

import errno
import os
import stat
import time

__all__ = ("PIPE_TIMEOUT", "read_file")

#: Seconds in which what is no regular file (standard input, a pipe of ``<(command)``) has to come to its end.
PIPE_TIMEOUT = 10.0


def read_file(path: str, most: int, *, waits: bool) -> bytes:
    """Return the first ``most`` bytes of a file; other than a regular file is read to its end with ``waits``.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is no regular file and may not be read, or has not come to its end in PIPE_TIMEOUT seconds.
    """
    fd = os.open(
        path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    )  # without O_NONBLOCK a FIFO waits for its writer here
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if stat.S_ISREG(mode):
            with open(fd, "rb", closefd=False) as stream:
                return stream.read(most)
        if not waits:
            raise ValueError("is no regular file")
        return _read_to_end(fd, most, time.monotonic() + PIPE_TIMEOUT)
    finally:
        os.close(fd)


def _read_to_end(fd: int, most: int, deadline: float) -> bytes:
    import select

    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    pieces: list[bytes] = []
    while most:
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise ValueError(f"is no regular file, and did not come to its end in {PIPE_TIMEOUT:g} s")
        try:
            piece = os.read(fd, most)
        except BlockingIOError:
            continue
        if not piece:
            break
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
