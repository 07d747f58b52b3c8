"""The ini format as uWSGI reads it: a pure function from text to entries and problems.

Source: uWSGI's documentation, "Configuring uWSGI" and "Configuration logic", and what uWSGI 2.0.30 was seen to do. The
grammar goes line by line: ``[section]``, ``key = value``, a bare ``key``; ``;`` and ``#`` start a comment only at the
start of a line; keys may repeat and so may sections; there are no quotes and no continued lines; conditions and loops
(runner/arun/settings/logic.py) enclose lines. What uWSGI passes over
in silence (a line that is none of these, a missing section, an ``endif`` without ``if``) is a problem here, and reading
goes on, so that all of them are reported and a fallback behind them is found.
"""

from __future__ import annotations

from arun.core.failures import CONFIG_MALFORMED, CONFIG_SECTION_MISSING, OPTION_INVALID, OPTION_UNKNOWN, StartupFailure
from arun.core.values import Value

from .entries import EARLY, Entry, normal, placeholders
from .expand import expand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .entries import Source
    from .expand import Surroundings

__all__ = ("parse_ini",)

#: Read when no section is asked for: the first of them that is there.
_SECTIONS = ("arun", "uwsgi")
#: What uWSGI takes for the same word.
_OTHER_WORDS = {
    "ifenv": "if-env",
    "ifexists": "if-exists",
    "ifdir": "if-dir",
    "if-directory": "if-dir",
    "ifplugin": "if-plugin",
    "end-if": "endif",
    "end-for": "endfor",
}


def parse_ini(text: str, source: Source, around: Surroundings) -> tuple[list[Entry], list[StartupFailure]]:
    """Read the section of an ini file that the source asks for, or the default.

    Conditions and loops are decided by what is ``around``.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line and line[0] not in "#;"]
    sections = {line[1:-1] for _, line in lines if line[0] == "[" and line[-1] == "]"}
    name = source.name
    wanted = source.section or next((one for one in _SECTIONS if one in sections), "")
    reading = _Section(wanted, source, around)
    for number, line in lines:
        reading.line(number, line)
    reading.end()
    if wanted not in sections and reading.has_broken_header:  # the section may well be the one that is meant
        return _salvage(lines, source), reading.problems
    if wanted not in sections:
        there = f"; it has {', '.join(f'[{one}]' for one in sorted(sections))}" if sections else " and no other"
        asked = f"[{source.section}]" if source.section else "[arun]"
        missing = StartupFailure(CONFIG_SECTION_MISSING, f"{name} has no section {asked}{there}", origin=name)
        return _salvage(lines, source), [missing, *reading.problems]
    return reading.entries, reading.problems


def _salvage(lines: list[tuple[int, str]], source: Source) -> list[Entry]:
    """Find what follows a failed start in a file without the section: any answer is better than none."""
    parts = [(number, *line.partition("=")) for number, line in lines]
    return [
        Entry(normal(key.strip()), value.strip(), f"{source.name}:{number}", source.path)
        for number, key, _, value in parts
        if normal(key.strip()) in EARLY
    ]


class _Block(Value):
    """A condition or a loop that is open: where it began, its word, and how often its lines count, each with its ``%(_)``."""

    number: int
    word: str
    values: tuple[str, ...]


class _Section:
    """One section while it is read."""

    def __init__(self, wanted: str, source: Source, around: Surroundings) -> None:
        self.wanted, self.source, self.around = wanted, source, around
        self.lenient = wanted == "uwsgi" or (source.lenient and wanted != "arun")
        self.inside: str | None = None
        self.open: list[_Block] = []
        self.entries: list[Entry] = []
        self.problems: list[StartupFailure] = []
        self.has_broken_header = False

    def line(self, number: int, line: str) -> None:
        """Take one line that is neither empty nor a comment."""
        if line[0] == "[":
            self.end()
            self.inside = line[1:-1]
            if line[-1] != "]" or not self.inside.strip():
                self.has_broken_header = True
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
        if _is_logic(word) and word != key:  # the condition without its first equals sign
            key, value = word, line[len(word) :].strip()
        if not key or any(c.isspace() for c in key) or key[0] in "\"'<{":
            self.malformed(number, f"{line!r} is neither key = value nor a key nor a [section]")
        elif not _is_logic(key):
            self.entry(number, normal(key), value if equals else None)
        elif (word := _OTHER_WORDS.get(normal(key), normal(key))).startswith("end"):
            self.close(number, word)
        else:
            self.begin(number, word, value)

    def entry(self, number: int, key: str, value: str | None) -> None:
        """Keep one key as often as the blocks around it repeat it."""
        origin = f"{self.source.name}:{number}"
        values: list[str | None] = [value]
        for block in reversed(self.open):
            values = [one and one.replace("%(_)", turn) for one in values for turn in block.values]
        self.entries += [Entry(key, one, origin, self.source.path, self.lenient) for one in values]

    def begin(self, number: int, word: str, argument: str) -> None:
        """Decide a condition or a loop; an unknown one is a problem, and its lines are skipped."""
        from .logic import CONDITIONS, LOOPS, decide, turns

        origin, values = f"{self.source.name}:{number}", tuple[str, ...]()
        plain = word.replace("if-not-", "if-", 1)
        if plain not in CONDITIONS and word not in LOOPS:
            hint = f"arun knows {', '.join(CONDITIONS)}, their if-not-..., and {', '.join(LOOPS)}"
            self.problems.append(
                StartupFailure(OPTION_UNKNOWN, f"arun has no condition {word}", origin=origin, hint=hint)
            )
        elif word in LOOPS and any(block.word in LOOPS for block in self.open):
            self.malformed(number, f"{word} stands in another loop")
        elif all(block.values for block in self.open):
            before = {entry.key: entry for entry in reversed(self.entries)}
            try:
                named = {name: one for entry in reversed(self.entries) for name, one in placeholders(entry)}
                argument = expand(argument, self.source.path, self.around, named)
                if word in LOOPS:
                    values = tuple(turns(word, argument, self.around))
                else:
                    holds, seen = decide(plain, argument, self.around, before)
                    values = (seen,) if holds == (plain == word) else ()
            except ValueError as error:
                self.problems.append(StartupFailure(OPTION_INVALID, f"{word}: {error}", origin=origin))
        self.open.append(_Block(number, word, values))

    def close(self, number: int, word: str) -> None:
        """Close what stands open, with the word that belongs to it."""
        begins = word.removeprefix("end")
        if not self.open or not self.open[-1].word.startswith(begins):
            missing = "if-env" if begins == "if" and not self.open else begins
            self.malformed(number, f"{word} stands without {missing}")
        self.open[-1:] = []

    def end(self) -> None:
        """Close a section: each condition and loop must have been closed in it."""
        for block in self.open:
            self.malformed(
                block.number, f"{block.word} is never closed by {'endfor' if block.word[:1] == 'f' else 'endif'}"
            )
        self.open = []

    def malformed(self, number: int, sentence: str) -> None:
        """Note a line that breaks the rules."""
        self.problems.append(StartupFailure(CONFIG_MALFORMED, sentence, origin=f"{self.source.name}:{number}"))


def _is_logic(key: str) -> bool:
    key = normal(key)
    return key.startswith(("if-", "for-", "end-")) or key in {"for", "endif", "endfor", *_OTHER_WORDS}
