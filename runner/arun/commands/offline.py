"""``arun offline``: the app is taken offline, with a calm page in its place, while its workers stay warm."""

from __future__ import annotations

import os
import sys

from arun.commands import reaching
from arun.commands.usage import Option, Usage
from arun.core.failures import OPTION_INVALID, StartupFailure, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

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
        StartupFailure: no instance is found, or what is said cannot be meant.
    """
    given = USAGE.read(arguments)
    if given is None:
        return 0
    text = given.operands[0] if given.operands else ""
    allowed = [one.strip() for one in (given.get("allow") or "").split(",") if one.strip()]
    _look_at(text, allowed, has_config=given.has("config"))
    import json

    place = reaching.found(given, given.get("config"))
    said = {"text": text, "allow": allowed}
    accepted, answer = reaching.order(place, "/offline", json.dumps(said).encode())
    (sys.stdout if accepted else sys.stderr).write(f"{'' if accepted else 'arun: '}{printable(answer)}\n")
    return int(not accepted)


def _look_at(text: str, allowed: Iterable[str], *, has_config: bool) -> None:
    """Look at what is said before the site goes offline with it.

    Raises:
        StartupFailure(OPTION_INVALID): the text is the name of a file, as other commands take it for a config, or what is
            allowed is no address and no network.
    """
    if text and not has_config and os.path.isfile(text):
        raise StartupFailure(
            OPTION_INVALID,
            f"{text!r} is a file, and this is the text that visitors would read",
            origin="command line",
            hint=f"name a config with --config {text}, and what visitors are to read as TEXT",
        )
    from ipaddress import ip_network

    for one in allowed:
        try:
            ip_network(one, strict=False)
        except ValueError:
            raise StartupFailure(
                OPTION_INVALID,
                f"--allow: {one!r} is no IP address and no network",
                origin="command line",
                hint="write an address or a network in CIDR notation, such as 192.0.2.1 or 10.0.0.0/8",
            ) from None
