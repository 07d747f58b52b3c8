"""The processes of an instance, seen from outside: its descendants, their states, and which are left after its end."""

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
    "processes",
    "reported",
    "settled",
    "stop",
    "workers",
)


class Process(NamedTuple):
    """One process; ``began`` distinguishes it from a later one with the same pid."""

    pid: int
    parent: int
    state: str
    began: int


def processes() -> list[Process]:
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
    living, found, parents = processes(), list[Process](), {pid}
    while parents:
        generation = [one for one in living if one.parent in parents]
        found += generation
        parents = {one.pid for one in generation}
    return found


def children(instance: Instance) -> set[int]:
    """The pids of the children that live."""
    return {one.pid for one in processes() if one.parent == instance.pid and one.state != "Z"}


def settled(instance: Instance, count: int, *, without: Collection[int] = ()) -> set[int]:
    """Wait until the instance has so many children, no zombie among them and no grandchildren; return their pids.

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
    """The children that serve: those with an event loop, which the process that only loads the app has not."""
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
    """The processes of an instance as they are while it lives, to find those that are left after its end."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._members = {(one.pid, one.began) for one in descendants(instance.pid)}
        self._folder = Path(f"/proc/{instance.pid}/cwd").readlink()

    def ends(self, status: int) -> None:
        """Wait for the end of the instance; check its status, and that no process of it is left, wherever it belongs now."""
        assert self._instance.wait() == status, self._instance.said
        self.assert_gone()

    def assert_gone(self) -> None:
        """Check that no process is left: of those that were there, or of others whose working directory is the same."""

        def look() -> None:
            assert [one for one in processes() if self._is_ours(one)] == []

        until(look, AssertionError)

    def _is_ours(self, one: Process) -> bool:
        if (one.pid, one.began) in self._members:
            return True
        try:
            return Path(f"/proc/{one.pid}/cwd").readlink() == self._folder
        except OSError:  # gone by now, or another parent's zombie
            return False


def stop(instance: Instance, *numbers: signal.Signals, status: int = 0) -> None:
    """End the instance by these signals, SIGTERM if none is given; check its status, and that no process is left."""
    family = Family(instance)
    for number in numbers or (signal.SIGTERM,):
        instance.send(number)
    family.ends(status)


def reported(instance: Instance) -> list[str]:
    """The identifiers of the reported failures, also where the line of one begins behind text of another process."""
    names: list[str] = re.findall(r"arun: ([a-z-]+): ", instance.said)
    return [name for name in names if name not in {"hint", "warning"}]
