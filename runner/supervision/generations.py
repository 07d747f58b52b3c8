"""What workers are made of, the slots that they fill, and the generations that slots belong to."""

from __future__ import annotations

import time

from runner.supervision.workers import Bounds, Worker
from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from runner.failures import StartupFailure

__all__ = ("Generation", "Recipe", "Slot")


class Recipe(Value):
    """How the workers of a generation are made: ``run`` is called in the new process and never returns.

    It is given the number of a slot, when its start began, and the line to the supervisor. With ``preload`` it is called
    once, without a slot, in a process that loads the app and forks the others. ``began`` is when the start of all of
    them began. Times are of the monotonic clock, in seconds.
    """

    run: Callable[[int | None, float, socket.socket], NoReturn]
    workers: int
    bounds: Bounds
    began: float
    touched: Sequence[str] = ()
    preload: bool = False


class Slot:
    """One place among the workers: who serves there, who is to, and from when on somebody may be started."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.serving: Worker | None = None
        self.coming: Worker | None = None
        self.due = 0.0

    @property
    def held(self) -> list[Worker]:
        """Who is there."""
        return [worker for worker in (self.serving, self.coming) if worker is not None]

    def forget(self, worker: Worker) -> None:
        """Take a worker out."""
        if self.serving is worker:
            self.serving = None
        if self.coming is worker:
            self.coming = None


class Generation:
    """The workers of one recipe; those that an upgrade has left have none, and are not replaced."""

    def __init__(self, recipe: Recipe | None, what: str = "reload") -> None:
        self.recipe = recipe
        #: What brings it about, where another one serves already.
        self.what = what
        self.slots = [Slot(number) for number in range(1, recipe.workers + 1)] if recipe else []
        #: The process that has loaded the app and forks the others, with ``preload``; and why the last one ended.
        self.loader: Worker | None = None
        self.loader_failure: StartupFailure | None = None
        #: Who was inherited on its way out.
        self.leaving: list[Worker] = []
        #: All were ready once.
        self.is_complete = recipe is None

    @property
    def workers(self) -> list[Worker]:
        """Who is in the slots."""
        return [worker for slot in self.slots for worker in slot.held]

    @property
    def members(self) -> list[Worker]:
        """Who belongs to it."""
        return self.workers if self.loader is None else [self.loader, *self.workers]

    def inherit(self, connection: socket.socket, pid: int, number: int, *, is_leaving: bool) -> None:
        """Take a worker over from the arun that this process was; one that is on its way out has no slot any more."""
        slot = Slot(number)
        worker = Worker(connection, slot, self, pid)
        worker.is_ready = True
        if is_leaving:
            worker.retire(Bounds())
            self.leaving.append(worker)
        else:
            slot.serving = worker
            self.slots.append(slot)

    def resize(self, wanted: int) -> list[Worker]:
        """Have so many slots, and return who has none any more."""
        while len(self.slots) < wanted:
            self.slots.append(Slot(len(self.slots) + 1))
        surplus, self.slots = self.slots[wanted:], self.slots[:wanted]
        return [worker for slot in surplus for worker in slot.held]

    def wants(self, slot: Slot, now: float) -> bool:
        """Tell whether a worker is to be started for a slot: nobody is there, or who is there wants a successor.

        Successors come one after the other: workers that began together are spent together.
        """
        if self.recipe is None or slot.coming is not None or now < slot.due:
            return False
        if slot.serving is None:
            return True
        return bool(slot.serving.spent) and not any(one.serving and one.coming for one in self.slots)

    def start_began(self) -> float:
        """Return when the start of a worker began that is started now."""
        return time.monotonic() if self.is_complete or self.recipe is None else self.recipe.began
