"""What compiled modules (runner/compiling.py) say to their compiler, and whether this arun has any.

This module stays interpreted: what is compiled imports neither ``typing`` nor ``mypy_extensions``, and would be loaded whole if
one of its modules were asked what it is.
"""

from __future__ import annotations

import os
from _imp import extension_suffixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from mypy_extensions import mypyc_attr
else:

    class Protocol:
        """See ``typing.Protocol``: what others have to have. A class of the same group that inherits from it is called fast."""

        __slots__ = ()

    def mypyc_attr(**_):  # noqa: ANN003, ANN201 - never seen by a type checker
        """Tell the compiler of a class that interpreted classes inherit from it: ``allow_interpreted_subclasses=True``."""
        return lambda made: made


__all__ = ("Protocol", "build", "mypyc_attr")

#: A module that every compiled build has compiled, without its suffix.
_COMPILED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "http", "exchange")


def build() -> str:
    """Return what this arun is, "compiled" or "pure Python", without loading any of it."""
    return "compiled" if any(os.path.exists(_COMPILED + suffix) for suffix in extension_suffixes()) else "pure Python"
