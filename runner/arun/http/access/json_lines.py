"""JSON lines (RFC 8259): one object for each request, always with the same keys; what is not known is null.

=============== =================================================================================================
``time``        when the response ended, RFC 3339 in UTC with milliseconds
``client``      the address of the client, as a trusted proxy reports it; null on a unix socket
``method``      ``path`` ``query`` ``protocol``: of the request line; all null where it could not be read
``status``      null if no response was sent
``bytes``       of the body, without framing
``duration_ms`` from the complete head to the end of the response
``referer``     ``user_agent`` ``host`` ``traceparent``: header fields
``request_id``  with ``--request-id``
``scheme``      http or https, as a trusted proxy reports it
=============== =================================================================================================

A string holds one character for each byte that the client sent (latin-1), which is what a header is in ASGI and WSGI.
"""

from __future__ import annotations

from time import gmtime

from arun.http.access.escapes import json_escapes
from arun.http.access.line import NOW, Clock, compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arun.http.access.line import AccessLog

__all__ = ("json_log",)

_STATEMENTS = (
    NOW,
    "field = dict(request_fields).get",
    "path, _, query = target.partition(MARK) if method else (None, None, None)",
    "protocol = f'HTTP/{version}' if method else None",
)
#: Each key with its value, an expression.
_MEMBERS = {
    "time": '"{clock.text}.{int((now - clock.since) * 1000):03}Z"',
    "client": "{quoted[client]}",
    "method": "{quoted[method or None]}",
    "path": "{quoted[path]}",
    "query": "{quoted[query]}",
    "protocol": "{quoted[protocol]}",
    "status": "{status or NULL}",
    "bytes": "{sent}",
    "duration_ms": "{seconds * 1000:.3f}",
    "referer": "{quoted[field(REFERER)]}",
    "user_agent": "{quoted[field(USER_AGENT)]}",
    "request_id": "{quoted[request_id]}",
    "traceparent": "{quoted[field(TRACEPARENT)]}",
    "scheme": '"{scheme}"',
    "host": "{quoted[field(HOST)]}",
}


def json_log(write: Callable[[str], None]) -> AccessLog:
    """Return what writes a line, with its end, of each request."""
    names = {
        "quoted": json_escapes(),
        "clock": Clock(_utc),
        "NULL": "null",
        "MARK": b"?",
        "REFERER": b"referer",
        "USER_AGENT": b"user-agent",
        "TRACEPARENT": b"traceparent",
        "HOST": b"host",
    }
    members = ",".join(f'"{key}":{value}' for key, value in _MEMBERS.items())
    return compiled(f"{{{{{members}}}}}", _STATEMENTS, names, write)


def _utc(second: int) -> str:
    """Return the time in UTC by RFC 3339, without its fraction and its zone."""
    year, month, day, hour, minute, seconds = gmtime(second)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{seconds:02}"
