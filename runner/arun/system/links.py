"""Paths as root walks them: a link that another user may have made is not followed, wherever it stands in the path.

A user who may write to a folder can put a link where root is about to write a file, and so choose what root overwrites.
Links that root has made, or that stand where only root may write (``/var/run``), are followed as ever. Each part is opened
from the one before, so that nothing can be exchanged in between. Other users see no difference: they can be led to nothing
that is not theirs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Place", "open_file", "place_of")

#: Links in one path, as in the kernel's MAXSYMLINKS.
_MOST_LINKS = 40
#: Write permission of the group and of all others.
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Place(Value):
    """A name in a folder that is held open; for other users than root the path itself, and no folder."""

    folder: int | None
    name: str
    #: For ``os.open``: not to follow what has become a link since.
    flags: int = 0

    def lstat(self) -> os.stat_result:
        """Return the status of what is there, a link itself included."""
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    def open(self, flags: int, mode: int = 0o666) -> int:
        """Open what is there."""
        return os.open(self.name, flags | self.flags, mode, dir_fd=self.folder)

    def unlink(self) -> None:
        """Remove the name."""
        os.unlink(self.name, dir_fd=self.folder)


def open_file(path: str, flags: int, mode: int) -> int:
    """Open a file as ``os.open`` does.

    Raises:
        OSError: also ELOOP, for a link that is not to be followed, or a file with a second name that another user gave it.
    """
    with place_of(path) as place:
        fd = place.open(flags, mode)
        if place.folder is not None and place.flags:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and _is_open(os.fstat(place.folder)):
                os.close(fd)
                raise OSError(errno.ELOOP, "it has a second name, and others may write to its folder", path)
        return fd


@contextlib.contextmanager
def place_of(path: str) -> Iterator[Place]:
    """Give the place that a path leads to; its folder is held open meanwhile.

    Raises:
        OSError: a part is missing, or is a link that is not to be followed (ELOOP).
    """
    if os.geteuid() != 0 or not hasattr(os, "O_PATH"):  # macOS has none
        yield Place(None, path)
        return
    place = _walked(path)
    try:
        yield place
    finally:
        if place.folder is not None:
            os.close(place.folder)


def _walked(path: str) -> Place:
    folder = os.open("/" if path.startswith("/") else ".", os.O_PATH | os.O_DIRECTORY)
    try:
        rest, links = _parts(path), 0
        while rest:
            name = rest.pop(0)
            if os.fstat(folder).st_dev == _proc():  # whose links lead where no text could, and are the kernel's own
                if not rest:
                    return Place(folder, name)
                folder = _entered(folder, name, 0)
                continue
            target = _link(folder, name, path)
            if target is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)  # noqa: TRY301 - the folder is let go of
                rest = _parts(target) + rest
                if target.startswith("/"):
                    folder = _entered(folder, "/", 0)
            elif not rest:
                return Place(folder, name, os.O_NOFOLLOW)
            else:
                folder = _entered(folder, name, os.O_NOFOLLOW)
        return Place(folder, ".", os.O_NOFOLLOW)
    except BaseException:
        os.close(folder)
        raise


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _entered(folder: int, name: str, flags: int) -> int:
    """Go on to another folder: open it, and close the one before."""
    entered = os.open(name, os.O_PATH | os.O_DIRECTORY | flags, dir_fd=folder)
    os.close(folder)
    return entered


def _link(folder: int, name: str, path: str) -> str | None:
    """Return where a link leads; None for what is none, or is not there."""
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(found)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if status.st_uid != 0 and _is_open(os.fstat(folder)):
            raise OSError(errno.ELOOP, f"{name} is a link, in a folder that others may write to", path)
        return os.readlink("", dir_fd=found)
    finally:
        os.close(found)


def _is_open(folder: os.stat_result) -> bool:
    """Return whether other users than root may write to a folder."""
    return folder.st_uid != 0 or bool(folder.st_mode & _OTHERS_WRITE)


def _proc() -> int:
    try:
        return os.stat("/proc").st_dev
    except OSError:
        return -1
