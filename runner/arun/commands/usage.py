"""How a command is called: its options and operands, the page of its ``--help``, and the reading of its arguments.

Not argparse, which costs as much as the rest of a command, and reports mistakes in a form of its own.
"""

from __future__ import annotations

import sys

from arun.core.failures import OPTION_INVALID, OPTION_UNKNOWN, StartupFailure
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("Arguments", "Option", "Usage")

_WIDTH, _INDENT = 80, 24


class Option(Value):
    """An option of a command; without a ``metavar`` it is a switch. One that ``repeats`` has all its values, with commas."""

    name: str
    metavar: str = ""
    about: str = ""
    repeats: bool = False


class Arguments(Value):
    """What a command was called with: the values of options by their names, and the operands."""

    options: dict[str, str]
    operands: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Return whether an option is given."""
        return name in self.options

    def get(self, name: str) -> str | None:
        """Return the value of an option, the last one; None where it is not given."""
        return self.options.get(name)


class Usage(Value):
    """The arguments that a command takes.

    ``operands`` is how they are written (``[ID]``), and there may be ``most`` of them. ``notes`` are paragraphs for the end of the help,
    as they are printed.
    """

    command: str
    about: str
    options: tuple[Option, ...] = ()
    operands: str = ""
    most: int = 0
    notes: str = ""

    def read(self, arguments: Sequence[str]) -> Arguments | None:
        """Return the arguments; None where they ask for help, which is printed then.

        Raises:
            StartupFailure(OPTION_UNKNOWN or OPTION_INVALID): they cannot be obeyed.
        """
        words, found, operands = list(arguments), dict[str, str](), list[str]()
        while words:
            word = words.pop(0)
            if word in {"--help", "-h"}:
                sys.stdout.write(self.help())
                return None
            if word == "--":
                operands += words
                break
            if word.startswith("-") and word != "-":
                self._take(word, words, found)
            else:
                operands.append(word)
        if len(operands) > self.most:
            raise self._refusal(f"{operands[self.most]!r} is one argument too many")
        return Arguments(found, tuple(operands))

    def _take(self, word: str, words: list[str], found: dict[str, str]) -> None:
        name, equals, value = word.removeprefix("--").partition("=")
        option = next((one for one in self.options if word.startswith("--") and one.name == name), None)
        if option is None:
            raise self._unknown(word.partition("=")[0], name)
        if not option.metavar:
            if equals:
                raise self._refusal(f"--{name} takes no value, not {value!r}")
        elif not equals:
            if not words:
                raise self._refusal(f"--{name} takes a value ({option.metavar})")
            value = words.pop(0)
        if option.metavar and not value:
            raise self._refusal(f"--{name} takes a value ({option.metavar}), not an empty one")
        found[name] = f"{found[name]},{value}" if option.repeats and name in found else value

    def _unknown(self, flag: str, name: str) -> StartupFailure:
        from difflib import get_close_matches

        near = get_close_matches(name, [one.name for one in self.options], 1)
        hint = f"did you mean --{near[0]}?" if near else self._where
        return StartupFailure(
            OPTION_UNKNOWN, f"arun {self.command} has no option {flag}", origin="command line", hint=hint
        )

    def _refusal(self, sentence: str) -> StartupFailure:
        return StartupFailure(OPTION_INVALID, sentence, origin="command line", hint=self._where)

    @property
    def _where(self) -> str:
        return f"run arun {self.command} --help for what it takes"

    def help(self) -> str:
        """Return the page of ``--help``, at most 80 columns wide."""
        import textwrap

        options = (*self.options, Option("help", "", "show this help"))
        lines = [" ".join(filter(None, ["usage: arun", self.command, "[options]", self.operands])), ""]
        lines += [*textwrap.wrap(self.about, _WIDTH), ""]
        for one in options:
            left = f"  --{one.name} {one.metavar}".rstrip()
            about = textwrap.wrap(one.about, _WIDTH - _INDENT, break_on_hyphens=False)
            if len(left) > _INDENT - 2:
                lines.append(left)
            else:
                about[0] = left.ljust(_INDENT) + about[0]
                lines.append(about.pop(0))
            lines += [" " * _INDENT + line for line in about]
        return "\n".join([*lines, "", *([self.notes.strip("\n"), ""] if self.notes else [])])
