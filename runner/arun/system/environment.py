"""What an app finds around it: directory, umask, environment, import path. All changes raise where they fail."""

from __future__ import annotations

import contextlib
import os
import sys
import time

from arun.core.failures import DIRECTORY_UNUSABLE, StartupFailure
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = (
    "Surroundings",
    "called_directory",
    "called_path",
    "change_environment",
    "enter",
    "extend_import_path",
    "name_worker",
    "working_directory",
)


class Surroundings(Value):
    """Directory, umask, environment and import path of a process at one time."""

    directory: str
    umask: int
    environ: Mapping[str, str]
    path: tuple[str, ...]
    #: The directory as it is called, where that is not its real path: a link in it may lead elsewhere by now.
    called: str = ""

    @classmethod
    def current(cls) -> Surroundings:
        """Return those of now."""
        umask = os.umask(0o022)  # to ask for it is to set it
        os.umask(umask)
        return cls(working_directory(), umask, dict(os.environ), tuple(sys.path))

    def restore(self, *, where_possible: bool = False) -> None:
        """Make them what they were, the directory only where that is possible, if so asked.

        A directory that has a name of its own is looked for by that name: where a link in it leads elsewhere by now, it
        is another one, also in the import path.

        Raises:
            StartupFailure(DIRECTORY_UNUSABLE): the directory is not there any more, or closed to the user that this process has become.
        """
        os.umask(self.umask)
        zone = os.environ.get("TZ")
        os.environ.clear()
        os.environ.update(self.environ)
        _take_zone(zone)
        sys.path[:] = self.path
        if self.called:
            with contextlib.suppress(StartupFailure):
                enter(self.called, origin="chdir")
                here = working_directory()
                sys.path[:] = [here if entry == self.directory else entry for entry in self.path]
                return
        if working_directory() != self.directory:  # which may be closed to a user inside it
            try:
                enter(self.directory, origin="chdir")
            except StartupFailure:
                if not where_possible:
                    raise


def working_directory() -> str:
    """Return the working directory; a deleted one has no path, and relative names lead nowhere from it."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def called_directory(environ: Mapping[str, str]) -> str:
    """Return the working directory as the caller of this process names it: PWD where it names it, else the real path.

    PWD keeps the links by which a shell came there (POSIX, "pwd -L": an absolute path without ``.`` and ``..``).
    """
    real, called = working_directory(), environ.get("PWD", "")
    if not called.startswith("/") or {".", ".."}.intersection(called.split("/")):
        return real
    try:
        return called if os.path.samefile(called, ".") else real
    except OSError:
        return real


def called_path(path: str, directory: str) -> str:
    """Return a relative path as an absolute one below a directory that has a name of its own, where it is the same file."""
    called = os.path.normpath(os.path.join(directory, path))
    try:
        return called if os.path.samefile(called, path) else os.path.abspath(path)
    except OSError:
        return os.path.abspath(path)


def enter(directory: str, *, origin: str) -> None:
    """Change the working directory.

    Raises:
        StartupFailure(DIRECTORY_UNUSABLE): it is not there, no directory, or closed to this user.
    """
    try:
        os.chdir(directory)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartupFailure(DIRECTORY_UNUSABLE, f"cannot enter {directory}: {reason}", origin=origin) from error


def change_environment(values: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
    """Set environment variables; ``TZ`` takes effect at once, in the lines of the log too."""
    before = os.environ.get("TZ")
    os.environ.update(values)
    _take_zone(before)


def _take_zone(before: str | None) -> None:
    if os.environ.get("TZ") != before:
        time.tzset()


def name_worker(index: int, generation: int) -> None:
    """Tell the app which of the workers it is in, from 0, and which generation of them: 1 at the start, more at each reload."""
    os.environ.update(ARUN_WORKER=str(index), ARUN_GENERATION=str(generation))


def extend_import_path(directories: Iterable[str]) -> None:
    """Put directories before the rest of sys.path, in their order, as PYTHONPATH does."""
    sys.path[:0] = [os.path.abspath(directory) for directory in directories]
