"""Whether the instance that a command line describes runs already: then its addresses are its own, and not busy."""

from __future__ import annotations

import os

from arun.core.values import Value
from arun.listen import holders
from arun.system import pidfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arun.core.listen_spec import ListenSpec
    from arun.instance.configuration import Configuration

__all__ = ("Running",)


class Running(Value):
    """The process of the instance, 0 for none, and the addresses where it listens."""

    pid: int = 0
    where: str = ""

    @classmethod
    def beside(
        cls,
        configuration: Configuration,
        arguments: Sequence[str],
        fallbacks: Sequence[str],
        wanted: Sequence[ListenSpec],
    ) -> Running:
        """Return the instance that listens on one of the wanted addresses and is the same one.

        It is where its pid file says so, or where it was started in this folder with these arguments; a fallback of it has
        become one of the ``fallbacks``.
        """
        named = configuration.settings.pidfile
        written = pidfile.holder(os.path.join(configuration.directory, named)) if named else 0
        for spec in wanted:
            pid = holders.process_at(spec.address)
            while pid:
                if pid == written or _is_same(pid, configuration.directory, arguments, fallbacks):
                    return cls(pid, ", ".join(str(one.address) for one in wanted))
                pid = _parent(pid)
        return cls()


def _is_same(pid: int, directory: str, arguments: Sequence[str], fallbacks: Sequence[str]) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            content = file.read().split(b"\0")[:-1]
        there = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False
    words = list(map(os.fsdecode, content))
    if not pidfile.names_arun(content):
        return False
    its_own = (
        sorted(words[-len(arguments) :]) == sorted(arguments) if arguments else os.path.basename(words[-1]) == "arun"
    )
    return (its_own and there == directory) or words[-1] in fallbacks


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            parent = int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return parent if parent > 1 else 0
