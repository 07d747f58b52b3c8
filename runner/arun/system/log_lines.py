"""The forms of a line of the log: ``text``, ``json``, ``plain``, and plain with the levels that a journal understands.

======= =========================================================================================================
text    ``[2026-11-30 12:03:04.512 +0000] [4711] [INFO] serving shop.py``: time, pid and level before the line, as gunicorn
        has them; in a worker ``[4711 worker 2]``. Further lines (a traceback) follow as they are.
screen  the same without the date, for a terminal, where its reader knows that; with or without colors
plain   the line itself
json    an object on each line: time (RFC 3339, UTC), level, pid, worker, event, message, and the fields of the event
journal the line itself behind ``<6>``, which systemd takes for its level (sd-daemon(3)); it stamps time and pid by itself
======= =========================================================================================================

Values in, text out; nothing is imported when a line is made.
"""

from __future__ import annotations

import os
import time

from arun.core.values import Value

try:
    from _json import encode_basestring_ascii as _json_text  # what json itself uses; it is all that is needed of it
except ImportError:  # another Python than CPython
    from json.encoder import encode_basestring_ascii as _json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Form: TypeAlias = Callable[["Entry"], str]

__all__ = (
    "LEVELS",
    "Entry",
    "as_json",
    "as_plain",
    "as_text",
    "for_journal",
    "is_journal",
    "on_screen",
    "on_screen_in_colors",
)

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

#: Levels of syslog(3).
_PRIORITIES = {"trace": 7, "debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
#: ECMA-48: faint, and the colors of levels.
_FAINT, _RESET = "\033[2m", "\033[0m"
_COLORS = {"trace": "\033[2m", "debug": "\033[2m", "warning": "\033[33m", "error": "\033[31m", "critical": "\033[1;31m"}


class Entry(Value):
    """One line and what belongs to it.

    ``text`` is the line as people read it, ``more`` are further lines, each with its end. ``fields`` are those of the ``event``;
    ``message`` stands for the text where programs read it. ``worker`` is 0 in a process that is none.
    """

    level: str
    text: str
    more: str = ""
    event: str = ""
    message: str = ""
    fields: Mapping[str, object] = {}
    worker: int = 0


def as_plain(entry: Entry) -> str:
    """Return the line itself."""
    return f"{entry.text}\n{entry.more}"


def as_text(entry: Entry) -> str:
    """Return the line with time, pid and level before it."""
    return f"{_head(entry)} {entry.text}\n{entry.more}"


def on_screen(entry: Entry) -> str:
    """Return the line for a terminal."""
    return f"{_short_head(entry)} {entry.text}\n{entry.more}"


def on_screen_in_colors(entry: Entry) -> str:
    """Return the line for a terminal that has colors."""
    color = _COLORS.get(entry.level)
    text = f"{color}{entry.text}{_RESET}" if color else entry.text
    return f"{_FAINT}{_short_head(entry)}{_RESET} {text}\n{entry.more}"


def for_journal(entry: Entry) -> str:
    """Return the line, and each further one, with its priority before it."""
    mark = f"<{_PRIORITIES[entry.level]}>"
    return "".join(f"{mark}{line}\n" for line in (entry.text, *entry.more.splitlines()))


def as_json(entry: Entry) -> str:
    """Return the line as an object."""
    now = time.time()
    members = [
        f'"time":"{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))}.{int(now % 1 * 1_000_000):06}Z"',
        f'"level":"{entry.level}"',
        f'"pid":{os.getpid()}',
    ]
    if entry.worker:
        members.append(f'"worker":{entry.worker}')
    if entry.event:
        members.append(f'"event":"{entry.event}"')
    message = entry.message or entry.text.removeprefix("arun: ")
    members.append(f'"message":{_json_text(message)}')
    members += [f'"{name}":{_json(value)}' for name, value in entry.fields.items()]
    if entry.more and "traceback" not in entry.fields:
        members.append(f'"traceback":{_json_text(entry.more)}')
    return f"{{{','.join(members)}}}\n"


def _json(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"[{','.join(map(_json, value))}]"
    return _json_text(str(value))


def is_journal(fd: int = 2) -> bool:
    """Return whether what is written there goes to the journal: ``$JOURNAL_STREAM`` names device and inode (systemd.exec(5))."""
    named = os.environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


#: The second whose text is known, that text, and the zone behind it.
_second, _date, _zone = -1, "", ""


def _head(entry: Entry) -> str:
    date, milliseconds = _now()
    return f"[{date}.{milliseconds:03} {_zone}] {_place(entry)}"


def _short_head(entry: Entry) -> str:
    date, milliseconds = _now()
    return f"[{date[11:]}.{milliseconds:03}] {_place(entry)}"


def _place(entry: Entry) -> str:
    process = f"{os.getpid()} worker {entry.worker}" if entry.worker else os.getpid()
    return f"[{process}] [{entry.level.upper()}]"


def _now() -> tuple[str, int]:
    """Return date and time of now, as they are here, and the milliseconds."""
    global _second, _date, _zone  # noqa: PLW0603 - a clock of whole seconds: most lines come in bursts
    now = time.time()
    whole = int(now)
    if whole != _second:
        local = time.localtime(whole)
        _date, _zone = time.strftime("%Y-%m-%d %H:%M:%S", local), time.strftime("%z", local)
        _second = whole
    return _date, int((now - whole) * 1000)
