"""Layers: the entries of command line, environment and files before validation; the fallback is known even if others are wrong."""

from __future__ import annotations

import os

from arun.core.values import Value

from .command_line import known_last_resort, read_arguments, split_extra
from .declaration import named
from .entries import FALLBACK, GUNICORN, LAST_RESORT, Entry, absolute_reference, formats_requests
from .environment import read_environment, read_shared
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from arun.core.failures import StartupFailure

    from .files import Config
    from .translation import Translator

__all__ = ("Layers", "read")


class Layers(Value):
    """The entries of each layer, the highest first, not validated, and the problems of reading them.

    The layers are the command line, ARUN_CMD_ARGS, the environment, the files, and the defaults of the platform.
    ``fallback`` is absolute (``/a/b.ini``, ``/a/b.ini:section``), ``welcome``, or None; ``last_resort`` is ``page``,
    ``exit``, or None where no layer names it. With ``factory_reset`` they are the settings of a fallback.
    """

    entries: tuple[tuple[Entry, ...], ...]
    problems: tuple[StartupFailure, ...]
    warnings: tuple[str, ...]
    fallback: str | None
    configs: tuple[Config, ...]
    directory: str
    last_resort: str | None = None
    factory_reset: bool = False

    @property
    def asked(self) -> frozenset[str]:
        """The questions about arun itself on the command line, by their canonical names: help, version, schema ..."""
        options = ((named(Settings)[entry.key], entry.value) for entry in self.entries[0])
        return frozenset(option.name for option, value in options if option.command_line_only and value is not False)

    @property
    def fallback_origin(self) -> str:
        """Where the fallback is named."""
        named_there = [entry for layer in reversed(self.entries) for entry in layer if entry.key == FALLBACK]
        return named_there[-1].origin if named_there else ""


def read(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    directory: str,
    factory_reset: bool,
    inherited: tuple[Entry, ...] = (),
) -> Layers:
    """Read the command line, the environment and every file they name; never raise for bad input.

    With ``factory_reset`` argv is the one reference of a fallback config, or nothing: neither ``ARUN_*`` nor the shared
    names count, save PORT as the default address. ``directory`` is the absolute starting directory. What is ``inherited``
    from a start that failed belongs to the lowest layer.
    """
    warnings: list[str] = []
    if factory_reset:
        upper: list[list[Entry]] = [[Entry("config", one, "fallback config") for one in argv[:1]]]
        rest, problems = read_arguments(argv[1:])
        upper[0] += rest
    else:
        words, problems = split_extra(environ)
        line, wrong = read_arguments(argv)
        extra, wrong_extra = read_arguments(words, " in ARUN_CMD_ARGS")
        variables, warnings = read_environment(environ)
        upper = [line, extra, variables]
        problems += wrong + wrong_extra
    upper = [[_absolute_fallback(entry, directory) for entry in layer] for layer in upper]
    translator = _translator(upper, directory)
    if translator is not None:
        upper = [translator.layer(layer) for layer in upper]
    named_files = next((found for layer in upper if (found := _configs(layer))), [])
    files = _read_files(named_files, environ, directory, waits=not factory_reset) if named_files else _NO_FILES
    shared = [*read_shared(environ, factory_reset=factory_reset), *inherited]
    translator = translator or _translator([files.entries], directory)
    entries: tuple[tuple[Entry, ...], ...] = (*map(tuple, upper), files.entries, tuple(shared))
    refused: list[StartupFailure] = []
    notes: list[str] = []
    if translator is not None:
        entries, refused, notes = translator.finished([*upper, translator.layer(files.entries, files.used), shared])
    is_ignored = translator is not None and GUNICORN in translator.ignored
    if not (named_files or factory_reset or is_ignored) and os.path.exists(os.path.join(directory, GUNICORN)):
        hint = f"say to arun what it says to gunicorn; ignore = {GUNICORN} quiets this line"
        notes.append(f"{GUNICORN} is here, and arun does not read it: {hint}")
    return Layers(
        entries=entries,
        problems=(*problems, *files.problems, *refused),
        warnings=(*warnings, *notes),
        fallback=absolute_reference(_last_value(entries, FALLBACK) or "", directory),
        configs=files.configs,
        directory=directory,
        last_resort=known_last_resort(_last_value(entries, LAST_RESORT)),
        factory_reset=factory_reset,
    )


def _translator(layers: Sequence[Sequence[Entry]], directory: str) -> Translator | None:
    """Return the translator of names of other runners, if there are any; other starts import nothing for it."""
    if not any(_is_foreign(entry) for layer in layers for entry in layer):
        return None
    from .translation import Translator

    return Translator(directory)


def _is_foreign(entry: Entry) -> bool:
    """Return whether the entry means nothing to arun as it stands, or may mean something else to uWSGI."""
    option = named(Settings).get(entry.key)
    if option is None or option.name == "ignore" or entry.lenient or (option.command_line_only and entry.path):
        return True
    return formats_requests(entry) or (isinstance(entry.value, str) and entry.value[:1] == "=")


class _Files(Value):
    """The entries of all files, and the problems of reading them."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[StartupFailure, ...] = ()
    configs: tuple[Config, ...] = ()
    used: frozenset[str] = frozenset()


_NO_FILES = _Files()


def _read_files(references: list[Entry], environ: Mapping[str, str], directory: str, *, waits: bool) -> _Files:
    from .files import ConfigFiles  # only a start with a config pays for its readers

    files = ConfigFiles(environ, directory, waits=waits)
    for entry in references:
        files.read(entry, entry.value)
    entries = files.finish()
    return _Files(entries, tuple(files.problems), tuple(files.configs), frozenset(files.around.used))


def _configs(layer: list[Entry]) -> list[Entry]:
    return [entry for entry in layer if named(Settings)[entry.key].name == "config" and entry.value]


def _absolute_fallback(entry: Entry, directory: str) -> Entry:
    if entry.key != FALLBACK or not isinstance(entry.value, str):
        return entry
    return entry._replace(value=absolute_reference(entry.value, directory) or entry.value)


def _last_value(layers: tuple[tuple[Entry, ...], ...], key: str) -> str | None:
    for layer in layers:
        values = [str(entry.value) for entry in layer if entry.key == key and isinstance(entry.value, str)]
        if values:
            return values[-1]
    return None
