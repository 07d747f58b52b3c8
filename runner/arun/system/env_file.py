"""Env files, read as python-dotenv reads them, with two differences: what is no assignment is refused, and ``$`` is a character.

Only a start with ``env-file`` imports this module, as it imports ``re``.
"""

from __future__ import annotations

import re

from arun.core.failures import FILE_UNUSABLE, StartupFailure

__all__ = ("read",)

#: Characters that an env file may have.
_LARGEST = 1_048_576
#: One assignment: single quotes know two escapes, double quotes those of Python's characters; both may span lines. A value without
#: quotes ends with its line, or with a ``#`` behind a blank.
_ASSIGNMENT = re.compile(
    r"""
    (?: export [^\S\n]+ | (?! export [^\S\n] ) )
    (?: '(?P<quoted> [^'=]+ )' | (?P<name> [^=\#\s'] [^=\#\s]* ) ) [^\S\n]*
    = (?P<blank> [^\S\n]* )
    (?:
        (?: '(?P<single> (?: \\[\s\S] | [^'\\] )* )' | "(?P<double> (?: \\[\s\S] | [^"\\] )* )" ) [^\S\n]* (?: \# [^\n]* )?
      | (?P<plain> (?: [^'"\n] [^\n]* )? )
    )
    (?: \n | \Z )
    """,
    re.VERBOSE,
)
_BLANK = re.compile(r"(?: \s | \# [^\n]* )*", re.VERBOSE)
_COMMENT = re.compile(r"\s+#.*")
_ESCAPED = {"single": re.compile(r"\\([\\'])"), "double": re.compile(r"\\([\\'\"abfnrtv])")}
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def read(path: str, *, origin: str) -> dict[str, str]:
    """Read the assignments of a file, of which the last one counts for each name; a byte order mark is no part of it.

    Raises:
        StartupFailure(FILE_UNUSABLE): it cannot be read, is no UTF-8, or has a line that is no assignment; ``origin`` is where a user named it.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StartupFailure(
            FILE_UNUSABLE,
            f"cannot read the env file {path}: {reason}",
            origin=origin,
            hint="check the name, and that the user who starts arun may read it",
        ) from error
    if len(text) > _LARGEST:
        raise StartupFailure(FILE_UNUSABLE, f"the env file {path} has more than {_LARGEST} characters", origin=origin)
    values: dict[str, str] = {}
    position = _end_of(_BLANK.match(text))
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        found = _ASSIGNMENT.match(text, position)
        if found is None:
            raise StartupFailure(
                FILE_UNUSABLE,
                f"the env file {path}:{line} is no assignment",  # its text may be a secret
                origin=origin,
                hint="write NAME=value, and close what quotes open; a NAME alone, as docker takes it, needs no line: the app "
                "has arun's environment",
            )
        name, value = found["quoted"] or found["name"], _value(found)
        if "\0" in name + value:
            raise StartupFailure(FILE_UNUSABLE, f"the env file {path}:{line} holds a NUL", origin=origin)
        values[name] = value
        position = _end_of(_BLANK.match(text, found.end()))
    return values


def _end_of(found: re.Match[str] | None) -> int:
    return found.end() if found is not None else 0


def _value(found: re.Match[str]) -> str:
    for quotes, escaped in _ESCAPED.items():
        if (value := found[quotes]) is not None:
            return escaped.sub(lambda one: _CONTROLS.get(one[1], one[1]), value)
    return _COMMENT.sub("", found["blank"] + found["plain"]).strip()
