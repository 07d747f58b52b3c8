"""A bounded memory of what was worked out before, which any thread may use."""

from __future__ import annotations

from typing import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Memo",)

Key = TypeVar("Key")
Known = TypeVar("Known")


class Memo(dict[Key, Known]):
    """A dict that works out what it does not hold, and is emptied when it holds ``entries``.

    ``memo[key]`` always returns a value: that of ``work_out(key)``, which may raise instead. No key is ever looked up on
    the ground that it was there a moment ago: another thread may have emptied the dict since. What every request looks
    up is first asked of ``memo.get(key)``, that of a dict: ``[]`` and ``in`` cost three times as much where CPython finds
    them on a subclass. Keys longer than ``longest`` are not kept, so that clients cannot fill the memory.
    """

    __slots__ = ("_entries", "_longest", "_work_out")

    def __init__(self, work_out: Callable[[Key], Known], *, entries: int = 512, longest: int = 256) -> None:
        super().__init__()
        self._work_out = work_out
        self._entries = entries
        self._longest = longest

    def __missing__(self, key: Key) -> Known:
        known = self._work_out(key)
        if not isinstance(key, (bytes, str)) or len(key) <= self._longest:
            self.remember(key, known)
        return known

    def remember(self, key: Key, known: Known) -> None:
        """Keep a value for a key; what was kept before may go."""
        if len(self) >= self._entries:
            self.clear()
        self[key] = known
