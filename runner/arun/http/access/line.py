"""A line of the access log: what it says of a request, and one compiled function that writes it."""

from __future__ import annotations

from time import time

from arun.core.native import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ("NOW", "AccessLog", "Clock", "compiled")

#: The statement that brings the names ``now``, seconds since the epoch, and ``clock`` up to date; a call costs more.
NOW = "if not clock.since <= (now := time()) < clock.until: clock.turn(now)"
#: The parameters of an access log, as above.
_PARAMETERS = (
    "client, method, target, version, status, sent, seconds, request_fields=(), response_fields=(), scheme='http', "
    "request_id=None"
)


class AccessLog(Protocol):
    """Called with each request that has ended: answered, refused, or cut.

    ``client`` is an IP address, None on a unix socket. ``method`` is empty where the request line could not be
    read, ``status`` 0 where no response was sent. ``sent`` counts the bytes of the body, without head and framing,
    that were handed to the connection; ``seconds`` go from the complete head to the end of the response. Header fields
    have names in lower case and are looked at once at most, so that the caller may pass an iterator that does the
    work only then. Arguments are positional, and not gathered in a value: that would cost as much as the line.
    """

    def __call__(  # noqa: D102, PLR0913, PLR0917 - as the class says
        self,
        client: str | None,
        method: str,
        target: bytes,
        version: str,
        status: int,
        sent: int,
        seconds: float,
        request_fields: Iterable[tuple[bytes, bytes]] = (),
        response_fields: Iterable[tuple[bytes, bytes]] = (),
        scheme: str = "http",
        request_id: str | None = None,
    ) -> None: ...


class Clock:
    """The time of a line as text, made once a second by ``form``."""

    __slots__ = ("_form", "since", "text", "until")

    def __init__(self, form: Callable[[int], str]) -> None:
        self._form = form
        #: The second of ``text``, from ``since`` and before ``until``.
        self.since = self.until = 0
        self.text = ""

    def turn(self, now: float) -> None:
        """Go to another second; a clock that was set goes back as well."""
        self.since = int(now)
        self.until = self.since + 1
        self.text = self._form(self.since)


def compiled(line: str, statements: Iterable[str], names: dict[str, Any], write: Callable[[str], None]) -> AccessLog:
    """Make one function of what a line says: a chain of calls instead costs three times as much.

    ``line`` is the inside of an f-string without quotes in its expressions, which may use the parameters of an access
    log, ``names``, ``time``, and what the ``statements`` before it assign. Nothing of it may come from a client.
    """
    body = "".join(f"    {statement}\n" for statement in statements)
    scope = {**names, "write": write, "time": time}
    source = f"def log({_PARAMETERS}):\n{body}    write(f{line + chr(10)!r})\n"
    exec(source, scope)  # noqa: S102 - a function that is written at the start, of an operator's format
    made: AccessLog = scope["log"]
    return made
