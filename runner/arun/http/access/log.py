"""The access log: how a request that has ended becomes a line.

It is ``HttpOptions.access``, which is None while the log is off: then it costs a request one test.
"""

from __future__ import annotations

from arun.core.access_format import JSON, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arun.http.access.line import AccessLog

__all__ = ("access_log",)

_FAILING = 400


def access_log(form: str, quiet: tuple[str, ...], write: Callable[[str], None]) -> AccessLog:
    """Return what is called with each request that has ended.

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
    if not quiet:
        return log
    paths = frozenset(path.encode() for path in quiet if not path.endswith("*"))
    prefixes = tuple(path[:-1].encode() for path in quiet if path.endswith("*"))

    def log_unless_quiet(
        client: str | None, method: str, target: bytes, version: str, status: int, *more: Any, **named: Any
    ) -> None:
        if 0 < status < _FAILING:
            path = target.partition(b"?")[0]
            if path in paths or path.startswith(prefixes):
                return
        log(client, method, target, version, status, *more, **named)

    return log_unless_quiet
