"""What sources say to the compiler of compiled modules (runner/compiling.py); at run time, none of it does anything.

This module stays interpreted, so that neither ``typing`` nor ``mypy_extensions`` is imported by what is compiled.
"""

from __future__ import annotations

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


__all__ = ("Protocol", "mypyc_attr")
