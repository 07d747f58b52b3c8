"""Colours on a terminal, where they are seen and wanted."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("BOLD", "DIM", "GREEN", "RED", "YELLOW", "painter")

GREEN, YELLOW, RED, BOLD, DIM = "\033[32m", "\033[33m", "\033[31m", "\033[1m", "\033[2m"
_PLAIN = "\033[0m"


def painter() -> Callable[[str, str], str]:
    """Return what puts a colour on a text, where standard output shows it and nothing says no (https://no-color.org)."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        return lambda colour, text: f"{colour}{text}{_PLAIN}"
    return lambda _colour, text: text
