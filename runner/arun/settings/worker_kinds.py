"""The kinds of values that only options of workers have."""

from __future__ import annotations

from .kinds import Number, Size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("Memory", "WorkerCount")

_MOST_WORKERS = 1024


class WorkerCount(Number):
    """A number of processes; ``auto`` stands for one for each core that this process may use."""

    def __init__(self) -> None:
        super().__init__(1, _MOST_WORKERS, "N|auto")

    def __call__(self, text: str) -> int:
        """Return the number."""
        if text == "auto":
            from .cores import usable_cores

            return min(usable_cores(), _MOST_WORKERS)
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
