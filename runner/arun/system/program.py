"""How this process was started: its interpreter, command line, directory and surroundings."""

from __future__ import annotations

import os
import sys

from arun.core.values import Value
from arun.system import environment, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Program",)


class Program(Value):
    """How this process was started, so that it can be started again: recorded before anything can change it."""

    arguments: tuple[str, ...]
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: str
    ignored: frozenset[int]
    children: frozenset[int]
    umask: int
    #: The starting directory as it was called: links in it are followed anew by a reload, an upgrade and the way back.
    called: str

    @classmethod
    def current(cls) -> Program:
        """Record the interpreter with its own flags, and arun in the form in which it was started."""
        own = len(sys.argv) - 1
        prefix = list(sys.orig_argv[: len(sys.orig_argv) - own])
        around = environment.Surroundings.current()
        called = environment.called_directory(around.environ)
        prefix[0] = _interpreter(prefix[0], called)
        if not _started_by_name():
            prefix[-1] = environment.called_path(prefix[-1], called)
        return cls(
            tuple(prefix),
            tuple(sys.argv),
            around.environ,
            around.directory,
            process.ignored_signals(),
            frozenset(process.children()),
            around.umask,
            called,
        )

    @property
    def name(self) -> str:
        """The program as a user knows it."""
        return self.arguments[-1] if "-m" not in self.arguments[-2:] else " ".join(self.arguments[-2:])


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
    """Whether arun's last word is a module (``-m arun``, ``-marun``, ``-Im arun``) or code (-c), not a file."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return sys.argv[0] == "-c" or (spec is not None and "." in spec.name)  # a zip file's is called __main__
