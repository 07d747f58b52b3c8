"""Files, folders and patterns of files that ask for something by being touched."""

from __future__ import annotations

import itertools
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Signature = tuple[int, ...]

__all__ = ("Touched", "missing")

#: Seconds between two looks.
_INTERVAL = 1.0
#: Files of one folder or pattern that are looked at; a look at so many takes some 30 ms.
_MOST = 4096


class Touched:
    """What may be touched, and how it was when it was last looked at; a file that is not there has not been touched.

    A folder stands for the Python files below it (its own time changes with every log and cache), a path with ``*``, ``?`` or ``[`` for all that match it
    (``**`` for folders of any depth).
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._seen = self._signatures()
        self._next = 0.0

    def changed(self, now: float) -> bool:
        """Look, once a second of the monotonic clock at most: whether one was written, touched, made or replaced since."""
        if not self._paths or now < self._next:
            return False
        self._next = now + _INTERVAL
        seen, self._seen = self._seen, self._signatures()
        return any(seen.get(path) != is_now for path, is_now in self._seen.items())

    def _signatures(self) -> dict[str, Signature]:
        found: dict[str, Signature] = {}
        for path in self._paths:
            for one in itertools.islice(_files(path), _MOST):
                signature = _signature(one)
                if signature is not None:
                    found[one] = signature
        return found


def missing(path: str) -> bool:
    """Whether nothing is there to be touched now."""
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


def _signature(path: str) -> Signature | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)
