"""Lines on standard error. Writing never raises and never blocks for long: a log must not stop an instance.

What stands before a line is a matter of its form (log_lines.py): ``--log-format`` names it, or it follows from where standard
error leads. The app's own logging is left alone; records without a handler go through here as well.
"""

from __future__ import annotations

import os

from arun.core import genuine
from arun.core.failures import contained, printable
from arun.core.genuine import POLLERR, POLLNVAL, POLLOUT, poll
from arun.system import log_lines
from arun.system.log_lines import LEVELS, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from arun.core.failures import FailureRecord
    from arun.system.log_lines import Form

__all__ = (
    "LEVELS",
    "adopt_logging",
    "be_worker",
    "block",
    "debug",
    "debugs",
    "error",
    "frame",
    "info",
    "report",
    "set_format",
    "set_level",
    "terminal",
    "warning",
    "worker",
    "write",
)

#: Milliseconds that a line waits for a reader that does not read; afterwards it is dropped.
_PATIENCE = 100
#: What poll() promises to take without blocking: POSIX guarantees PIPE_BUF (at least 512 bytes) for pipes.
_CHUNK = 512

_level = LEVELS["info"]
_stuck = False
#: The form of lines; None until the first one, and when standard error leads elsewhere.
_form: Form | None = None
_named = ""
_worker = 0


def set_level(name: str) -> None:
    """Say from which level on lines are written."""
    global _level  # noqa: PLW0603 - one process, one standard error
    _level = LEVELS[name]


def set_format(name: str | None = None) -> None:
    """Say what form lines have; without a name it stays, but standard error leads elsewhere by now. Empty: as fits there."""
    global _form, _named  # noqa: PLW0603 - as above
    _named = _named if name is None else name
    _form = None


def be_worker(number: int) -> None:
    """Say that this process is a worker, from 1; its lines tell."""
    global _worker  # noqa: PLW0603 - as above
    _worker = number


def worker() -> int:
    """Return the number of this worker; 0 in a process that is none."""
    return _worker


def debugs() -> bool:
    """Return whether lines for debugging are written: what they say may cost something to find out."""
    return _level <= LEVELS["debug"]


def debug(text: str, event: str = "", **fields: object) -> None:
    """Write a line that helps to find out why something is as it is."""
    if _level <= LEVELS["debug"]:
        _write_entry("debug", f"arun: debug: {printable(text)}", event, fields, text)


def info(text: str, event: str = "", **fields: object) -> None:
    """Write a line of what goes on; ``event`` is its name for programs, with its fields."""
    if _level <= LEVELS["info"]:
        _write_entry("info", printable(text), event, fields)


def warning(text: str, event: str = "", **fields: object) -> None:
    """Write a line about what an operator should look at, though the start goes on."""
    if _level <= LEVELS["warning"]:
        _write_entry("warning", f"arun: warning: {printable(text)}", event, fields, text)


def error(text: str, event: str = "", **fields: object) -> None:
    """Write a line about a start that has failed; no level leaves it out."""
    _write_entry("error", printable(text), event, fields)


def block(lines: Sequence[str], event: str, **fields: object) -> None:
    """Write several lines that belong together; programs get one entry."""
    if _chosen() is log_lines.as_json:
        _write_entry("error", printable(lines[0]), event, {"lines": tuple(lines[1:]), **fields})
    else:
        for line in lines:
            _write_entry("error", printable(line), event, fields)


def report(text: str) -> None:
    """Write what went wrong while serving: a line, and a traceback below it that cannot forge lines."""
    first, _, more = text.partition("\n")
    _write_entry("error", first, "request-failed", {}, more=more)


def frame(record: FailureRecord) -> None:
    """Write one failure in its one form: the app's traceback if it has one, what and where, what to do."""
    if _chosen() is log_lines.as_json:
        fields = {
            "id": record.id,
            "identifier": record.identifier,
            "stage": record.stage,
            "sentence": record.sentence,
            "origin": record.origin,
            "hint": record.hint,
            "config": record.config,
            "traceback": record.detail,
        }
        _write_entry("error", record.summary(), "failed", fields)
        return
    if record.detail:
        first, _, more = record.detail.rstrip().partition("\n")
        _write_entry("error", first, more=f"{more}\n" if more else "")
    _write_entry("error", f"arun: {record.summary()}{record.mark()}")
    _write_entry("error", f"arun: hint: {printable(record.hint)}")


def terminal() -> bool:
    """Return whether a person sees standard error as it is written."""
    try:
        return os.isatty(2) and _chosen() is not log_lines.as_json
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


def _write_entry(  # noqa: PLR0913, PLR0917 - the fields of an entry
    level: str,
    text: str,
    event: str = "",
    fields: Mapping[str, object] | None = None,
    message: str = "",
    more: str = "",
) -> None:
    try:
        line = _chosen()(Entry(level, text, more, event, message, fields or {}, _worker))
    except Exception:  # noqa: BLE001 - memory, or an app has exchanged what a time is made with
        line = f"{text}\n{more}"
    write(line)


def _chosen() -> Form:
    global _form  # noqa: PLW0603 - as above
    if _form is None:
        _form = _form_for(_named)
    return _form


def _form_for(name: str) -> Form:
    if name == "json":
        return log_lines.as_json
    if name == "plain":
        return log_lines.as_plain
    if not name and log_lines.is_journal():
        return log_lines.for_journal
    try:
        is_screen = not name and os.isatty(2)
    except OSError:
        is_screen = False
    if not is_screen:
        return log_lines.as_text
    has_colors = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    return log_lines.on_screen_in_colors if has_colors else log_lines.on_screen


def adopt_logging() -> None:
    """Write records of the standard library's logging that have no other handler like our own lines."""
    import logging

    class LastResort(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                message, newline, more = self.format(record).partition("\n")
            except Exception:  # noqa: BLE001 - arguments that do not fit, an exception that cannot be formatted
                self.handleError(record)
                return
            level = next((name for name, number in LEVELS.items() if number >= record.levelno), "critical")
            text = printable(f"{record.name}: {record.levelname}: {message}")
            lines = f"{contained(more, ())}\n" if newline else ""
            _write_entry(level, text, "app", {"logger": record.name}, message, lines)

    logging.lastResort = LastResort(logging.WARNING)
