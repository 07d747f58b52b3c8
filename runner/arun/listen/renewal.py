"""Renewal: certificates are read again when their files change, or on request, while connections go on."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arun.listen.certificates import LiveContext

__all__ = ("Renewal",)

#: Seconds between two looks at the files; a change is acted on when it has lasted from one look to the next.
_INTERVAL = 2.0


class Renewal:
    """Watches the files of some contexts on the running loop."""

    def __init__(self, contexts: Sequence[LiveContext]) -> None:
        self._contexts = contexts
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(_INTERVAL, self._look)

    def reread(self) -> None:
        """Reread all of them now; may be called from a handler of a signal."""
        self._loop.call_soon_threadsafe(self._reread)

    def stop(self) -> None:
        """Look no more."""
        self._next.cancel()

    def _reread(self) -> None:
        for context in self._contexts:
            context.reread()

    def _look(self) -> None:
        self._next = self._loop.call_later(_INTERVAL, self._look)
        for context in self._contexts:
            context.poll()
