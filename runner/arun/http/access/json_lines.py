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
from arun.http.access.line import Clock, field
from arun.http.access.parts import BY_CLIENT, BY_FIELDS, BY_REQUEST, LineLog, Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from arun.http.access.escapes import Escapes
    from arun.http.access.line import AccessLog

__all__ = ("json_log",)

_NOTHING = "null"
_THOUSAND: Final = 1000


def json_log(write: Callable[[str], None]) -> AccessLog:
    """Return what writes a line, with its end, of each request."""
    clock, quoted = Clock(_utc), json_escapes()
    #: All fractions of three digits: to format one costs as much as a third of the line.
    fractions = [f".{number:03}" for number in range(_THOUSAND)]
    members: dict[str, tuple[str | Piece, ...]] = {
        "time": (
            '"',
            Piece(lambda _: clock.text, BY_CLIENT),
            Piece(lambda _: fractions[int((clock.now - clock.since) * _THOUSAND)]),
            'Z"',
        ),
        "client": (Piece(lambda entry: quoted[entry.client], BY_CLIENT),),
        "method": (Piece(lambda entry: quoted[entry.method or None], BY_REQUEST),),
        "path": (Piece(lambda entry: quoted[entry.target.partition(b"?")[0] if entry.method else None], BY_REQUEST),),
        "query": (Piece(lambda entry: quoted[entry.target.partition(b"?")[2] if entry.method else None], BY_REQUEST),),
        "protocol": (Piece(lambda entry: f'"HTTP/{entry.version}"' if entry.method else _NOTHING, BY_REQUEST),),
        "scheme": (Piece(lambda entry: quoted[entry.scheme], BY_REQUEST),),
        "status": (Piece(lambda entry: str(entry.status or _NOTHING), BY_REQUEST),),
        "bytes": (Piece(lambda entry: str(entry.sent), BY_REQUEST),),
        "duration_ms": (Piece(lambda entry: _milliseconds(entry.seconds, fractions), needs_seconds=True),),
        "referer": (_field(quoted, b"referer"),),
        "user_agent": (_field(quoted, b"user-agent"),),
        "host": (_field(quoted, b"host"),),
        "traceparent": (_field(quoted, b"traceparent", unless=b"traceparent"),),
        "request_id": (Piece(lambda entry: quoted[entry.request_id]),),
    }
    pieces: list[str | Piece] = []
    for key, values in members.items():
        pieces += [f'{"," if pieces else "{"}"{key}":', *values]
    return LineLog([*pieces, "}"], clock, write)


def _field(quoted: Escapes, name: bytes, unless: bytes | None = None) -> Piece:
    return Piece(lambda entry: quoted[field(entry.request_fields, name)], BY_FIELDS, field=name, unless=unless)


def _milliseconds(seconds: float, fractions: list[str]) -> str:
    microseconds = int(seconds * 1e6 + 0.5)
    return str(microseconds // _THOUSAND) + fractions[microseconds % _THOUSAND]


def _utc(second: int) -> str:
    """Return the time in UTC by RFC 3339, without its fraction and its zone."""
    year, month, day, hour, minute, seconds = gmtime(second)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{seconds:02}"
