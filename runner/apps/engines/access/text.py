"""Lines of text: a format is made into one function, so that a line costs about as much as writing it down."""

from __future__ import annotations

import os
import time

from runner.apps.engines.access.escapes import text_escapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runner.access_format import Atom
    from runner.apps.engines.access.log import Entry

__all__ = ("text_line",)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIELDS = "fields = dict(entry.request_fields)"
_ANSWER = "answer = dict(entry.answer_fields)"
_PARTS = "path, mark, query = entry.target.partition(MARK)"
_REQUEST = "request = f'{text[entry.method]} {text[entry.target]} HTTP/{entry.version}' if entry.method else text[None]"

#: Each atom as a piece of an f-string without quotes, and the statement that goes before; NAME is the atom's own name.
_ATOMS = {
    "client": ("{text[entry.client]}", ""),
    "ident": ("{text[None]}", ""),
    "user": ("{text[user(fields.get(AUTHORIZATION))].replace(SPACE, NO_SPACE)}", _FIELDS),
    "time": ("{clock()}", ""),
    "request": ("{request}", _REQUEST),
    "method": ("{text[entry.method or None]}", ""),
    "path": ("{text[path]}", _PARTS),
    "query": ("{text[query]}", _PARTS),
    "marked_query": ("{text[mark + query]}", _PARTS),
    "protocol": ("HTTP/{entry.version}", ""),
    "status": ("{entry.status or text[None]}", ""),
    "size": ("{entry.sent}", ""),
    "size_or_dash": ("{entry.sent or text[None]}", ""),
    "referer": ("{text[fields.get(REFERER)]}", _FIELDS),
    "user_agent": ("{text[fields.get(USER_AGENT)]}", _FIELDS),
    "seconds": ("{int(entry.seconds)}", ""),
    "milliseconds": ("{int(entry.seconds * 1000)}", ""),
    "microseconds": ("{int(entry.seconds * 1000000)}", ""),
    "decimal_seconds": ("{entry.seconds:.6f}", ""),
    "process": ("<{PROCESS}>", ""),
    "process_number": ("{PROCESS}", ""),
    "host": ("{text[fields.get(HOST)]}", _FIELDS),
    "scheme": ("{text[entry.scheme]}", ""),
    "request_id": ("{text[entry.request_id]}", ""),
    "traceparent": ("{text[fields.get(TRACEPARENT)]}", _FIELDS),
    "request_field": ("{text[fields.get(NAME)]}", _FIELDS),
    "answer_field": ("{text[answer.get(NAME)]}", _ANSWER),
    "environment": ("{text[NAME]}", ""),
}


def text_line(pieces: tuple[str | Atom, ...]) -> Callable[[Entry], str]:
    """Return the function that makes a line, with its end, of an entry."""
    names: dict[str, Any] = {
        "text": text_escapes(),
        "clock": _Clock(),
        "user": _user,
        "MARK": b"?",
        "SPACE": " ",
        "NO_SPACE": r"\x20",
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
    body = "".join(f"    {statement}\n" for statement in statements)
    # The text is an operator's and stands in it as a literal; header names and values are constants in ``names``.
    source = f"def line(entry):\n{body}    return f{line + chr(10)!r}\n"
    exec(source, names)  # noqa: S102 - as above; a chain of calls instead costs three times as much
    made: Callable[[Entry], str] = names["line"]
    return made


def _constant(atom: Atom) -> bytes | None:
    if atom.value == "environment":
        value = os.environ.get(atom.name)
        return None if value is None else os.fsencode(value)
    return atom.name.lower().encode()


def _user(authorization: bytes | None) -> bytes | None:
    """Return the user that Basic credentials name (RFC 7617); the password is never looked at."""
    if authorization is None or authorization[:6].lower() != b"basic ":
        return None
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(authorization[6:]).partition(b":")[0] or None
    except Error:
        return None


class _Clock:
    """The local time as Apache writes it, ``[24/Nov/2026:20:42:40 +0000]``, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._written = ""

    def __call__(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            now = time.localtime(second)
            sign, minutes = "-" if now.tm_gmtoff < 0 else "+", abs(now.tm_gmtoff) // 60
            day = f"{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
            clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
            self._written = f"[{day}:{clock} {sign}{minutes // 60:02}{minutes % 60:02}]"
        return self._written
