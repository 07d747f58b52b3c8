"""What an app finds around it: directory, umask, environment, import path. All changes raise where they fail."""

from __future__ import annotations

import os
import sys

from runner.failures import DirectoryUnusable, FileUnusable
from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Characters of an env file that are read.
_LARGEST = 1_048_576

__all__ = ("Surroundings", "enter", "extend_import_path", "read_env_file", "working_directory")


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
        os.environ.clear()
        os.environ.update(self.environ)
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


def read_env_file(path: str, *, origin: str) -> dict[str, str]:
    """Read ``NAME=value`` lines; blank lines, comments, ``export`` and quotes around a value are understood.

    Raises:
        FileUnusable: the file cannot be read, or a line is no assignment.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(_LARGEST).splitlines()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise FileUnusable(
            f"cannot read the env file {path}: {reason}",
            origin=origin,
            hint="check the name, and that the user who starts arun may read it",
        ) from error
    values = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").lstrip()
        if not text or text.startswith("#"):
            continue
        name, assigned, value = text.partition("=")
        name, value = name.strip(), value.strip()
        if not assigned or not name:
            raise FileUnusable(
                f"line {number} of the env file {path} is no assignment",  # its text may be a secret
                origin=origin,
                hint="write NAME=value",
            )
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if "\0" in value:
            raise FileUnusable(f"line {number} of the env file {path} holds a NUL", origin=origin)
        values[name] = value
    return values


def extend_import_path(directories: Iterable[str]) -> None:
    """Put directories before the rest of sys.path, in their order, as PYTHONPATH does."""
    sys.path[:0] = [os.path.abspath(directory) for directory in directories]
