"""What serving and failing may need later, loaded while nothing has failed yet.

A start imports what its first request needs. The rest would be imported when it is needed; by then the files of arun or of
Python may be away, as those of a package are for a moment while pip replaces it, or no descriptor may be left to open
them with. So it is loaded soon after the start, a module at a time, when a loop has nothing else to do.
"""

from __future__ import annotations

import importlib

from runner.apps.tracebacks import whole_traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

__all__ = ("LATER", "load_in_idle_time", "load_now")

#: What telling a failure and handing over to a successor need, in every process.
_FAILING = ("fcntl", "json", "runner.tls_failures", "runner.worker_failures", "traceback")
#: What requests need that are not like the first one.
_SERVING = (
    "ipaddress",
    "termios",
    "runner.apps.engines.h1_engine.sendfile",
    "runner.apps.engines.h1_engine.tls",
)
#: What only requests to one kind of app need: a request body that is not kept in memory.
_OF_KIND = {"wsgi": ("tempfile",)}
LATER = (*_FAILING, *(name for names in _OF_KIND.values() for name in names), *_SERVING)

#: Seconds from the start to the first module, and between two.
_FIRST, _BETWEEN = 0.1, 0.01


def load_now() -> None:
    """Load what telling a failure needs; in a process that serves nothing itself."""
    for name in _FAILING:
        importlib.import_module(name)
    _rehearse()


def load_in_idle_time(loop: asyncio.AbstractEventLoop, kind: str) -> None:
    """Load what serves an app of this kind, in turns of a loop that runs; what is not there is left to who needs it."""
    names = iter((*_FAILING, *_OF_KIND.get(kind, ()), *_SERVING))

    def load_next() -> None:
        name = next(names, None)
        if name is None:
            _rehearse()
            return
        loop.call_later(_BETWEEN, load_next)
        try:
            importlib.import_module(name)
        except ImportError:
            return  # termios and fcntl, say: not every system has them

    loop.call_later(_FIRST, load_next)


def _rehearse() -> None:
    """Format an exception: what traceback itself imports only then differs from Python to Python."""
    try:
        int("x")
    except ValueError as error:
        whole_traceback(error)
