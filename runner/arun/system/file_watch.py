"""File watch: what changes when a file is written, touched or replaced, and a look at many files once a second."""

from __future__ import annotations

import itertools
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    #: Device, inode, size in bytes, and time of the last change in nanoseconds.
    Signature = tuple[int, int, int, int]

__all__ = ("FileWatch", "missing", "signature")

#: Seconds between two looks.
_INTERVAL = 1.0
#: Files of one folder or pattern that are looked at; a look at so many takes some 30 ms.
_MOST = 4096


class FileWatch:
    """Watches files, folders and patterns; a file that is missing has not changed.

    A folder stands for the Python files below it (its own time changes with every log and cache), a path with ``*``,
    ``?`` or ``[`` for all that match it (``**`` for folders of any depth).
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._seen = self._signatures()
        self._next = 0.0

    def changed(self, now: float) -> bool:
        """Return whether a file was written, touched, made or replaced since the last look.

        It looks once a second at most; ``now`` is seconds of the monotonic clock.
        """
        if not self._paths or now < self._next:
            return False
        self._next = now + _INTERVAL
        seen, self._seen = self._seen, self._signatures()
        return any(seen.get(path) != is_now for path, is_now in self._seen.items())

    def _signatures(self) -> dict[str, Signature]:
        found: dict[str, Signature] = {}
        for path in self._paths:
            for one in itertools.islice(_files(path), _MOST):
                is_now = signature(one)
                if is_now is not None:
                    found[one] = is_now
        return found


def missing(path: str) -> bool:
    """Return whether no file is there that the path names or matches."""
    return not os.path.exists(path) and next(_files(path), path) == path


def _files(path: str) -> Iterator[str]:
    if any(sign in path for sign in "*?[") and not os.path.exists(path):
        from glob import iglob  # with the first look, when a supervisor starts

        yield from iglob(path, recursive=True)
        return
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, files in os.walk(path):
        # neither what Python and editors keep for themselves nor a whole environment
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        yield from (os.path.join(folder, name) for name in files if name.endswith(".py"))


def signature(path: str) -> Signature | None:
    """Return what changes when a file is written, touched or replaced, links followed; None where none can be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
