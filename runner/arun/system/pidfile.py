"""The pid file: written when no other arun holds it, anew and by a rename, and removed when it is still ours."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from arun.core.failures import FILE_UNUSABLE, StartupFailure
from arun.system import links, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.system.links import Place

__all__ = ("holder", "look", "names_arun", "remove", "write")

#: The rights of a new file, less the umask: what watches the instance reads it, only arun writes it.
_MODE = 0o644
#: Bytes of a pid file that are read.
_LONGEST = 32
#: Seconds that the clocks of a file and of a process may differ.
_CLOCKS = 1.0


def write(path: str, *, origin: str) -> None:
    """Write our pid; a reader finds the old file or the new one, whole.

    A file that names a process which is gone, or has become something else, is replaced.

    Raises:
        StartupFailure(FILE_UNUSABLE): another arun that lives has written it, or it cannot be written.
    """
    try:
        with links.place_of(path) as place:
            _refuse_other(place, path, origin, {os.getpid()})
            _put(place, f"{os.getpid()}\n".encode())
    except OSError as error:
        raise _unwritable(path, error, origin) from error


def look(path: str, own: int, *, origin: str) -> None:
    """Look whether ``write`` would succeed; the pid ``own`` may stand there already. Nothing is written.

    Raises:
        StartupFailure(FILE_UNUSABLE): as in ``write``.
    """
    try:
        with links.place_of(path) as place:
            _refuse_other(place, path, origin, {own, os.getpid()})
        there = path if os.path.exists(path) else os.path.dirname(path)
        if not any(os.access(one, os.W_OK) for one in (there, os.path.dirname(path))):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(path, error, origin) from error


def holder(path: str) -> int:
    """Return the pid of the arun that has written the file and lives; 0 for none."""
    try:
        with links.place_of(path) as place:
            pid, written = _content(place)
    except OSError:
        return 0
    return pid if pid and _is_arun(pid, written) else 0


def _refuse_other(place: Place, path: str, origin: str, own: set[int]) -> None:
    """Refuse a file that another arun which lives has written."""
    holder, written = _content(place)
    if holder not in own and _is_arun(holder, written):
        raise StartupFailure(
            FILE_UNUSABLE,
            f"cannot write the pid file {path}: arun (pid: {holder}) lives, and has written it",
            origin=origin,
            hint="stop that instance, or name another file",
        )


def _unwritable(path: str, error: OSError, origin: str) -> StartupFailure:
    return StartupFailure(FILE_UNUSABLE, f"cannot write the pid file {path}: {error.strerror or error}", origin=origin)


def remove(path: str) -> None:
    """Remove the pid file if it is ours; log it where that is refused."""
    try:
        with links.place_of(path) as place:
            if _content(place)[0] == os.getpid():
                place.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        logs.warning(f"the pid file {path} stays: uid {os.geteuid()} cannot remove it: {error.strerror or error}")


def _put(place: Place, content: bytes) -> None:
    """Write a new file and give it the name; a device, or a file whose folder is closed to us, is written as it stands."""
    try:
        is_replaced = stat.S_ISREG(place.lstat().st_mode)
    except FileNotFoundError:
        is_replaced = True
    if is_replaced and _replace(place, content):
        return
    fd = place.open(os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_TRUNC)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def _replace(place: Place, content: bytes) -> bool:
    """Write a new file and rename it; return False where none may be made in the folder."""
    folder, name = os.path.split(place.name)
    fresh = os.path.join(folder, f".{name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with contextlib.suppress(FileNotFoundError):  # left by a start of this pid that was killed
            os.unlink(fresh, dir_fd=place.folder)
        fd = os.open(fresh, flags, _MODE, dir_fd=place.folder)
    except PermissionError:
        return False
    try:
        os.write(fd, content)
        os.replace(fresh, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except OSError:
        os.unlink(fresh, dir_fd=place.folder)
        raise
    finally:
        os.close(fd)
    return True


def _content(place: Place) -> tuple[int, float]:
    """Return the pid in a file and when it was written, in seconds of the epoch; 0 where there is none."""
    try:
        fd = place.open(os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return 0, 0.0
    try:
        status = os.fstat(fd)
        text = os.read(fd, _LONGEST).strip() if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(fd)
    return (int(text), status.st_mtime) if text.isdigit() else (0, 0.0)


def _is_arun(pid: int, written: float) -> bool:
    """Return whether a process is an arun that lived when the file was written: pids are used again, after a reboot the same ones.

    False where the system does not show it (macOS).
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/stat", "rb") as file:
            booted = next(float(line.split()[1]) for line in file if line.startswith(b"btime "))
    except (OSError, StopIteration, ValueError):
        return False
    if fields[0] == b"Z" or not names_arun(arguments):
        return False
    return booted + int(fields[19]) / os.sysconf("SC_CLK_TCK") <= written + _CLOCKS


def names_arun(arguments: list[bytes]) -> bool:
    """Return whether a command line starts arun, as its script or as a module."""
    return any(os.path.basename(one) == b"arun" for one in arguments) or b"arun.__main__" in arguments
