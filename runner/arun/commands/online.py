"""``arun online``: the app answers all requests again, after ``arun offline``."""

from __future__ import annotations

import sys

from arun.commands import reaching
from arun.commands.usage import Usage
from arun.core.failures import printable

__all__ = ("main",)

USAGE = Usage(
    "online",
    "Brings the app of an instance back that arun offline has taken offline.",
    reaching.OPTIONS,
    "[CONFIG]",
    1,
    f"""\
{reaching.NOTES}
The status is 0 where it is not offline any more, in a fallback too, and 2
where no instance is found, or the arguments are wrong.
""",
)


def main(arguments: list[str]) -> int:
    """Bring it back; return 0.

    Raises:
        StartupFailure: no instance is found.
    """
    given = USAGE.read(arguments)
    if given is None:
        return 0
    accepted, answer = reaching.order(reaching.found(given, *given.operands), "/online")
    sys.stdout.write(f"{printable(answer)}\n")
    return int(not accepted)
