"""How this process was started: its interpreter, command line, directory and surroundings."""

from __future__ import annotations

import gc
import os
import sys

from arun.core.values import Value
from arun.system import environment, process
from arun.system.environment import Surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Launch",)


class Launch(Value):
    """How this process was started, so that it can be started again: recorded before anything can change it.

    ``command`` is the interpreter with its own flags, and arun in the form in which it was started; ``argv`` is what
    ``sys.argv`` was. ``ignored`` are the signals that the process ignored, ``children`` the processes that it had.
    ``gc_threshold`` are the thresholds of the garbage collector.
    """

    command: tuple[str, ...]
    argv: tuple[str, ...]
    #: The starting directory bears the name by which it was called, where links in it may lead elsewhere later.
    surroundings: Surroundings
    ignored: frozenset[int]
    children: frozenset[int]
    gc_threshold: tuple[int, int, int]

    @classmethod
    def current(cls, gc_threshold: tuple[int, int, int] | None = None) -> Launch:
        """Record how this process was started; ``gc_threshold`` where it was changed since."""
        own = len(sys.argv) - 1
        command = list(sys.orig_argv[: len(sys.orig_argv) - own])
        around = Surroundings.current()
        called = environment.called_directory(around.environ)
        command[0] = _interpreter(command[0], called)
        if not _started_by_name():
            command[-1] = environment.called_path(command[-1], called)
        return cls(
            tuple(command),
            tuple(sys.argv),
            around._replace(called="" if called == around.directory else called),
            process.ignored_signals(),
            frozenset(process.children()),
            gc_threshold or gc.get_threshold(),
        )

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands on the command line behind the program."""
        return self.argv[1:]

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables of the start."""
        return self.surroundings.environ

    @property
    def directory(self) -> str:
        """The real path of the starting directory."""
        return self.surroundings.directory

    @property
    def called(self) -> str:
        """The starting directory as it was called: a reload, an upgrade and the way back follow links in it anew."""
        return self.surroundings.called or self.directory

    @property
    def program(self) -> str:
        """The program as a user knows it."""
        return self.command[-1] if "-m" not in self.command[-2:] else " ".join(self.command[-2:])


def _interpreter(word: str, directory: str) -> str:
    """Return the interpreter that runs, by the name that it was called by if that is a path from where it was started."""
    real = sys.executable or "/proc/self/exe"
    if "/" not in word or os.path.isabs(word):
        return real
    called = environment.called_path(word, directory)
    try:
        return called if os.path.samefile(called, real) else real
    except OSError:
        return real


def _started_by_name() -> bool:
    """Return whether the last word of the command is a module (``-m arun``, ``-marun``, ``-Im arun``) or code (-c), not a file."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return sys.argv[0] == "-c" or (spec is not None and "." in spec.name)  # a zip file's is called __main__
