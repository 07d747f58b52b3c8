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
    from collections.abc import Callable, Iterable

    from runner.apps.engines.access.log import AccessLog

__all__ = ("json_log",)


def json_log(write: Callable[[str], None]) -> AccessLog:
    """Return what writes a line, with its end, of each request."""
    quoted, clock = json_escapes(), _clock()

    def log(  # noqa: PLR0913, PLR0917 - as an access log is
        client: str | None,
        method: str,
        target: bytes,
        version: str,
        status: int,
        sent: int,
        seconds: float,
        request_fields: Iterable[tuple[bytes, bytes]] = (),
        answer_fields: Iterable[tuple[bytes, bytes]] = (),  # noqa: ARG001 - as above
        scheme: str = "http",
        request_id: str | None = None,
    ) -> None:
        field = dict(request_fields).get
        if method:
            path, _, query = target.partition(b"?")
            request = (
                f'"method":{quoted[method]},"path":{quoted[path]},"query":{quoted[query]},"protocol":"HTTP/{version}"'
            )
        else:
            request = '"method":null,"path":null,"query":null,"protocol":null'
        write(
            f'{{"time":"{clock()}","client":{quoted[client]},{request},"status":{status or "null"},'
            f'"bytes":{sent},"duration_ms":{seconds * 1000:.3f},"referer":{quoted[field(b"referer")]},'
            f'"user_agent":{quoted[field(b"user-agent")]},"request_id":{quoted[request_id]},'
            f'"traceparent":{quoted[field(b"traceparent")]},"scheme":"{scheme}",'
            f'"host":{quoted[field(b"host")]}}}\n'
        )

    return log


def _clock() -> Callable[[], str]:
    """Return what tells the time in UTC by RFC 3339, ``2026-11-24T20:42:40.123Z``; milliseconds apart, made once a second."""
    made = 0
    written = ""

    def clock() -> str:
        nonlocal made, written
        now = time.time()
        second = int(now)
        if second != made:
            made = second
            year, month, day, hour, minute, seconds = time.gmtime(second)[:6]
            written = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{seconds:02}"
        return f"{written}.{int((now - second) * 1000):03}Z"

    return clock
