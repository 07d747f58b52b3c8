"""A coroutine that has nothing left to do: what ``send`` returns where there is nothing to wait for."""

from __future__ import annotations

from collections.abc import Coroutine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, Final, NoReturn

__all__ = ("DONE",)

_NOTHING: Final[Any] = iter(())


class _Done:
    """Done whenever and however often it is awaited, so that one is enough. Passes for a coroutine: tasks can be made of it."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        nothing: Generator[Any, Any, None] = _NOTHING
        return nothing

    def send(self, value: object) -> NoReturn:  # noqa: ARG002 - nobody waits for it
        """End at once."""
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> NoReturn:
        """Raise what is thrown in (as the oldest form of it, three values, may be)."""
        error = kind if value is None else value
        raise error if traceback is None else error.with_traceback(traceback)

    def close(self) -> None:
        """Do nothing."""


Coroutine.register(_Done)
DONE: Final = _Done()
