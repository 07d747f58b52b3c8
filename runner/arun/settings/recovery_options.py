"""The options of the way back from a fallback; declared like those in options.py, of which they are one section."""

from __future__ import annotations

from .declaration import option, repeated
from .kinds import Choice, Seconds

__all__ = ("Recovery",)


class Recovery:
    """The way back from a fallback."""

    __slots__ = ()

    recover = repeated(
        Choice("watch", "every", "cause", "signal", "none"),
        default=("watch", "every", "cause", "signal"),
        separator=",",
        about="when a fallback tries the first start again: a file that it read has changed, every so often, what it failed "
        "over is over, on SIGHUP; none, or signal alone: on SIGHUP only; it holds for the whole chain",
    )
    recover_interval = option(
        Seconds(zero=False), default=2.0, about="time until every tries again; it doubles with each try that fails"
    )
    recover_interval_max = option(Seconds(zero=False), default=60.0, about="the most that this time grows to")
    recover_probe = option(
        Choice("full", "import"),
        default="full",
        about="how the first start is tried, in a process of its own: with the app's start-up and shut-down, or up to the "
        "import, for apps whose start-up must not run twice",
    )
