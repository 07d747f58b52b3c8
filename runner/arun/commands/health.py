"""``arun health``: one probe of an instance, for health checks that run a command. It is quick: no event loop, no JSON."""

from __future__ import annotations

import os
import sys

from arun.commands import reaching
from arun.commands.usage import Option, Usage
from arun.control import client
from arun.control.client import Unanswered
from arun.core.failures import OPTION_INVALID, StartupFailure, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.commands.usage import Arguments

    #: The path of a unix socket, or host and port.
    Where = str | tuple[str, int]

__all__ = ("main",)

USAGE = Usage(
    "health",
    "Asks an instance whether it is ready, within a time, and says why it is not.",
    (
        *reaching.OPTIONS,
        Option("live", "", "ask whether it lives, and not whether the app answers all requests"),
        Option("startup", "", "ask whether its start is over"),
        Option("path", "PATH", "ask the app itself for this path: below 500 is healthy"),
        Option("timeout", "SECONDS", "how long it may take (default: 2)"),
    ),
    "[CONFIG|ADDRESS]",
    1,
    f"""\
{reaching.NOTES}
Where nothing of it is named, the app is asked for --path (default: /) at
ADDRESS, ARUN_BIND, or PORT (default: 127.0.0.1:8000); with a control socket
--path goes to where the instance really listens. The status is 0 where it is
healthy, and 1 where it is not, or does not answer.
""",
)
_HEALTHY = range(200, 500)


def main(arguments: list[str]) -> int:
    """Ask; return 0 where the instance is healthy, else 1."""
    try:
        given = USAGE.read(arguments)
        if given is None:
            return 0
        seconds = _seconds(given.get("timeout") or "2")
        return _probe(given, seconds)
    except Unanswered as why:
        sys.stderr.write(f"arun: no answer: {printable(str(why).lower())}\n")
    except StartupFailure as failure:
        sys.stderr.write(f"arun: {failure.cause.identifier}: {printable(failure.sentence)}\n")
    return 1


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:  # noqa: PLR2004 - days
        raise StartupFailure(OPTION_INVALID, f"--timeout takes a number of seconds, not {text!r}")
    return seconds


def _probe(given: Arguments, seconds: float) -> int:
    operand = given.operands[0] if given.operands else None
    address = None if operand is None else _address(operand)
    place = None
    if address is None:
        try:
            place = reaching.found(given, operand)
        except StartupFailure as failure:
            if (
                failure.cause is not reaching.NO_INSTANCE
                or operand
                or given.options.keys() & {"control", "pidfile", "state-dir"}
            ):
                raise
            address = _app()
    path = given.get("path")
    if place is not None and path is None:
        target = "/livez" if given.has("live") else "/startupz" if given.has("startup") else "/readyz"
        answer = client.ask(place.path, target, seconds=seconds)
        return _told(answer.text, is_healthy=answer.status == 200)  # noqa: PLR2004 - OK
    if place is not None:
        address = _listener(reaching.state(place)["listeners"])
    assert address is not None  # noqa: S101 - one of both is known
    answer = client.ask(address, path or "/", seconds=seconds)
    return _told(f"status {answer.status}", is_healthy=answer.status in _HEALTHY)


def _told(text: str, *, is_healthy: bool) -> int:
    (sys.stdout if is_healthy else sys.stderr).write(f"{'' if is_healthy else 'arun: '}{printable(text)}\n")
    return int(not is_healthy)


def _app() -> Where:
    """Return where the app should be by the environment."""
    text = os.environ.get("ARUN_BIND", "").partition(",")[0]
    port = os.environ.get("PORT", "")
    return _address(text) or ("127.0.0.1", int(port) if port.isascii() and port.isdigit() else 8000)


def _listener(urls: list[str]) -> Where:
    """Return the first listener that speaks plain HTTP."""
    for url in urls:
        if (address := _address(url.removeprefix("http://"))) is not None:
            return address
    raise Unanswered("the instance listens nowhere without TLS")


def _address(text: str) -> Where | None:
    """Return host and port or the path in an address, as one connects to it; None for what is no address."""
    from arun.core.addresses import Tcp, Unix, parse

    if os.path.exists(text):  # a config
        return None
    try:
        found = parse(text)
    except ValueError:
        return None
    if isinstance(found, Unix):
        return found.path
    if not isinstance(found, Tcp):
        return None
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found.host, found.host), found.port  # noqa: S104 - connected to
