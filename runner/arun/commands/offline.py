"""``arun offline``: the app is taken offline, with a calm page in its place, while its workers stay warm."""

from __future__ import annotations

import sys

from arun.commands import reaching
from arun.commands.usage import Option, Usage
from arun.core.failures import printable

__all__ = ("main",)

USAGE = Usage(
    "offline",
    "Takes the app of an instance offline: new requests get status 503 and a calm page with TEXT, those that have begun "
    "end, websockets are closed. The workers stay.",
    (
        *reaching.OPTIONS,
        Option("config", "FILE", "find the instance by the config that it was started with"),
        Option(
            "allow", "CIDR", "clients that reach the app all the same, address or network; repeatable", repeats=True
        ),
    ),
    "[TEXT]",
    1,
    f"""\
{reaching.NOTES}
Clients are those of the access log: behind a trusted proxy, its clients. It
holds over reloads, upgrades and fallbacks, until arun online, or the instance
is stopped. The status is 0 where it is offline, 1 where it refuses, and 2
where no instance is found, or the arguments are wrong.
""",
)


def main(arguments: list[str]) -> int:
    """Take it offline; return 0, or 1 where the instance refuses.

    Raises:
        StartupFailure: no instance is found.
    """
    given = USAGE.read(arguments)
    if given is None:
        return 0
    import json

    place = reaching.found(given, given.get("config"))
    allowed = [one.strip() for one in (given.get("allow") or "").split(",") if one.strip()]
    said = {"text": given.operands[0] if given.operands else "", "allow": allowed}
    accepted, answer = reaching.order(place, "/offline", json.dumps(said).encode())
    (sys.stdout if accepted else sys.stderr).write(f"{'' if accepted else 'arun: '}{printable(answer)}\n")
    return int(not accepted)
