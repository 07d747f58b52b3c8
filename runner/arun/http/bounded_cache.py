"""A cache of values that were computed before, bounded and shared by all threads."""

from __future__ import annotations

from typing import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("BoundedCache",)

Key = TypeVar("Key")
Cached = TypeVar("Cached")


class BoundedCache(dict[Key, Cached]):
    """A dict that computes a missing value, and is emptied when it holds ``entries``.

    ``cache[key]`` always returns a value: that of ``compute(key)``, which may raise instead. Code must not rely on a key that
    was there a moment ago: another thread may have emptied the dict since. What every request looks up
    is first looked up by ``cache.get(key)``, that of a dict: ``[]`` and ``in`` cost three times as much where CPython finds them
    on a subclass. Keys longer than ``longest`` are not kept, so that clients cannot fill the memory.
    """

    __slots__ = ("_compute", "_entries", "_longest")

    def __init__(self, compute: Callable[[Key], Cached], *, entries: int = 512, longest: int = 256) -> None:
        super().__init__()
        self._compute = compute
        self._entries = entries
        self._longest = longest

    def __missing__(self, key: Key) -> Cached:
        value = self._compute(key)
        if not isinstance(key, (bytes, str)) or len(key) <= self._longest:
            self.keep(key, value)
        return value

    def keep(self, key: Key, value: Cached) -> None:
        """Keep a value for a key; earlier entries may go."""
        if len(self) >= self._entries:
            self.clear()
        self[key] = value
