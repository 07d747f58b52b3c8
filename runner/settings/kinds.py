"""The kinds of values: from the text a user wrote to a typed value, one small class each.

A kind is called with text and returns the value, or raises ValueError with a sentence that holds the text. Native
values of toml, json and yaml come here as text too, so that a number means the same wherever it is written.
"""

from __future__ import annotations

from runner.addresses import Tcp, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runner.addresses import Address

__all__ = (
    "Cause",
    "Choice",
    "Fallback",
    "Flag",
    "Host",
    "Listener",
    "Number",
    "Octal",
    "Owner",
    "PidPath",
    "Seconds",
    "Text",
    "Trusted",
    "Variable",
)

_LONGEST_SECONDS = 31_536_000.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


class _Shown:
    """How most values are written back: as they are read."""

    metavar = "TEXT"

    def shown(self, value: Any) -> str:
        """Return the value as a file would hold it."""
        return str(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of one value."""
        return {"type": "string"}


class Text(_Shown):
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


class Flag(_Shown):
    """Yes or no, in the words that uWSGI's users write."""

    metavar = "yes|no"

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


class Number(_Shown):
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


class Seconds(_Shown):
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


class Octal(_Shown):
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


class Choice(_Shown):
    """One word out of a few."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.metavar = "|".join(words)

    def __call__(self, text: str) -> str:
        """Return the word."""
        if text not in self.words:
            raise ValueError(f"{text!r} is none of {', '.join(self.words)}")
        return text

    def schema(self) -> dict[str, Any]:
        """Return the schema: the words."""
        return {"enum": list(self.words)}


class Listener(_Shown):
    """An address to listen on."""

    metavar = "ADDRESS"

    def __call__(self, text: str) -> Address:
        """Return the address; unix paths stay as they are written."""
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(str(error) if text in str(error) else f"{text!r}: {error}") from None


class Host(_Shown):
    """A host name or IP address, IPv6 with or without brackets."""

    metavar = "HOST"

    def __call__(self, text: str) -> str:
        """Return the host without brackets; empty or ``*`` means all IPv4 interfaces."""
        bracketed = f"[{text}]" if ":" in text and not text.startswith("[") else text
        address = parse(f"{bracketed}:0")
        if not isinstance(address, Tcp):
            raise ValueError(f"{text!r} is not a host")  # noqa: TRY004 - the value is wrong, its type is text
        return address.host


class Fallback(_Shown):
    """Where to go when a start fails: ``welcome``, a config, or nowhere (empty or ``none``)."""

    metavar = "FILE|welcome|none"

    def __call__(self, text: str) -> str | None:
        """Return the reference, None for nowhere."""
        return None if text in {"", "none"} else text


class Cause(_Shown):
    """A cause of failure by its identifier, a stage of the start, or ``all`` or ``none``."""

    metavar = "CAUSE"

    def __call__(self, text: str) -> str:
        """Return the name."""
        if text in {"all", "none"} or text in self._known():
            return text
        from difflib import get_close_matches

        near = get_close_matches(text, self._known(), 1)
        ending = f"; did you mean {near[0]}?" if near else ": it takes all, none, a stage or an identifier"
        raise ValueError(f"{text!r} is no cause of failure{ending}")

    def schema(self) -> dict[str, Any]:
        """Return the schema: every name."""
        return {"enum": ["all", "none", *self._known()]}

    @staticmethod
    def _known() -> list[str]:
        from runner.failures import STAGES, by_identifier

        return [*STAGES, *sorted(by_identifier())]


class Trusted(_Shown):
    """A peer whose forwarded headers are believed: an IP address, a network in CIDR notation (RFC 4632), or ``*``."""

    metavar = "IP|NETWORK|*"

    def __call__(self, text: str) -> str:
        """Return the peer as it is written."""
        import _socket  # the C module: ipaddress would cost milliseconds on every start that sets this

        host, slash, bits = text.partition("/")
        family, most = (_socket.AF_INET6, 128) if ":" in host else (_socket.AF_INET, 32)
        try:
            if text != "*":
                _socket.inet_pton(family, host)
        except (OSError, ValueError):
            raise ValueError(f"{text!r} is neither an IP address, nor a network such as 10.0.0.0/8, nor *") from None
        if slash and not (bits.isascii() and bits.isdigit() and int(bits[:4]) <= most):
            raise ValueError(f"{text!r} is not a network: behind the slash stands a number from 0 to {most}")
        return text


class Variable(_Shown):
    """One environment variable, ``NAME=value``; its value is never shown."""

    metavar = "NAME=VALUE"

    def __call__(self, text: str) -> tuple[str, str]:
        """Return name and value."""
        name, equals, value = text.partition("=")
        if not name or not equals or "\0" in text:
            # the text may hold a secret that was given without its name: it is not repeated here
            raise ValueError("what is given is not NAME=value")
        return name, value

    def shown(self, value: Any) -> str:
        """Return the name and a mask."""
        return f"{value[0]}=***"


class Owner(_Shown):
    """The owner of a file: ``user``, ``user:group`` or ``:group``, names or numbers."""

    metavar = "USER[:GROUP]"

    def __call__(self, text: str) -> tuple[str, str]:
        """Return user and group, empty where nothing was said."""
        user, colon, group = text.partition(":")
        if not (user or group) or (colon and not group) or ":" in group:
            raise ValueError(f"{text!r} is not an owner: it takes user, user:group or :group")
        return user, group

    def shown(self, value: Any) -> str:
        """Return user and group as they were written."""
        return f"{value[0]}:{value[1]}" if value[1] else str(value[0])
