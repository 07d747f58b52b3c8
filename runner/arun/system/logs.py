"""Lines on standard error. Writing never raises and never blocks for long: a log must not stop an instance.

The app's own logging is left alone; records without a handler go through here as well.
"""

from __future__ import annotations

import os

from arun.core import genuine
from arun.core.failures import contained, printable
from arun.core.genuine import POLLERR, POLLNVAL, POLLOUT, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.core.failures import FailureRecord

__all__ = ("LEVELS", "adopt_logging", "frame", "info", "set_level", "terminal", "warning", "write")

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

#: Milliseconds that a line waits for a reader that does not read; afterwards it is dropped.
_PATIENCE = 100
#: What poll() promises to take without blocking: POSIX guarantees PIPE_BUF (at least 512 bytes) for pipes.
_CHUNK = 512

_level = LEVELS["info"]
_stuck = False


def set_level(name: str) -> None:
    """Say from which level on lines are written."""
    global _level  # noqa: PLW0603 - one process, one standard error
    _level = LEVELS[name]


def info(text: str) -> None:
    """Write a line of what goes on."""
    if _level <= LEVELS["info"]:
        write(f"{printable(text)}\n")


def warning(text: str) -> None:
    """Write a line about what an operator should look at, though the start goes on."""
    if _level <= LEVELS["warning"]:
        write(f"arun: warning: {printable(text)}\n")


def frame(record: FailureRecord) -> None:
    """Write one failure in its one form: the app's traceback if it has one, what and where, what to do."""
    detail = f"{record.detail.rstrip()}\n" if record.detail else ""
    write(f"{detail}arun: {record.summary()}\narun: hint: {printable(record.hint)}\n")


def terminal() -> bool:
    """Return whether a person sees standard error as it is written."""
    try:
        return os.isatty(2)
    except OSError:
        return False


def write(text: str, fd: int = 2) -> None:
    """Write the text as it stands; what a reader does not take in time is dropped, whole lines after it too."""
    global _stuck  # noqa: PLW0603 - a reader that once did not read is not waited for at every line
    try:
        rest = memoryview(text.encode(errors="backslashreplace"))
        waiting = poll()
        waiting.register(fd, POLLOUT)
        while rest:
            ready = waiting.poll(0 if _stuck else _PATIENCE)
            _stuck = not ready
            if not ready or ready[0][1] & (POLLNVAL | POLLERR):
                return
            rest = rest[genuine.write(fd, rest[:_CHUNK]) :]
    except (OSError, MemoryError):
        return


def adopt_logging() -> None:
    """Write records of the standard library's logging that have no other handler like our own lines."""
    import logging

    class LastResort(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                text = self.format(record)
            except Exception:  # noqa: BLE001 - arguments that do not fit, an exception that cannot be formatted
                self.handleError(record)
                return
            first, newline, more = text.partition("\n")
            write(f"{printable(first)}{newline}{contained(more, ())}\n")

    handler = LastResort(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(name)s: %(levelname)s: %(message)s"))
    logging.lastResort = handler
