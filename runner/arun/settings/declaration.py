"""How an option is declared: its name, kind, default and words, and how its value is read from a settings object.

A declaration is a data descriptor, so that ``settings.backlog`` is an ``int`` for the reader and for the type checker,
while a start does not pay for building a class with fifty fields.
"""

from __future__ import annotations

from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Protocol, TypeVar

    T = TypeVar("T")
    D = TypeVar("D")
    T_co = TypeVar("T_co", covariant=True)

    class Kind(Protocol[T_co]):
        """What an option needs to know of its kind of value."""

        metavar: str
        hides: bool

        def __call__(self, text: str, /) -> T_co:
            """Return the value of a text, or raise ValueError with a sentence."""
            ...

        def shown(self, value: Any) -> str:
            """Return the value as text."""
            ...

        def schema(self) -> dict[str, Any]:
            """Return the JSON schema of one value."""
            ...


__all__ = ("Option", "declared", "named", "option", "repeated")


class Option:
    """One option; ``name`` is written with dashes, ``group`` is the heading it stands under."""

    def __init__(self, kind: Kind[Any], default: Any, about: str, **more: Any) -> None:
        self.kind = kind
        self.default = default
        self.about = about
        self.repeatable: bool = more.get("repeatable", False)
        self.aliases: tuple[str, ...] = more.get("aliases", ())
        self.short: str = more.get("short", "")
        self.separator: str = more.get("separator", "")
        self.bare: str | None = more.get("bare")
        self.hint: str = more.get("hint", "")
        #: The hint for a wrong value behind the short flag.
        self.short_hint: str = more.get("short_hint", "")
        self.metavar: str = more.get("metavar") or kind.metavar
        self.command_line_only: bool = more.get("command_line_only", False)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.replace("_", "-")
        self.group = (owner.__doc__ or "").rstrip(".")

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.value(self.name)

    def __set__(self, instance: Any, value: Any) -> NoReturn:
        raise AttributeError(f"settings are frozen: {self.name} cannot be changed")

    @property
    def is_flag(self) -> bool:
        """Whether the bare name means yes."""
        return self.kind.metavar == "yes|no"

    @property
    def spellings(self) -> tuple[str, ...]:
        """All long names, the canonical one first."""
        return (self.name, *self.aliases)


def option(kind: Kind[T], *, default: D, about: str, **more: Any) -> T | D:
    """Declare an option that has one value; the last one counts."""
    return Option(kind, default, about, **more)  # type: ignore[return-value] # the descriptor yields what is promised


def repeated(kind: Kind[T], *, about: str, default: tuple[T, ...] = (), **more: Any) -> tuple[T, ...]:
    """Declare an option that may be repeated; all values of the highest layer count, in their order."""
    return Option(kind, default, about, repeatable=True, **more)  # type: ignore[return-value] # as in option()


@cache
def declared(settings: type) -> dict[str, Option]:
    """All options of a settings class by canonical name, in the order of their declaration."""
    found = {}
    for part in reversed(settings.__mro__):
        found.update({one.name: one for one in vars(part).values() if isinstance(one, Option)})
    return found


@cache
def named(settings: type) -> dict[str, Option]:
    """All options by each of their long names."""
    return {spelling: one for one in declared(settings).values() for spelling in one.spellings}
