"""What an app finds around it: directory, umask, environment, import path. All changes raise where they fail."""

from __future__ import annotations

import os
import sys
import time

from runner.failures import DirectoryUnusable
from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ("Surroundings", "change_environment", "enter", "extend_import_path", "working_directory")


class Surroundings(Value):
    """Directory, umask, environment and import path of a process at one time."""

    directory: str
    umask: int
    environ: Mapping[str, str]
    path: tuple[str, ...]

    @classmethod
    def current(cls) -> Surroundings:
        """Return those of now."""
        umask = os.umask(0o022)  # to ask for it is to set it
        os.umask(umask)
        return cls(working_directory(), umask, dict(os.environ), tuple(sys.path))

    def restore(self, *, where_possible: bool = False) -> None:
        """Make them what they were, the directory only where that is possible, if so asked.

        Raises:
            DirectoryUnusable: the directory is not there any more, or closed to the user that this process has become.
        """
        os.umask(self.umask)
        zone = os.environ.get("TZ")
        os.environ.clear()
        os.environ.update(self.environ)
        _take_zone(zone)
        sys.path[:] = self.path
        if working_directory() != self.directory:  # which may be closed to a user who is in it
            try:
                enter(self.directory, origin="chdir")
            except DirectoryUnusable:
                if not where_possible:
                    raise


def working_directory() -> str:
    """Return the working directory; a deleted one has no path, and relative names lead nowhere from it."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def enter(directory: str, *, origin: str) -> None:
    """Change the working directory.

    Raises:
        DirectoryUnusable: it is not there, no directory, or closed to this user.
    """
    try:
        os.chdir(directory)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DirectoryUnusable(f"cannot enter {directory}: {reason}", origin=origin) from error


def change_environment(values: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
    """Set environment variables; ``TZ`` takes effect at once, in the lines of the log too."""
    before = os.environ.get("TZ")
    os.environ.update(values)
    _take_zone(before)


def _take_zone(before: str | None) -> None:
    if os.environ.get("TZ") != before:
        time.tzset()


def extend_import_path(directories: Iterable[str]) -> None:
    """Put directories before the rest of sys.path, in their order, as PYTHONPATH does."""
    sys.path[:0] = [os.path.abspath(directory) for directory in directories]
