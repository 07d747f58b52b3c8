"""What serving and failing may need later, loaded while nothing has failed yet.

A start imports what its first request needs. The rest would be imported when it is needed; by then the files of arun or of
Python may be away, as those of a package are for a moment while pip replaces it, or no descriptor may be left to open
them with. So it is loaded soon after the start, a module at a time, when a loop has nothing else to do.
"""

from __future__ import annotations

import importlib
import sys
from collections import deque

from arun.system.tracebacks import whole_traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

__all__ = ("LATER", "load_in_idle_time", "load_now")

#: What telling a failure and handing over to a successor need, in every process.
_FAILING = ("fcntl", "json", "traceback")
#: What requests need that are not like the first one.
_SERVING = (
    "ipaddress",
    "termios",
    "arun.apps.asgi.tls",
)
#: What only requests to one kind of app need: a request body that is not kept in memory.
_OF_KIND = {"wsgi": ("tempfile",)}
#: What taking the app offline needs, where that can be ordered.
_OFFLINE = (
    "arun_welcome",
    "arun.apps.asgi.own",
    "arun.http.detour",
    "arun.http.forwarded",
    "arun.lifecycle.detours",
)
LATER = (*_FAILING, *(name for names in _OF_KIND.values() for name in names), *_SERVING)

#: Seconds from the start to the first module, between two, and after one that could not be had; and how often that may be.
_FIRST, _BETWEEN, _AGAIN = 0.1, 0.01, 1.0
_TRIES = 20


def load_now() -> None:
    """Load what telling a failure needs; in a process that serves nothing itself."""
    for name in _FAILING:
        importlib.import_module(name)
    _rehearse()


def load_in_idle_time(loop: asyncio.AbstractEventLoop, kind: str, *, goes_offline: bool = False) -> None:
    """Load what serves an app of this kind, in turns of a loop that runs; what cannot be had is tried again a few times.

    With ``goes_offline`` an operator can take the app offline.
    """
    names = deque((*_FAILING, *_OF_KIND.get(kind, ()), *(_OFFLINE if goes_offline else ()), *_SERVING))

    def load_next(tries: int) -> None:
        try:
            importlib.import_module(names[0])
            if (loaded := names.popleft()) == "traceback":
                _rehearse()
            elif loaded == "tempfile":
                sys.modules[loaded].gettempdir()  # which tries the folders, once: without a descriptor it finds none
            pause = _BETWEEN
        except (ImportError, OSError):  # no descriptor, a file that is away; termios is not on every system
            names.rotate(-1)
            tries, pause = tries - 1, _AGAIN
        if names and tries:
            loop.call_later(pause, load_next, tries)

    loop.call_later(_FIRST, load_next, _TRIES)


def _rehearse() -> None:
    """Format an exception: what traceback itself imports only then differs from Python to Python."""
    try:
        int("x")
    except ValueError as error:
        whole_traceback(error)
