"""JSON lines (RFC 8259): one object for each request, always with the same keys; what is not known is null.

=============== ================================================================================================
``time``        when the answer ended, RFC 3339 in UTC with milliseconds
``client``      the address of the client, as a trusted proxy tells it; null on a unix socket
``method``      ``path`` ``query`` ``protocol``: of the request line; all null where it could not be read
``status``      null if no answer was sent
``bytes``       of the body, without framing
``duration_ms`` from the complete head to the end of the answer
``referer``     ``user_agent`` ``host`` ``traceparent``: header fields
``request_id``  with ``--request-id``
``scheme``      http or https, as a trusted proxy tells it
=============== ================================================================================================

A string holds one character for each byte that the client sent (latin-1), which is what a header is in ASGI and WSGI.
"""

from __future__ import annotations

import time

from runner.apps.engines.access.escapes import json_escapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.apps.engines.access.log import Entry

__all__ = ("json_line",)


def json_line() -> Callable[[Entry], str]:
    """Return the function that makes a line, with its end, of an entry."""
    quoted, clock = json_escapes(), _Clock()

    def line(entry: Entry) -> str:
        field = dict(entry.request_fields).get
        if entry.method:
            path, _, query = entry.target.partition(b"?")
            request = (
                f'"method":{quoted[entry.method]},"path":{quoted[path]},"query":{quoted[query]},'
                f'"protocol":"HTTP/{entry.version}"'
            )
        else:
            request = '"method":null,"path":null,"query":null,"protocol":null'
        return (
            f'{{"time":"{clock()}","client":{quoted[entry.client]},{request},"status":{entry.status or "null"},'
            f'"bytes":{entry.sent},"duration_ms":{entry.seconds * 1000:.3f},"referer":{quoted[field(b"referer")]},'
            f'"user_agent":{quoted[field(b"user-agent")]},"request_id":{quoted[entry.request_id]},'
            f'"traceparent":{quoted[field(b"traceparent")]},"scheme":"{entry.scheme}",'
            f'"host":{quoted[field(b"host")]}}}\n'
        )

    return line


class _Clock:
    """The time in UTC by RFC 3339, ``2026-11-24T20:42:40.123Z``; all but the milliseconds is made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._written = ""

    def __call__(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            year, month, day, hour, minute, seconds = time.gmtime(second)[:6]
            self._written = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{seconds:02}"
        return f"{self._written}.{int((now - second) * 1000):03}Z"
