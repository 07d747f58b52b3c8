"""``wsgi.errors`` (PEP 3333)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("ErrorStream",)


class ErrorStream:
    """``wsgi.errors``: text for the error log of the instance, from any thread."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, text: str) -> int:
        """Write the text to the error log."""
        self._write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""
