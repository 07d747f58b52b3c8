"""The processes of an instance, seen from outside: who descends from it, in what state, and who is left of them."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.conftest import until

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.conftest import Instance

__all__ = (
    "Family",
    "Process",
    "children",
    "descendants",
    "descriptors",
    "everybody",
    "settled",
    "stop",
    "told",
    "workers",
)


class Process(NamedTuple):
    """One process, told from a later one of the same pid by when it began."""

    pid: int
    parent: int
    state: str
    began: int


def everybody() -> list[Process]:
    """All processes of the machine."""
    found = []
    for entry in Path("/proc").iterdir():  # and no glob, which looks at each file before it is read
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found.append(Process(int(entry.name), int(fields[1]), fields[0], int(fields[19])))
    return found


def descendants(pid: int) -> list[Process]:
    """Children, grandchildren and so on; zombies included."""
    living, found, parents = everybody(), list[Process](), {pid}
    while parents:
        generation = [one for one in living if one.parent in parents]
        found += generation
        parents = {one.pid for one in generation}
    return found


def children(instance: Instance) -> set[int]:
    """The pids of the children that live."""
    return {one.pid for one in everybody() if one.parent == instance.pid and one.state != "Z"}


def settled(instance: Instance, count: int, *, without: Collection[int] = ()) -> set[int]:
    """Wait until the instance has so many children, no zombie among them and nobody below; return their pids.

    ``without`` are those that are to be gone by then.
    """

    def look() -> set[int]:
        family = descendants(instance.pid)
        assert [one.parent for one in family] == [instance.pid] * count, (family, instance.said)
        assert [one for one in family if one.state == "Z"] == []
        found = {one.pid for one in family}
        assert found.isdisjoint(without), (found, instance.said)
        return found

    return until(look, AssertionError)


def workers(instance: Instance) -> set[int]:
    """The children that serve: whoever has an event loop, which a process that only loads the app has not."""
    return {pid for pid in children(instance) if "anon_inode:[eventpoll]" in descriptors(pid)}


def descriptors(pid: int) -> list[str]:
    """What the open descriptors of a process point to."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.append(str(entry.readlink()))
    return found


class Family:
    """The processes of an instance as they are while it lives, so that it can be told afterwards who is left of them."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._members = {(one.pid, one.began) for one in descendants(instance.pid)}
        self._folder = Path(f"/proc/{instance.pid}/cwd").readlink()

    def ends(self, status: int) -> None:
        """Wait for the end of the instance; check its status, and that no process of it is left, wherever it belongs now."""
        assert self._instance.wait() == status, self._instance.said
        self.assert_gone()

    def assert_gone(self) -> None:
        """Check that nobody is left: of those that were there, or of others, who stand in the same folder."""

        def look() -> None:
            assert [one for one in everybody() if self._is_ours(one)] == []

        until(look, AssertionError)

    def _is_ours(self, one: Process) -> bool:
        if (one.pid, one.began) in self._members:
            return True
        try:
            return Path(f"/proc/{one.pid}/cwd").readlink() == self._folder
        except OSError:  # gone by now, or a zombie of somebody's
            return False


def stop(instance: Instance, *numbers: signal.Signals, status: int = 0) -> None:
    """End the instance by these signals, SIGTERM if none is given; check its status, and that nobody is left."""
    family = Family(instance)
    for number in numbers or (signal.SIGTERM,):
        instance.send(number)
    family.ends(status)


def told(instance: Instance) -> list[str]:
    """The identifiers of the failures that were told, also where a line of theirs begins behind what a sibling was writing."""
    names: list[str] = re.findall(r"arun: ([a-z-]+): ", instance.said)
    return [name for name in names if name not in {"hint", "warning"}]
