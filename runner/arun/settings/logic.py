"""What decides in an ini file whether lines count, and how often: the conditions and loops of uWSGI.

Source: uWSGI's documentation, "Configuration logic", and what uWSGI 2.0.30 was seen to do: ``%(_)`` stands for what a
condition has looked at, or for the value of a loop; a loop repeats each of its lines by itself. Relative paths count
from the starting directory. What only uWSGI knows (``if-reload``, ``if-plugin``) is no condition here.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .entries import Entry
    from .expand import Surroundings

__all__ = ("CONDITIONS", "LOOPS", "decide", "turns")

#: Conditions by what they look at; each has a twin, ``if-not-...``.
CONDITIONS = ("if-env", "if-exists", "if-file", "if-dir", "if-hostname", "if-opt")
LOOPS = ("for", "for-glob", "for-times", "for-readline")
_MOST_TURNS = 1024
_LARGEST_FILE = 65_536


def decide(kind: str, argument: str, around: Surroundings, before: Mapping[str, Entry]) -> tuple[bool, str]:
    """Return whether a condition holds, and what ``%(_)`` stands for behind it; ``before`` are the entries before it."""
    name, equals, wanted = (part.strip() for part in argument.partition("="))
    if kind == "if-env":
        value = around.environ.get(name)
        return value is not None and (not equals or value == wanted), value or ""
    if kind == "if-opt":
        entry = before.get(name.replace("_", "-"))
        value = None if entry is None else str("" if entry.value is None else entry.value)
        return value is not None and (not equals or value == wanted), value or ""
    if kind == "if-hostname":
        return os.uname().nodename == argument, argument
    test = {"if-exists": os.path.exists, "if-file": os.path.isfile, "if-dir": os.path.isdir}[kind]
    return test(os.path.join(around.directory, argument)), argument


def turns(kind: str, argument: str, around: Surroundings) -> list[str]:
    """Return the values of a loop.

    Raises:
        ValueError: a sentence with the reason why there are none.
    """
    path = os.path.join(around.directory, argument)
    if kind == "for-times":
        if not argument.isdigit() or int(argument[:9]) > _MOST_TURNS:
            raise ValueError(f"{argument!r} is not a number of turns from 0 to {_MOST_TURNS}")
        values = [str(number) for number in range(int(argument))]
    elif kind == "for-glob":
        from glob import glob

        values = sorted(glob(argument, root_dir=around.directory))
    elif kind == "for-readline":
        values = _lines(path, argument)
    else:
        values = argument.split()
    if len(values) > _MOST_TURNS:
        raise ValueError(f"{len(values)} turns are too many: it takes {_MOST_TURNS} at most")
    return values


def _lines(path: str, name: str) -> list[str]:
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{name!r} is not a regular file")
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ValueError(f"{name!r} cannot be read: {why.lower()}") from None
    if len(text) > _LARGEST_FILE:
        raise ValueError(f"{name!r} is longer than {_LARGEST_FILE} characters")
    return [line for line in map(str.strip, text.split("\n")) if line]
