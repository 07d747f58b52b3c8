"""What config files may hold inside a value: placeholders, magic variables, the environment and the text of files.

Source: uWSGI's documentation, "Configuring uWSGI", sections "Magic variables" and "Placeholders"; checked against
uWSGI 2.0.30. ``%d`` is the absolute folder of the config file *with* its slash, ``%n`` its name without the extension,
``%p`` its absolute path, ``%v`` the starting directory ("vassals directory (pwd)"), ``%h`` the host name, ``%s`` the file
name, ``%e`` its extension, ``%c`` the name of its folder, ``%k`` the number of processor cores, ``%%`` a percent sign. The
folder is resolved, a link as the file itself is not. ``%(name)`` is the first value of that key in any file that was read, in the order of reading.

Where uWSGI swallows an unknown ``%x`` and leaves an unknown ``%(name)`` or ``$(NAME)`` in place, this raises. The result of
an expansion is not expanded again, save the values of placeholders, which are written in config files too.
"""

from __future__ import annotations

import os

from .reading import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .entries import Entry

__all__ = ("Surroundings", "expand")

_OPENERS = {"%(": "placeholder", "$(": "variable", "@(": "file"}
_LARGEST_FILE = 65_536


class Surroundings:
    """What the values of config files may refer to; ``keys`` fills while files are read, ``used`` while they expand.

    ``waits``: files may be pipes and the like, see reading.py.
    """

    def __init__(self, environ: Mapping[str, str], directory: str, *, waits: bool = True) -> None:
        self.environ = environ
        self.directory = directory
        self.waits = waits
        self.keys: dict[str, Entry] = {}
        self.used: set[str] = set()


def expand(
    text: str,
    path: str,
    around: Surroundings,
    ahead: Mapping[str, Entry],
    _stack: tuple[str, ...] = (),
    *,
    keeps_unknown: bool = False,
) -> str:
    """Return the text with everything in it replaced.

    ``path`` is the file that holds the text, ``ahead`` the keys of that file that have not been reached yet. With
    ``keeps_unknown`` a ``%(name)`` without a value stays as it is.

    Raises:
        ValueError: a sentence with what cannot be replaced.
    """
    if not any(sign in text for sign in "%$@"):
        return text
    parts, rest, length = list[str](), text, 0
    while rest:
        opener = _OPENERS.get(rest[:2])
        if opener:
            inner, closed, behind = rest[2:].partition(")")
            if not closed:
                raise ValueError(f"{rest!r} lacks its closing parenthesis")
            if keeps_unknown and opener == "placeholder" and not _has_value(inner.strip(), around, ahead):
                parts.append(f"%({inner})")
            elif opener == "placeholder":
                parts.append(_placeholder(inner.strip(), around, ahead, _stack))
            else:
                parts.append(_variable(inner, around) if opener == "variable" else _file(inner, path, around))
            rest = behind
        elif rest[0] == "%":
            parts.append(_magic(rest[1:2], path, around))
            rest = rest[2:]
        else:
            parts.append(rest[0])
            rest = rest[1:]
        length += len(parts[-1])
        if length > _LARGEST_FILE:
            raise ValueError(f"what it becomes is longer than {_LARGEST_FILE} characters")
    return "".join(parts)


def _has_value(written: str, around: Surroundings, ahead: Mapping[str, Entry]) -> bool:
    name = written.replace("_", "-")
    entry = around.keys.get(name) or ahead.get(name)
    return entry is not None and isinstance(entry.value, str)


def _placeholder(name: str, around: Surroundings, ahead: Mapping[str, Entry], stack: tuple[str, ...]) -> str:
    written, name = name, name.replace("_", "-")
    entry = around.keys.get(name) or ahead.get(name)
    if name in stack:
        raise ValueError(f"%({written}) refers to itself: {' -> '.join((*stack, name))}")
    if entry is None or entry.value is None or isinstance(entry.value, (list, dict)):
        raise ValueError(f"%({written}) has no value; write %% for a percent sign")
    around.used.add(name)
    if isinstance(entry.value, bool):
        return "true" if entry.value else "false"
    return expand(str(entry.value), entry.path, around, ahead, (*stack, name))


def _variable(inner: str, around: Surroundings) -> str:
    name, colon, default = inner.partition(":-")
    value = around.environ.get(name, "")
    if value or (name in around.environ and not colon):
        return value
    if colon:
        return default
    raise ValueError(f"$({name}) is not set in the environment; write $({name}:-value) for a default")


def _file(inner: str, path: str, around: Surroundings) -> str:
    target = os.path.join(os.path.dirname(path) or around.directory, inner)
    try:
        raw = read_file(target, _LARGEST_FILE + 1, waits=around.waits)
        text = raw[:_LARGEST_FILE].decode(errors="strict" if len(raw) <= _LARGEST_FILE else "replace")
    except OSError as error:
        raise ValueError(f"@({inner}) cannot be read: {(error.strerror or 'unknown error').lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"@({inner}) is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"@({inner}) cannot be read: {error}") from None
    if len(raw) > _LARGEST_FILE:
        raise ValueError(f"@({inner}) is longer than {_LARGEST_FILE} bytes")
    return text.replace("\r\n", "\n").rstrip("\r\n")


def _magic(letter: str, path: str, around: Surroundings) -> str:
    found = _MAGIC.get(letter)
    if found is None:
        raise ValueError(f"%{letter} means nothing; arun knows %{' %'.join(_MAGIC)}, and %% is a percent sign")
    folder, name = os.path.split(path)
    return found(os.path.realpath(folder), name, around)


_MAGIC: dict[str, Callable[[str, str, Surroundings], str]] = {
    "d": lambda folder, _name, _around: os.path.join(folder, ""),
    "n": lambda _folder, name, _around: os.path.splitext(name)[0],
    "p": lambda folder, name, _around: os.path.join(folder, name),
    "v": lambda _folder, _name, around: around.directory,
    "h": lambda _folder, _name, _around: os.uname().nodename,
    "s": lambda _folder, name, _around: name,
    "e": lambda _folder, name, _around: os.path.splitext(name)[1][1:],
    "c": lambda folder, _name, _around: os.path.basename(folder),
    "k": lambda _folder, _name, _around: str(os.cpu_count() or 1),
    "%": lambda _folder, _name, _around: "%",
}
