"""The files of unix sockets: made with their owner and mode, known again, and removed by their maker only."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from arun.core.failures import ADDRESS_IN_USE, StartupFailure
from arun.system import links, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.core.addresses import Unix
    from arun.system.links import Place

__all__ = ("FileId", "bind", "give", "identify", "look", "remove", "remove_stale")

#: Device and inode.
FileId = tuple[int, int]
#: The umask for binding a socket that gets a mode of its own: no other user connects before it has it.
_PRIVATE = 0o177


def bind(opened: socket.socket, path: str, *, private: bool) -> None:
    """Bind a socket; with ``private`` its file is the owner's alone until it is given away.

    Raises:
        OSError: from bind(2).
    """
    umask = os.umask(_PRIVATE) if private else None
    try:
        opened.bind(path)
    finally:
        if umask is not None:
            os.umask(umask)


def identify(path: str) -> FileId | None:
    """Return the identity of a socket file; None where there is none."""
    with contextlib.suppress(OSError, ValueError), links.place_of(path) as place:
        return _file_of(place)
    return None


def _file_of(place: Place) -> FileId | None:
    status = place.lstat()
    return (status.st_dev, status.st_ino) if stat.S_ISSOCK(status.st_mode) else None


def remove(path: str, file: FileId) -> None:
    """Remove a socket's file if it is still this one; log it where that is refused."""
    try:
        with links.place_of(path) as place:
            if _file_of(place) == file:
                place.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        reason = f"uid {os.geteuid()} cannot remove it: {error.strerror or error}"
        logs.warning(f"the socket file {path} stays: {reason}")


def give(path: str, owner: tuple[int, int] | None, mode: int | None) -> FileId | None:
    """Give a file that was just bound its owner, then its mode: this very file, whatever may have come in its place.

    Raises:
        OSError: this user may not, or it is not there any more.
    """
    with links.place_of(path) as place:
        if not hasattr(os, "O_PATH"):  # macOS
            if owner is not None:
                os.chown(place.name, *owner, follow_symlinks=False)
            if mode is not None:
                os.chmod(place.name, mode, follow_symlinks=False)
            return _file_of(place)
        held = os.open(place.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=place.folder)
        try:
            status = os.fstat(held)
            if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
                raise OSError(errno.EEXIST, "something else has come in its place")
            if owner is not None:
                os.chown(f"/proc/self/fd/{held}", *owner)
            if mode is not None:
                os.chmod(f"/proc/self/fd/{held}", mode)
        finally:
            os.close(held)
        return status.st_dev, status.st_ino


def look(address: Unix, origin: str) -> None:
    """Look whether a socket could be bound there; nothing is made or removed.

    Raises:
        StartupFailure(ADDRESS_IN_USE): something else is there.
        OSError: as bind(2) would.
    """
    remove_stale(address, origin, removes=False)
    folder = os.path.dirname(address.path)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe,
        contextlib.suppress(ConnectionError, BlockingIOError),
    ):
        probe.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            probe.connect(address.path)  # refuses a path that is too long
    os.stat(folder)
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def remove_stale(address: Unix, origin: str, *, removes: bool = True) -> None:
    """Remove the socket file of a process that is gone; links are not followed, and other files not touched.

    Without ``removes`` it is only looked at.

    Raises:
        StartupFailure(ADDRESS_IN_USE): something else is there.
        OSError: a process listens there, or a link of another user leads there (ELOOP).
    """
    try:
        with links.place_of(address.path) as place:
            found = _file_of(place)
            if found is None:
                raise StartupFailure(
                    ADDRESS_IN_USE,
                    f"cannot listen on {address}: a file that is no socket is there",
                    origin=origin,
                    hint="remove the file or choose another path",
                )
            if _is_refused(address.path):
                if removes and _file_of(place) == found:
                    place.unlink()
                return
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
        return  # there is none, or bind() raises what is wrong
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _is_refused(path: str) -> bool:
    """Return whether no process listens on a unix socket; with a full backlog or without permission one does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
