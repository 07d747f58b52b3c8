"""Lines of text: a format is made into one function, so that a line costs about as much as writing it down."""

from __future__ import annotations

import os
from time import localtime

from arun.http.access.escapes import text_escapes
from arun.http.access.line import NOW, Clock, compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arun.core.access_format import Atom
    from arun.http.access.escapes import Escapes
    from arun.http.access.line import AccessLog

__all__ = ("text_log",)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIELDS = "fields = dict(request_fields)"
_RESPONSE = "response = dict(response_fields)"
_PARTS = "path, mark, query = target.partition(MARK)"
_REQUEST = "request = f'{text[method]} {text[target]} HTTP/{version}' if method else text[None]"

#: Each atom as a piece of an f-string without quotes, and the statement that goes before; NAME is the atom's own name.
_ATOMS = {
    "client": ("{text[client]}", ""),
    "ident": ("{text[None]}", ""),
    "user": ("{user(text, fields[AUTHORIZATION]) if AUTHORIZATION in fields else text[None]}", _FIELDS),
    "time": ("{clock.text}", NOW),
    "request": ("{request}", _REQUEST),
    "method": ("{text[method or None]}", ""),
    "path": ("{text[path]}", _PARTS),
    "query": ("{text[query]}", _PARTS),
    "marked_query": ("{text[mark + query]}", _PARTS),
    "protocol": ("HTTP/{version}", ""),
    "status": ("{status or text[None]}", ""),
    "size": ("{sent}", ""),
    "size_or_dash": ("{sent or text[None]}", ""),
    "referer": ("{text[fields.get(REFERER)]}", _FIELDS),
    "user_agent": ("{text[fields.get(USER_AGENT)]}", _FIELDS),
    "seconds": ("{int(seconds)}", ""),
    "milliseconds": ("{int(seconds * 1000)}", ""),
    "microseconds": ("{int(seconds * 1000000)}", ""),
    "decimal_seconds": ("{seconds:.6f}", ""),
    "process": ("<{PROCESS}>", ""),
    "process_number": ("{PROCESS}", ""),
    "host": ("{text[fields.get(HOST)]}", _FIELDS),
    "scheme": ("{text[scheme]}", ""),
    "request_id": ("{text[request_id]}", ""),
    "traceparent": ("{text[fields.get(TRACEPARENT)]}", _FIELDS),
    "request_field": ("{text[fields.get(NAME)]}", _FIELDS),
    "answer_field": ("{text[response.get(NAME)]}", _RESPONSE),
    "environment": ("{text[NAME]}", ""),
}


def text_log(pieces: tuple[str | Atom, ...], write: Callable[[str], None]) -> AccessLog:
    """Return what writes a line, with its end, of each request."""
    names: dict[str, Any] = {
        "text": text_escapes(),
        "clock": Clock(_local_time),
        "user": _user,
        "MARK": b"?",
        "AUTHORIZATION": b"authorization",
        "REFERER": b"referer",
        "USER_AGENT": b"user-agent",
        "HOST": b"host",
        "TRACEPARENT": b"traceparent",
        "PROCESS": os.getpid(),
    }
    line, statements = "", list[str]()
    for piece in pieces:
        if isinstance(piece, str):
            line += piece.replace("{", "{{").replace("}", "}}")
            continue
        expression, statement = _ATOMS[piece.value]
        name = f"NAME_{len(names)}"
        names[name] = _constant(piece)
        line += expression.replace("NAME", name)
        if statement and statement not in statements:
            statements.append(statement)
    # The text is an operator's and stands in it as a literal; header names and values are constants in ``names``.
    return compiled(line, statements, names, write)


def _constant(atom: Atom) -> bytes | None:
    if atom.value == "environment":
        value = os.environ.get(atom.name)
        return None if value is None else os.fsencode(value)
    return atom.name.lower().encode()


def _user(text: Escapes, authorization: bytes) -> str:
    """Return the user that Basic credentials name (RFC 7617), as it is written; the password is never looked at."""
    if authorization[:6].lower() != b"basic ":
        return text[None]
    from binascii import Error, a2b_base64

    try:
        return text[a2b_base64(authorization[6:]).partition(b":")[0] or None].replace(" ", r"\x20")
    except Error:
        return text[None]


def _local_time(second: int) -> str:
    """Return the local time as Apache writes it, ``[24/Nov/2026:20:42:40 +0000]``."""
    now = localtime(second)
    sign, minutes = "-" if now.tm_gmtoff < 0 else "+", abs(now.tm_gmtoff) // 60
    day = f"{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"[{day}:{clock} {sign}{minutes // 60:02}{minutes % 60:02}]"
