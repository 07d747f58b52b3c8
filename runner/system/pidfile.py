"""The pid file: written when nobody else holds it, removed when it is ours."""

from __future__ import annotations

import os

from runner.failures import FileUnusable

__all__ = ("remove", "write")


def write(path: str, *, origin: str) -> None:
    """Write our pid, replacing a file whose process is gone.

    Raises:
        FileUnusable: the process that the file names lives, or the file cannot be written.
    """
    try:
        holder = _holder(path)
        if holder and holder != os.getpid() and _lives(holder):
            raise FileUnusable(f"cannot write the pid file {path}: process {holder} lives", origin=origin)
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        raise FileUnusable(f"cannot write the pid file {path}: {error.strerror or error}", origin=origin) from error


def _holder(path: str) -> int:
    """Return the pid in a file, 0 where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(32).strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isascii() and text.isdigit() else 0


def remove(path: str) -> None:
    """Remove the pid file if it is ours."""
    try:
        if _holder(path) == os.getpid():
            os.unlink(path)
    except OSError:
        return


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return pid > 0
