"""Which addresses this process tries to connect to, noted while a start is tried: most errors do not name them.

Python's sockets raise an audit event at each connect (sys.addaudithook); uvloop connects in C, so that its loop is asked. What
libpq and other libraries in C connect to stands in their errors only (recovery/awaited.py).
"""

from __future__ import annotations

import contextlib
import os
import sys

from arun.recovery.awaited import Awaited

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any

__all__ = ("Connects",)

#: Addresses that are kept, the last ones.
_MOST = 16


class Connects:
    """The addresses of the connections that were tried since it was made; an audit hook stays for as long as the process."""

    def __init__(self) -> None:
        self._tried: dict[Awaited, None] = {}
        sys.addaudithook(self._heard)

    @property
    def tried(self) -> tuple[Awaited, ...]:
        """The addresses, hosts as they were named, the last ones first."""
        return tuple(self._tried)[::-1]

    def ask(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note what is connected to by the methods of a loop as well."""
        for name, places in (("create_connection", ("host", "port")), ("create_unix_connection", ("path",))):
            with contextlib.suppress(AttributeError):  # a loop of another kind, whose methods cannot be replaced
                setattr(loop, name, self._noting(getattr(loop, name), places))

    def _noting(
        self, method: Callable[..., Coroutine[Any, Any, Any]], places: tuple[str, ...]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def noting(*arguments: Any, **named: Any) -> Any:
            values = dict(zip(places, arguments[1:], strict=False)) | named
            self._note(tuple(values.get(place) for place in places))
            return await method(*arguments, **named)

        return noting

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            self._note(address if isinstance(address, tuple) else (address,))

    def _note(self, address: tuple[Any, ...]) -> None:
        host, *more = address
        if isinstance(host, bytes | os.PathLike):
            host = os.fsdecode(host)
        if type(host) is not str or not host or "\0" in host:
            return
        if not more and host.startswith("/"):
            one = Awaited(host)
        elif more and type(more[0]) is int and 0 < more[0] < 65_536:  # noqa: PLR2004 - a port
            one = Awaited(host, more[0])
        else:
            return
        self._tried.pop(one, None)
        self._tried[one] = None
        if len(self._tried) > _MOST:
            del self._tried[next(iter(self._tried))]
