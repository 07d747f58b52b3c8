"""The plain kinds of values: from the text a user wrote to a typed value, one small class each.

A kind is called with text and returns the value, or raises ValueError with a sentence that holds the text. Native
values of toml, json and yaml come here as text too, so that a number means the same wherever it is written.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ("Choice", "Flag", "Number", "Octal", "PidPath", "Seconds", "Size", "Text", "Written")

_LONGEST_SECONDS = 31_536_000.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"k": 1024, "m": 1024**2, "g": 1024**3}
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


class Written:
    """How most values are written back: as they are read."""

    metavar = "TEXT"
    #: Whether the value is never shown.
    hides = False

    def shown(self, value: Any) -> str:
        """Return the value as a file would hold it."""
        return str(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of one value."""
        return {"type": "string"}


class Text(Written):
    """Any text without a null byte; empty only where that has a meaning."""

    def __init__(self, metavar: str = "TEXT", *, may_be_empty: bool = False) -> None:
        self.metavar = metavar
        self.may_be_empty = may_be_empty

    def __call__(self, text: str) -> str:
        """Return the text itself."""
        if "\0" in text:
            raise ValueError(f"{text!r} holds a null byte")
        if not text and not self.may_be_empty:
            raise ValueError("'' is empty: it takes a value")
        return text


class PidPath(Text):
    """A path that is not a mere number, which would be uWSGI's ``-p 4``."""

    def __call__(self, text: str) -> str:
        """Return the path."""
        if text.isdigit():
            raise ValueError(f"{text!r} is a number and no path; write ./{text} if a file is really meant")
        return super().__call__(text)


class Flag(Written):
    """Yes or no, in the words that uWSGI's users write."""

    metavar = "yes|no"
    #: What may stand behind the bare flag as a word of its own, as uvicorn's users write it; no app has such a name.
    words: tuple[str, ...] = ("true", "false")

    def __call__(self, text: str) -> bool:
        """Return the truth that the word stands for."""
        word = text.lower()
        if word not in _YES and word not in _NO:
            raise ValueError(f"{text!r} is neither yes nor no: it takes true, yes, on, 1 or false, no, off, 0")
        return word in _YES

    def shown(self, value: Any) -> str:
        """Return true or false."""
        return "true" if value else "false"

    def schema(self) -> dict[str, Any]:
        """Return the schema: a boolean, or one of the words."""
        return {"anyOf": [{"type": "boolean"}, {"enum": [*sorted(_YES), *sorted(_NO), 0, 1]}]}


class Number(Written):
    """A whole number between two limits, both included."""

    metavar = "N"

    def __init__(self, least: int, most: int, metavar: str = "N") -> None:
        self.least, self.most, self.metavar = least, most, metavar

    def __call__(self, text: str) -> int:
        """Return the number."""
        digits = text.isascii() and text.isdigit() and len(text) <= 18  # noqa: PLR2004 - no limit here has more digits
        if not digits or not self.least <= int(text) <= self.most:
            raise ValueError(f"{text!r} is not a whole number from {self.least} to {self.most}")
        return int(text)

    def schema(self) -> dict[str, Any]:
        """Return the schema with both limits."""
        return {
            "anyOf": [
                {"type": "integer", "minimum": self.least, "maximum": self.most},
                {"type": "string", "pattern": "^[0-9]+$"},
            ]
        }


class Seconds(Written):
    """A duration in seconds; ``500ms``, ``30s``, ``2m`` and ``1h`` are understood, a year is the longest."""

    metavar = "SECONDS"

    def __init__(self, *, zero: bool) -> None:
        self.zero = zero

    def __call__(self, text: str) -> float:
        """Return the duration in seconds."""
        number = text.rstrip("hms")
        plain = number.replace(".", "", 1)
        scale = _UNITS.get(text[len(number) :] or "s")
        if scale is None or not (plain.isascii() and plain.isdigit()):
            raise ValueError(f"{text!r} is not a duration: it takes seconds such as 30 or 1.5, or 500ms, 30s, 2m, 1h")
        value = float(number) * scale
        if value > _LONGEST_SECONDS or (value == 0 and not self.zero):
            raise ValueError(f"{text!r} is out of range: it takes {'0' if self.zero else 'more than 0'} to one year")
        return value

    def shown(self, value: Any) -> str:
        """Return the seconds without a needless fraction."""
        return f"{value:g}" if value < 1e5 else str(value)  # noqa: PLR2004 - from there :g writes an exponent

    def schema(self) -> dict[str, Any]:
        """Return the schema: a number of seconds, or text with a unit."""
        limit = "minimum" if self.zero else "exclusiveMinimum"
        number = {"type": "number", limit: 0, "maximum": _LONGEST_SECONDS}
        return {"anyOf": [number, {"type": "string", "pattern": r"^[0-9]*\.?[0-9]+(ms|s|m|h)?$"}]}


class Size(Written):
    """A number of bytes; ``64k``, ``10m`` and ``1g`` count in powers of 1024."""

    metavar = "BYTES"

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def __call__(self, text: str) -> int:
        """Return the number of bytes."""
        unit = text[-1:].lower()
        number, scale = (text[:-1], _SIZES[unit]) if unit in _SIZES else (text, 1)
        if not (number.isascii() and number.isdigit() and len(number) <= 15):  # noqa: PLR2004 - a petabyte
            raise ValueError(f"{text!r} is not a size: it takes bytes such as 65536, or 64k, 10m, 1g")
        value = int(number) * scale
        if value < self.least:
            raise ValueError(f"{text!r} is too small: it takes {self.least} bytes or more")
        return value

    def shown(self, value: Any) -> str:
        """Return the size in the largest unit that fits."""
        for unit in ("g", "m", "k"):
            if value and value % _SIZES[unit] == 0:
                return f"{value // _SIZES[unit]}{unit}"
        return str(value)

    def schema(self) -> dict[str, Any]:
        """Return the schema: a number of bytes, or text with a unit."""
        number = {"type": "integer", "minimum": self.least}
        return {"anyOf": [number, {"type": "string", "pattern": "^[0-9]+[kmgKMG]?$"}]}


class Octal(Written):
    """File mode bits as chmod(1) writes them, in octal."""

    metavar = "MODE"

    def __call__(self, text: str) -> int:
        """Return the bits."""
        digits = text.removeprefix("0o")
        if not digits or len(digits) > 4 or not set(digits) <= set("01234567") or int(digits, 8) > 0o777:  # noqa: PLR2004
            raise ValueError(f"{text!r} is not a mode in octal, such as 660")
        return int(digits, 8)

    def shown(self, value: Any) -> str:
        """Return the mode in octal."""
        return f"{value:03o}"

    def schema(self) -> dict[str, Any]:
        """Return the schema: octal digits as text."""
        return {"type": "string", "pattern": "^(0o)?[0-7]{1,4}$"}


class Choice(Written):
    """One word out of a few, in small letters or capitals; ``also`` are words of others for some of them."""

    def __init__(self, *words: str, also: Mapping[str, str] | None = None) -> None:
        self.words, self.also = words, also or {}
        self.metavar = "|".join(words)

    def __call__(self, text: str) -> str:
        """Return the word."""
        word = text.lower()
        word = self.also.get(word, word)
        if word not in self.words:
            raise ValueError(f"{text!r} is none of {', '.join(self.words)}")
        return word

    def schema(self) -> dict[str, Any]:
        """Return the schema: the words."""
        return {"enum": [*self.words, *self.also]}
