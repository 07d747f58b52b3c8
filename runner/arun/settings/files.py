"""Config files: read them with what they include, replace what stands in their values, keep going at every mistake."""

from __future__ import annotations

import os

from arun.core.failures import (
    CONFIG_FORMAT_UNAVAILABLE,
    CONFIG_INCLUDE_LOOP,
    CONFIG_MALFORMED,
    CONFIG_MISSING,
    CONFIG_SECTION_MISSING,
    CONFIG_UNREADABLE,
    OPTION_INVALID,
    OPTION_UNSUPPORTED,
    StartupFailure,
)
from arun.core.values import Value

from .declaration import named
from .entries import (
    PLACEHOLDER_KEYS,
    UNREAD_FORMATS,
    Source,
    absolute_reference,
    format_of,
    placeholders,
    split_reference,
)
from .expand import Surroundings, expand
from .reading import read_file
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .entries import Entry

__all__ = ("Config", "ConfigFiles")

_LARGEST = 1_048_576
_MOST_FILES = 64
#: Keys of uWSGI whose values name atoms as if they were placeholders: what is none stays.
_LOG_FORMATS = ("log-format", "logformat")


class Config(Value):
    """A config file that was read: its name as it was written, its absolute path, its format, and the lines that it prints."""

    name: str
    path: str
    format: str
    lines: tuple[str, ...] = ()


class ConfigFiles:
    """All config files of a start: ``read`` each that is named, then ``finish`` once.

    With ``waits`` they may be pipes and the like, which are read to their end; a fallback takes regular files only.
    """

    def __init__(self, environ: Mapping[str, str], directory: str, *, waits: bool) -> None:
        self.around = Surroundings(environ, directory, waits=waits)
        self.problems: list[StartupFailure] = []
        self.configs: list[Config] = []
        self._read: list[tuple[Entry, int, Mapping[str, Entry]]] = []

    def read(self, entry: Entry, reference: str, chain: tuple[Source, ...] = ()) -> None:
        """Read a file with what it includes; the key of the entry that names it may be the format.

        ``chain`` holds the files that are being read; a relative path counts from the last of them, or from the
        starting directory.
        """
        if reference.endswith(".py") or reference.startswith("python:"):
            self._refuse_python(entry, reference)
            return
        written, section = split_reference(reference)
        if os.path.splitext(written)[1].lower() in UNREAD_FORMATS:
            sentence = f"{written} is no config that arun can read: it reads ini, toml, json and yaml"
            hint = "write its options into an ini file, whose section [uwsgi] takes the same names"
            self.problems.append(StartupFailure(CONFIG_FORMAT_UNAVAILABLE, sentence, origin=entry.origin, hint=hint))
            return
        above = chain[-1] if chain else Source(os.path.join(self.around.directory, ""), "")
        name = os.path.normpath(os.path.join(os.path.dirname(above.name), written)) if written else above.name
        path = os.path.abspath(os.path.join(os.path.dirname(above.path), written)) if written else above.path
        source = Source(path, name, section, entry.lenient)
        loop = any((path, section) == (one.path, one.section) for one in chain)
        if loop or len(self.configs) >= _MOST_FILES:
            way = " -> ".join(str(one) for one in (*chain, source))
            what = f"includes itself: {way}" if loop else f"is one file too many, {_MOST_FILES} were read: {way}"
            self.problems.append(StartupFailure(CONFIG_INCLUDE_LOOP, f"{source} {what}", origin=entry.origin))
            return
        before = len(self.problems)
        text = self._text(path, name, entry.origin)
        if text is None:
            return
        is_broken = len(self.problems) > before
        kind = format_of(path, entry.key)
        self.configs.append(Config(str(source), path, kind))
        if kind == "INI":
            from .ini import parse_ini

            entries, problems = parse_ini(text, source, self.around)
        else:
            from .structured import parse_structured

            entries, problems = parse_structured(text, kind, source)
        if is_broken:  # what is missing in it may be what cannot be read
            problems = [one for one in problems if one.cause is not CONFIG_SECTION_MISSING]
        self.problems += problems
        self._walk(entries, (*chain, source))

    def finish(self) -> tuple[Entry, ...]:
        """Return the entries that may be settings, with placeholders replaced; lines to print go to their config."""
        expanded = [(self._expanded(entry, ahead), number) for entry, number, ahead in self._read]
        settings, lines = [], dict[int, list[str]]()
        for entry, number in expanded:
            if entry is None or entry.key in PLACEHOLDER_KEYS:
                continue
            option = named(Settings).get(entry.key)
            if option is not None and option.name == "print" and isinstance(entry.value, (str, list)):
                texts = entry.value if isinstance(entry.value, list) else [entry.value]
                lines.setdefault(number, []).extend(str(line) for line in texts)
            else:
                settings.append(entry)
        self.configs = [one._replace(lines=tuple(lines.get(number, ()))) for number, one in enumerate(self.configs)]
        return tuple(settings)

    def _refuse_python(self, entry: Entry, reference: str) -> None:
        name = reference.removeprefix("file:")
        sentence = (
            f"{name} is a program in Python, as gunicorn's configs are, and arun runs no program to be configured"
        )
        hint = "write its names and values into an ini or toml file, such as workers = 4; hooks belong into the app"
        self.problems.append(StartupFailure(OPTION_UNSUPPORTED, sentence, origin=entry.origin, hint=hint))

    def _text(self, path: str, name: str, origin: str) -> str | None:
        """Return the text of the file; None, and a problem, if it cannot be read."""
        try:
            raw = read_file(path, _LARGEST + 1, waits=self.around.waits)
        except (FileNotFoundError, NotADirectoryError):
            self.problems.append(StartupFailure(CONFIG_MISSING, f"the config {name} is not there", origin=origin))
            return None
        except (OSError, ValueError) as error:
            why = "is a directory" if isinstance(error, IsADirectoryError) else _reason(error)
            self.problems.append(StartupFailure(CONFIG_UNREADABLE, f"the config {name} {why}", origin=origin))
            return None
        if len(raw) > _LARGEST:
            self.problems.append(
                StartupFailure(CONFIG_UNREADABLE, f"the config {name} is larger than {_LARGEST} bytes", origin=origin)
            )
            return None
        if not raw.strip():
            self.problems.append(StartupFailure(CONFIG_MALFORMED, f"the config {name} is empty", origin=origin))
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self.problems.append(
                StartupFailure(CONFIG_MALFORMED, f"the config {name} is not UTF-8", origin=f"{name}:{line}")
            )
            return raw.decode("utf-8", "replace")

    def _walk(self, entries: list[Entry], chain: tuple[Source, ...]) -> None:
        """Collect the entries of one file in order; a file that it includes is read in its place."""
        number = len(self.configs) - 1
        ahead: dict[str, Entry] = {}
        for entry in entries:
            for key, value in placeholders(entry):
                ahead.setdefault(key, value)
        for entry in entries:
            for key, value in placeholders(entry):
                self.around.keys.setdefault(key, value)
            option = named(Settings).get(entry.key)
            if option is None or option.name != "config":
                self._read.append((entry, number, ahead))
                continue
            full = self._expanded(entry, ahead)
            values = full.value if full and isinstance(full.value, list) else [full.value] if full else []
            for value in values:
                if isinstance(value, str) and value:
                    self.read(entry, value, chain)
                else:
                    sentence = f"{entry.key}: it takes the path of a config file"
                    self.problems.append(StartupFailure(OPTION_INVALID, sentence, origin=entry.origin))

    def _expanded(self, entry: Entry, ahead: Mapping[str, Entry]) -> Entry | None:
        """Return the entry with placeholders replaced and a fallback made absolute; None, and a problem, where that fails."""
        if entry.key in PLACEHOLDER_KEYS:
            return entry  # its value is replaced where it is used
        try:
            value = self._value(entry.value, entry, ahead)
        except ValueError as error:
            option = named(Settings).get(entry.key)
            hint = option.hint if option is not None else ""
            self.problems.append(
                StartupFailure(OPTION_INVALID, f"{entry.key}: {error}", origin=entry.origin, hint=hint)
            )
            return None
        except RecursionError:
            sentence = f"{entry.key}: placeholders stand in each other too deeply"
            self.problems.append(StartupFailure(OPTION_INVALID, sentence, origin=entry.origin))
            return None
        if entry.key == "fallback-config" and isinstance(value, str):
            value = f"{os.path.basename(entry.path)}{value}" if value.startswith(":") else value
            value = absolute_reference(value, os.path.dirname(entry.path)) or value
        return entry._replace(value=value)

    def _value(self, value: Any, entry: Entry, ahead: Mapping[str, Entry]) -> Any:
        if isinstance(value, str):
            return expand(value, entry.path, self.around, ahead, keeps_unknown=entry.key in _LOG_FORMATS)
        if isinstance(value, list):
            return [self._value(one, entry, ahead) for one in value]
        if isinstance(value, dict):
            return {key: self._value(one, entry, ahead) for key, one in value.items()}
        return value


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    return str(error) if str(error).startswith("is ") else f"cannot be read: {error}"
