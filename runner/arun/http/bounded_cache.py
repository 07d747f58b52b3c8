"""A cache of values that were computed before, bounded and shared by all threads."""

from __future__ import annotations

from typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("BoundedCache",)

Key = TypeVar("Key")
Cached = TypeVar("Cached")


class BoundedCache(Generic[Key, Cached]):
    """Values by key: a missing one is computed, and all are forgotten when there are ``entries`` of them.

    ``cache[key]`` always returns a value: that of ``compute(key)``, which may raise instead. What every request looks up
    is first looked up by ``cache.known.get(key)``, that of a dict. Code must not rely on a key that
    was there a moment ago: another thread may have emptied the dict since.
    Keys longer than ``longest`` are not kept, so that clients cannot fill the memory.
    """

    __slots__ = ("_compute", "_entries", "_longest", "get", "known")

    def __init__(self, compute: Callable[[Key], Cached], *, entries: int = 512, longest: int = 256) -> None:
        self._compute = compute
        self._entries = entries
        self._longest = longest
        #: What was computed; always the same dict.
        self.known: dict[Key, Cached] = {}
        #: Return a value that is known, or None.
        self.get: Callable[[Key], Cached | None] = self.known.get

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, key: Key) -> Cached:
        value = self.known.get(key)
        if value is None:
            value = self._compute(key)
            if not isinstance(key, (bytes, str)) or len(key) <= self._longest:
                self.keep(key, value)
        return value

    def keep(self, key: Key, value: Cached) -> None:
        """Keep a value for a key; earlier entries may go."""
        if len(self.known) >= self._entries:
            self.known.clear()
        self.known[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self.known.clear()
