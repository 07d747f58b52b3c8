"""Files that ask for something by being touched."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("Touched",)

#: Seconds between two looks.
_INTERVAL = 1.0


class Touched:
    """Some files, and how they were when they were last looked at; one that is not there has not been touched."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._seen = self._signatures()
        self._next = 0.0

    def changed(self, now: float) -> bool:
        """Look, once a second of the monotonic clock at most: whether one was written, touched or replaced since."""
        if not self._paths or now < self._next:
            return False
        self._next = now + _INTERVAL
        seen, self._seen = self._seen, self._signatures()
        return any(was != is_now and is_now is not None for was, is_now in zip(seen, self._seen, strict=True))

    def _signatures(self) -> list[tuple[int, ...] | None]:
        return [_signature(path) for path in self._paths]


def _signature(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)
