"""The ini format as uWSGI reads it: a pure function from text to entries and problems.

Source: uWSGI's documentation, "Configuring uWSGI" and "Configuration logic", and what uWSGI 2.0.30 was seen to do. The
grammar goes line by line: ``[section]``, ``key = value``, a bare ``key``; ``;`` and ``#`` start a comment only at the
start of a line; keys may repeat and so may sections; there are no quotes and no continued lines. What uWSGI passes over
in silence (a line that is none of these, a missing section, an ``endif`` without ``if``) is a problem here, and reading
goes on, so that all of them are told and a fallback behind them is found.
"""

from __future__ import annotations

from runner.failures import ConfigMalformed, ConfigSectionMissing, OptionUnknown

from .entries import Entry, normal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.failures import StartupFailure

    from .entries import Source

__all__ = ("parse_ini",)

#: Read when no section is asked for: the first of them that is there.
_SECTIONS = ("arun", "uwsgi")
#: What ``[uwsgi]`` calls by a name that means something else to arun.
_UWSGI_NAMES = {"listen": "backlog"}
_CONDITIONS = ("if-env", "if-not-env")


def parse_ini(text: str, source: Source, environ: Mapping[str, str]) -> tuple[list[Entry], list[StartupFailure]]:
    """Read the section of an ini file that the source asks for, or the default.

    Conditions (``if-env = NAME`` or ``if-env = NAME=value``, to ``endif``) are decided by ``environ``.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line and line[0] not in "#;"]
    sections = {line[1:-1] for _, line in lines if line[0] == "[" and line[-1] == "]"}
    name = source.name
    wanted = source.section or next((one for one in _SECTIONS if one in sections), "")
    reading = _Section(wanted, source, environ)
    for number, line in lines:
        reading.line(number, line)
    reading.end()
    if wanted not in sections:
        there = f"; it has {', '.join(f'[{one}]' for one in sorted(sections))}" if sections else " and no other"
        asked = f"[{source.section}]" if source.section else "[arun]"
        missing = ConfigSectionMissing(f"{name} has no section {asked}{there}", origin=name)
        return _salvage(lines, source), [missing, *reading.problems]
    return reading.entries, reading.problems


def _salvage(lines: list[tuple[int, str]], source: Source) -> list[Entry]:
    """Find the fallback config in a file without the section: any answer is better than none."""
    parts = [(number, *line.partition("=")) for number, line in lines]
    return [
        Entry("fallback-config", value.strip(), f"{source.name}:{number}", source.path)
        for number, key, _, value in parts
        if normal(key.strip()) == "fallback-config"
    ]


class _Section:
    """One section while it is read."""

    def __init__(self, wanted: str, source: Source, environ: Mapping[str, str]) -> None:
        self.wanted, self.source, self.environ = wanted, source, environ
        self.lenient = wanted == "uwsgi" or (source.lenient and wanted != "arun")
        self.inside: str | None = None
        self.open: list[tuple[int, bool]] = []
        self.entries: list[Entry] = []
        self.problems: list[StartupFailure] = []

    def line(self, number: int, line: str) -> None:
        """Take one line that is neither empty nor a comment."""
        if line[0] == "[":
            self.end()
            self.inside = line[1:-1]
            if line[-1] != "]" or not self.inside.strip():
                self.malformed(number, f"{line!r} is not a section, which is written [name]")
            return
        if self.inside is None and self.wanted:
            self.malformed(number, f"{line!r} stands before any section")
        elif self.inside == self.wanted:
            self.inner(number, line)

    def inner(self, number: int, line: str) -> None:
        """Take one line of the section that is read."""
        key, equals, value = (part.strip() for part in line.partition("="))
        word = key.partition(" ")[0]
        if word in _CONDITIONS and word != key:  # the condition without its first equals sign
            key, value = word, line[len(word) :].strip()
        if not key or any(c.isspace() for c in key) or key[0] in "\"'<{":
            self.malformed(number, f"{line!r} is neither key = value nor a key nor a [section]")
        elif key in _CONDITIONS:
            self.open.append((number, self.holds(value) == (key == "if-env")))
        elif key == "endif":
            if not self.open:
                self.malformed(number, "endif stands without if-env")
            self.open[-1:] = []
        elif all(held for _, held in self.open):
            self.entry(number, normal(key), value if equals else None)

    def entry(self, number: int, key: str, value: str | None) -> None:
        """Keep one key; uWSGI's other conditions are refused even in its own section, for they would be lost."""
        origin = f"{self.source.name}:{number}"
        if key.startswith(("if-", "for-", "end")) or key == "for":
            hint = "arun knows if-env and if-not-env, each closed by endif"
            self.problems.append(OptionUnknown(f"arun has no condition {key}", origin=origin, hint=hint))
            return
        key = _UWSGI_NAMES.get(key, key) if self.lenient else key
        self.entries.append(Entry(key, value, origin, self.source.path, self.lenient))

    def end(self) -> None:
        """Close a section: each condition must have been closed in it."""
        for number, _ in self.open:
            self.malformed(number, "if-env is never closed by endif")
        self.open = []

    def holds(self, condition: str) -> bool:
        """Whether the variable is set, and to the value if one is named."""
        variable, equals, value = (part.strip() for part in condition.partition("="))
        return variable in self.environ and (not equals or self.environ[variable] == value)

    def malformed(self, number: int, sentence: str) -> None:
        """Note a line that breaks the rules."""
        self.problems.append(ConfigMalformed(sentence, origin=f"{self.source.name}:{number}"))
