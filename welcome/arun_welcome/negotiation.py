"""Which form and which language a request asks for (RFC 9110, sections 12.5.1 and 12.5.4)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    Format = Literal["text/html", "application/problem+json", "application/json", "text/plain"]
    Language = Literal["en", "zh-Hans"]

__all__ = ("choose_format", "choose_language")

#: What to send of several forms that a client named and likes equally well, best first.
_NAMED: tuple[Format, ...] = ("text/html", "application/problem+json", "application/json", "text/plain")
#: And of several that it only did not rule out. Every browser names text/html; a client that sends */* or nothing is curl, a
#: probe or a script, and its reader is better served by text than by mark-up.
_UNNAMED: tuple[Format, ...] = ("text/plain", "text/html", "application/problem+json", "application/json")

_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
_SIMPLIFIED = frozenset({"hans", "cn", "sg", "my"})


def choose_format(accept: str) -> Format:
    """Return the form that an ``Accept`` header likes best; text where it likes none, as a response beats a 406.

    The most precise range decides on a form. Other parameters than ``q`` are passed over.
    """
    qualities = dict(_ranges(accept)) or {"*/*": 1.0}

    def liking(form: Format) -> tuple[float, int, int]:
        for precision, range_ in ((2, form), (1, form.partition("/")[0] + "/*"), (0, "*/*")):
            if range_ in qualities:
                rank = (_NAMED if precision == 2 else _UNNAMED).index(form)  # noqa: PLR2004 - named in full
                return qualities[range_], precision, -rank
        return 0.0, 0, 0

    best = max(_UNNAMED, key=liking)
    return best if liking(best)[0] else "text/plain"


def choose_language(accept_language: str) -> Language:
    """Return the language that an ``Accept-Language`` header likes best; English where it likes neither.

    Readers of traditional characters get English if they list it at all, and else the simplified page; a bare ``zh``
    in their list means their script too. Of two languages liked equally the first one listed is taken.
    """
    listed = [(tag.split("-"), quality) for tag, quality in _ranges(accept_language)]
    if not any(subtags[0] == "en" for subtags, _ in listed):
        listed = [(["en"] if subtags == ["*"] else subtags, quality) for subtags, quality in listed]
    yields = any(_TRADITIONAL.intersection(subtags) for subtags, _ in listed) and any(
        subtags[0] == "en" and quality for subtags, quality in listed
    )
    best: Language = "en"
    highest = 0.0
    for subtags, quality in listed:
        if quality <= highest:
            continue
        if subtags[0] == "en":
            best, highest = "en", quality
        elif subtags[0] == "zh" and (not yields or _SIMPLIFIED.intersection(subtags)):
            best, highest = "zh-Hans", quality
    return best


def _ranges(header: str) -> Iterator[tuple[str, float]]:
    """Split a header into its ranges and their qualities; what is malformed is passed over, as if not sent."""
    for element in header.lower().split(","):
        range_, *parameters = (part.strip() for part in element.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                quality = _quality(value.strip())
        if range_ and quality >= 0:
            yield range_, quality


def _quality(text: str) -> float:
    """Return a quality value, 0 to 1; -1 where the text is none."""
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()):
        return -1.0
    quality = float(text[:5])
    return quality if quality <= 1 else -1.0
