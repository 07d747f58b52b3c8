"""The access log: how a request that has ended becomes a line.

It is ``HttpOptions.access``, which is None while the log is off: then it costs a request one test.
"""

from __future__ import annotations

from arun.core.access_format import JSON, parse
from arun.http.access.line import AccessLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arun.http.access.line import Entry

__all__ = ("access_log",)

_FAILING = 400


def access_log(form: str, quiet: tuple[str, ...], write: Callable[[str], None]) -> AccessLog:
    """Return what is told of each request that has ended.

    ``form`` is a format, or ``common``, ``combined`` or ``json``. Requests of ``quiet`` paths, exact ones or prefixes
    that end with a star, are not written unless their status is 400 or more. ``write`` takes a line with its end.

    Raises:
        ValueError: the format is invalid.
    """
    if form == JSON:
        from arun.http.access.json_lines import json_log

        log = json_log(write)
    else:
        from arun.http.access.text import text_log

        log = text_log(parse(form), write)
    return QuietLog(log, quiet) if quiet else log


class QuietLog(AccessLog):
    """Hands on what is said of requests to ``log``, unless they are of a quiet path and succeed."""

    __slots__ = ("_log", "_paths", "_prefixes")

    def __init__(self, log: AccessLog, quiet: tuple[str, ...]) -> None:
        AccessLog.__init__(self, needs_seconds=log.needs_seconds, needs_response_fields=log.needs_response_fields)
        self._log = log
        self._paths = frozenset(path.encode() for path in quiet if not path.endswith("*"))
        self._prefixes = tuple(path[:-1].encode() for path in quiet if path.endswith("*"))

    def log(self, entry: Entry) -> None:
        """Hand an entry on, or drop it."""
        if 0 < entry.status < _FAILING:
            path = entry.target.partition(b"?")[0]
            if path in self._paths or path.startswith(self._prefixes):
                return
        self._log.log(entry)
