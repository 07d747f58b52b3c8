"""The error log of requests: one frame for each that failed, and few of them when all do."""

from __future__ import annotations

import asyncio

from arun.core.failures import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("ErrorLog",)

#: Frames that are written in one second; more of them would say the same, and take the time of requests that work.
_FRAMES = 20


class ErrorLog:
    """Tells of requests that failed; ``write`` takes one text for each. It belongs to the loop's thread."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._told = 0

    def failed(  # noqa: PLR0913 - all by name, but for the request line
        self,
        method: str,
        target: bytes,
        *,
        client: str | None,
        request_id: bytes | None,
        traceback: Callable[[], str],
        how: str = "failed",
    ) -> None:
        """Write the frame of a request whose app failed: request line, client, id, and what ``traceback`` returns.

        Of more than 20 in a second the others are counted, and their number is told at its end.
        """
        if not self._told:
            asyncio.get_running_loop().call_later(1.0, self._next_second)
        self._told += 1
        if self._told > _FRAMES:
            return
        known = [f"client {client}" if client else "", f"request id {request_id.decode()}" if request_id else ""]
        where = ", ".join(filter(None, known))
        line = f"{method} {printable(target.decode('latin-1'))} {how}"
        self._write(f"{line} ({where})\n{traceback()}" if where else f"{line}\n{traceback()}")

    def _next_second(self) -> None:
        more, self._told = self._told - _FRAMES, 0
        if more > 0:
            self._write(f"... and {more} more requests failed in that second\n")
