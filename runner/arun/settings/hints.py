"""Hints for unknown keys: the option that was probably meant."""

from __future__ import annotations

from .declaration import named
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("MOST_REPORTED", "nearest")

#: Mistakes that are reported one by one; a file of noise has one in each line.
MOST_REPORTED = 100


def nearest(key: str, others: Iterable[str] = ()) -> str:
    """Return the name of arun, or of the others, that was probably meant; empty if there is none."""
    from difflib import get_close_matches

    found = get_close_matches(key.lower(), [*named(Settings), *others], 1, 0.72)
    return found[0] if found else ""
