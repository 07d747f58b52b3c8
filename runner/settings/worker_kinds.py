"""The kinds of values that only options of workers have."""

from __future__ import annotations

import os

from .kinds import Number, Size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("Memory", "WorkerCount")

_MOST_WORKERS = 1024
#: The share of the processors that a container may use, as "quota period" in microseconds (cgroup v2's cpu.max).
_QUOTA = "/sys/fs/cgroup/cpu.max"


class WorkerCount(Number):
    """A number of processes; ``auto`` stands for one for each core that this process may use."""

    def __init__(self) -> None:
        super().__init__(1, _MOST_WORKERS, "N|auto")

    def __call__(self, text: str) -> int:
        """Return the number."""
        if text == "auto":
            return min(_cores(), _MOST_WORKERS)
        try:
            return super().__call__(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither auto nor a whole number from {self.least} to {self.most}") from None

    def schema(self) -> dict[str, Any]:
        """Return the schema: a number, or the word."""
        return {"anyOf": [*super().schema()["anyOf"], {"const": "auto"}]}


class Memory(Size):
    """An amount of memory in megabytes, as uWSGI and granian count it; ``512m`` and ``1g`` are understood as well."""

    metavar = "MB"

    def __call__(self, text: str) -> int:
        """Return the number of bytes."""
        return super().__call__(f"{text}m" if text.isdigit() else text)


def _cores() -> int:
    """Return how many cores this process may use: those that it is bound to, and what its container is allowed."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    try:
        with open(_QUOTA, encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores
