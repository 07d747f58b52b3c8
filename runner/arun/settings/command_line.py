"""The command line: words to entries, and the first look for a fallback before anything else is read.

This is not argparse. It stops at the first of several mistakes, cannot say that a value is optional and stands behind
``=`` only (``--need-app app.py`` would take the app for the value), prints and exits on its own, and costs 9 ms of a
start. The rules are getopt_long's (glibc, ``argp``) without abbreviations.
"""

from __future__ import annotations

import contextlib

from arun.core.failures import OPTION_INVALID, OPTION_UNKNOWN, StartupFailure

from .declaration import declared, named
from .entries import CHAIN, FALLBACK, LAST_RESORT, Entry, absolute_reference, names_config, normal
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .declaration import Option

__all__ = (
    "EXTRA_ARGUMENTS",
    "known_last_resort",
    "read_arguments",
    "scan_chain",
    "scan_fallback",
    "scan_state_dir",
    "secret_flags",
    "split_extra",
)

#: The variable whose words are read as if they stood before the command line, as gunicorn's GUNICORN_CMD_ARGS.
EXTRA_ARGUMENTS = "ARUN_CMD_ARGS"


def scan_fallback(argv: Sequence[str], environ: Mapping[str, str], directory: str) -> str | None:
    """Return the fallback that the command line or the environment names, absolute; look at nothing else.

    This comes before anything is parsed and never raises: the fallback is known whatever else is wrong.
    """
    return absolute_reference(_scan(FALLBACK, argv, environ) or "", directory)


def scan_chain(argv: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what they say that holds for a whole chain, as scan_fallback does: settings by the names of their fields.

    What is not given is left out, and what its option does not take: validation reports that.
    """
    found: dict[str, Any] = {}
    for key in CHAIN:
        text = _scan(key, argv, environ)
        if text is not None:
            with contextlib.suppress(ValueError):
                found[key.replace("-", "_")] = named(Settings)[key].kind(text)
    return found


def scan_state_dir(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return the state directory that the command line or the environment names, as scan_fallback does."""
    return _scan("state-dir", argv, environ)


def secret_flags() -> frozenset[str]:
    """Return the options, as they are written on a command line, whose values are never shown."""
    hidden = [one for one in declared(Settings).values() if one.kind.hides]
    return frozenset(flag for one in hidden for flag in (*(f"--{name}" for name in one.spellings), f"-{one.short}")) - {
        "-"
    }


def known_last_resort(text: str | None) -> str | None:
    """Return the word if the option takes it; else None: validation reports it."""
    try:
        return None if text is None else str(named(Settings)[LAST_RESORT].kind(text))
    except ValueError:
        return None


def _scan(key: str, argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    value = _last_value(f"--{key}", argv)
    if value is None and f"--{key}" in environ.get(EXTRA_ARGUMENTS, ""):
        value = _last_value(f"--{key}", split_extra(environ)[0])
    return environ.get(f"ARUN_{key.upper().replace('-', '_')}") if value is None else value


def _last_value(flag: str, argv: Sequence[str]) -> str | None:
    value = None
    for place, word in enumerate(argv):
        if word == "--":
            break
        if word == flag and place + 1 < len(argv) and not argv[place + 1].startswith("-"):
            value = argv[place + 1]
        elif word.startswith(f"{flag}="):
            value = word.removeprefix(f"{flag}=")
    return value


def split_extra(environ: Mapping[str, str]) -> tuple[list[str], list[StartupFailure]]:
    """Split ARUN_CMD_ARGS as a shell would; what cannot be split is split at its blanks, with a problem."""
    text = environ.get(EXTRA_ARGUMENTS, "")
    if not text.strip():
        return [], []
    import shlex

    try:
        return shlex.split(text), []
    except ValueError as error:
        sentence = f"{text!r} cannot be split into arguments: {str(error).lower()}"
        return text.split(), [StartupFailure(OPTION_INVALID, sentence, origin=EXTRA_ARGUMENTS)]


def read_arguments(argv: Sequence[str], suffix: str = "") -> tuple[list[Entry], list[StartupFailure]]:
    """Read a command line; every word becomes an entry or belongs to a problem.

    ``suffix`` is added to each origin, for words that did not stand on the command line itself.
    """
    line = _Line(list(argv), suffix)
    while line.words:
        word = line.words.pop(0)
        if word == "--":
            for rest in line.words:
                line.positional(rest)
            break
        if word.startswith("--"):
            line.long(word)
        elif word.startswith("-") and len(word) > 1:
            line.short(word)
        else:
            line.positional(word)
    return line.entries, line.problems


def _is_value(word: str) -> bool:
    """Return whether a word may be the value of the option before it: a dash stands for a stream, or for a negative number."""
    return not word.startswith("-") or word == "-" or _is_number(word)


def _is_number(word: str) -> bool:
    return word.startswith("-") and word[1:].lstrip(".")[:1].isdigit()


class _Line:
    """A command line while it is read."""

    def __init__(self, words: list[str], suffix: str) -> None:
        self.words = words
        self.suffix = suffix
        self.entries: list[Entry] = []
        self.problems: list[StartupFailure] = []
        self.app = ""

    def positional(self, word: str) -> None:
        """Take a config or the one app."""
        if names_config(word) or word.endswith("gunicorn.conf.py"):
            self.entries.append(Entry("config", word, "command line" + self.suffix))
        elif self.app:
            sentence = f"{word!r} is one argument too many: the app is {self.app!r} already"
            self.problems.append(StartupFailure(OPTION_INVALID, sentence, origin="command line" + self.suffix))
        else:
            self.app = word
            self.entries.append(Entry("app", word, "command line" + self.suffix))

    def long(self, word: str) -> None:
        """Take ``--name``, ``--name=value``, ``--name value`` or ``--no-name``."""
        name, equals, value = word[2:].partition("=")
        option = named(Settings).get(name)
        if option is None and name.startswith("no-") and not equals:
            option = named(Settings).get(name[3:])
            if option is not None and option.is_flag and not option.command_line_only:
                self.entries.append(Entry(name[3:], "false", f"--{name}{self.suffix}"))
                return
            option = None
        if option is None:
            self.foreign(f"--{name}", name, value if equals else None)
        elif equals:
            self.entries.append(Entry(name, value, f"--{name}{self.suffix}"))
        else:
            self.following(option, name, f"--{name}")

    def short(self, word: str) -> None:
        """Take ``-b value`` or ``-bvalue``."""
        option = next((one for one in declared(Settings).values() if one.short == word[1]), None)
        value = word[2:].removeprefix("=") if len(word) > 2 else None  # noqa: PLR2004 - a dash and a letter
        if option is None:
            from .elsewhere import SHORT

            name = SHORT.get(word[1], "")
            option = named(Settings).get(name)
            if option is None:
                self.foreign(word[:2] if name else word, name or word[1:], value if name else None)
                return
        if option.is_flag and value is not None:
            self.unknown(word, word[1:], takes_next=True)
        elif value is not None:
            self.entries.append(Entry(option.name, value, word[:2] + self.suffix))
        else:
            self.following(option, option.name, word)

    def foreign(self, flag: str, name: str, value: str | None) -> None:
        """Take an option of another runner, to be translated later; one that no runner has is a problem."""
        from .elsewhere import meaning

        key = normal(name)
        found = meaning(key) or (meaning(key[3:]) if key.startswith("no-") else None)
        if found is None or (value is not None and len(flag) == 2 and not found.takes_value):  # noqa: PLR2004 - as above
            self.unknown(flag, name, takes_next=value is None)
            return
        following = self.words[0] if self.words else "--"
        has_next = following in found.values if found.values else _is_value(following)
        if value is None and found.takes_value and has_next:
            value = self.words.pop(0)
        key = key if meaning(key) else key[3:]
        self.entries.append(Entry(key, value, flag + self.suffix))

    def following(self, option: Option, name: str, flag: str) -> None:
        """Take the value of an option from the next word, where it has one."""
        origin = flag + self.suffix
        if option.is_flag and self.words and self.words[0] in getattr(option.kind, "words", ()):
            self.entries.append(Entry(name, self.words.pop(0), origin))
        elif option.is_flag or (option.bare is not None and not self.next_is_value_of(option)):
            self.entries.append(Entry(name, None, origin))
        elif self.words and _is_value(self.words[0]):
            self.entries.append(Entry(name, self.words.pop(0), origin))
        else:
            found = f", not {self.words[0]}" if self.words else ""
            sentence = f"{flag} takes a value ({option.metavar}){found}"
            self.problems.append(
                StartupFailure(OPTION_INVALID, sentence, origin=origin, hint=f"write {flag} {option.metavar}")
            )

    def next_is_value_of(self, option: Option) -> bool:
        """Return whether the next word can only be the value of this option, whose value may be left out."""
        try:
            return bool(self.words) and option.kind(self.words[0]) is not None
        except ValueError:
            return _is_number(self.words[0])  # a negative one, which no kind takes, is no app either

    def unknown(self, flag: str, name: str, *, takes_next: bool) -> None:
        """Note an unknown option; the word behind it is taken for its value, unless it is a config to be read."""
        from .hints import nearest

        value = self.words[0] if takes_next and self.words else "--"
        if _is_value(value) and not names_config(value):
            self.words.pop(0)
        near = nearest(normal(name).removeprefix("no-"))
        hint = f"did you mean --{near}?" if near else ""
        self.problems.append(
            StartupFailure(OPTION_UNKNOWN, f"arun has no option {flag}", origin="command line" + self.suffix, hint=hint)
        )
