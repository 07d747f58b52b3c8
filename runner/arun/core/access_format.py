"""The format of an access log: from what an operator writes to the values a line is made of.

Both habits are read, and may be mixed: gunicorn's ``%(h)s`` and Apache's ``%h``. Where one letter means different things
to them (``a``, ``f``, ``T``, ``L``, ``q``, ``p``), each spelling has the meaning of its inventor.
"""

from __future__ import annotations

from arun.core.values import Value

__all__ = ("COMBINED", "COMMON", "JSON", "Atom", "parse")

#: The name of the format that is JSON lines and no text.
JSON = "json"
COMMON = '%h %l %u %t "%r" %>s %b'
COMBINED = f'{COMMON} "%{{Referer}}i" "%{{User-Agent}}i"'
_NAMES = {"common": COMMON, "combined": COMBINED}

_GUNICORN = {
    "h": "client",
    "l": "ident",
    "u": "user",
    "t": "time",
    "r": "request",
    "m": "method",
    "U": "path",
    "q": "query",
    "H": "protocol",
    "s": "status",
    "B": "size",
    "b": "size_or_dash",
    "f": "referer",
    "a": "user_agent",
    "T": "seconds",
    "M": "milliseconds",
    "D": "microseconds",
    "L": "decimal_seconds",
    "p": "process",
    "host": "host",
    "scheme": "scheme",
    "request_id": "request_id",
    "traceparent": "traceparent",
}
_APACHE = {
    "a": "client",
    "h": "client",
    "l": "ident",
    "u": "user",
    "t": "time",
    "r": "request",
    "m": "method",
    "U": "path",
    "q": "marked_query",
    "H": "protocol",
    "s": "status",
    "B": "size",
    "b": "size_or_dash",
    "T": "seconds",
    "D": "microseconds",
    "P": "process_number",
    "v": "host",
    "V": "host",
}
_NAMED = {"i": "request_field", "o": "answer_field", "e": "environment"}
_DURATIONS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_ATOM = r"%(?:\((?:\{(\S+?)\}([a-z])|(\w+))\)s|[<>]?(?:\{([^{}\s]+)\}([a-zA-Z])|([a-zA-Z])))"


class Atom(Value):
    """A value of a line: which, and the header field or variable for those that have a name."""

    value: str
    name: str = ""


def parse(text: str) -> tuple[str | Atom, ...]:
    """Return the pieces of a format, literal text and atoms in their order; ``common`` and ``combined`` are known.

    Raises:
        ValueError: with a sentence about an atom that does not exist, or text that would break lines apart.
    """
    import re

    text = _NAMES.get(text, text)
    if not text or not text.isprintable():
        raise ValueError(f"{text!r} is no format of lines: it is empty or holds control characters")
    pieces: list[str | Atom] = []
    atom, literal, at = re.compile(_ATOM), "", 0
    while (mark := text.find("%", at)) >= 0:
        literal += text[at:mark]
        if text.startswith("%%", mark):
            literal, at = f"{literal}%", mark + 2
            continue
        found = atom.match(text, mark)
        meant = _meaning(*found.groups()) if found else None
        if found is None or meant is None:
            wrong = found[0] if found else text[mark : mark + 8]
            raise ValueError(f"{wrong!r} is no atom of an access log")
        pieces += [literal, meant]
        literal, at = "", found.end()
    return tuple(piece for piece in (*pieces, literal + text[at:]) if piece)


def _meaning(*groups: str | None) -> Atom | None:
    name, kind, word, apache_name, apache_kind, letter = groups
    if word is not None:
        value = _GUNICORN.get(word)
        return Atom(value) if value else None
    if letter is not None:
        value = _APACHE.get(letter)
        return Atom(value) if value else None
    name, kind = name or apache_name or "", kind or apache_kind or ""
    if kind == "T" and name in _DURATIONS:
        return Atom(_DURATIONS[name])
    return Atom(_NAMED[kind], name) if kind in _NAMED else None
