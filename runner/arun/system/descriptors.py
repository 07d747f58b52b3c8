"""How many descriptors this process may have: its limit raised, and what clients get of it."""

from __future__ import annotations

import contextlib
import os

__all__ = ("allow_descriptors", "connections_possible")

#: Descriptors to ask for: a process that scans all of them, as some that an app may start do, should not take forever.
_DESCRIPTORS = 65_536
#: Descriptors that clients do not get: files, listeners and what the app opens.
_KEPT_DESCRIPTORS = 128
#: Descriptors that a start opens at the same time, and some more.
_NEEDED_DESCRIPTORS = 32


def allow_descriptors() -> None:
    """Raise a limit of open descriptors that is too low for a start: a failed app may have left it so."""
    if os.sysconf("SC_OPEN_MAX") < _NEEDED_DESCRIPTORS:
        connections_possible()


def connections_possible() -> int:
    """Raise the limit of open descriptors as far as it goes, and return how many of them clients may have."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        wanted = min(hard, _DESCRIPTORS) if hard != resource.RLIM_INFINITY else _DESCRIPTORS
        with contextlib.suppress(ValueError, OSError):  # macOS has a limit below the one that it reports
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(soft - _KEPT_DESCRIPTORS, soft // 2, 1)
