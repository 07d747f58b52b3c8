"""How many cores this process may use: those that it is bound to, and the share that its control groups are allowed."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("usable_cores",)

#: Fields of a line of mountinfo before its optional ones, see proc_pid_mountinfo(5).
_FIELDS = 6


def usable_cores(root: str = "/") -> int:
    """Return the cores that this process may use, at least one; a part of a core counts as a core.

    ``root`` is the folder in which ``proc`` and the mounts of cgroups are looked for (cgroups(7)).
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    for folder, top in _groups(root):
        while True:
            if (share := _share(folder)) is not None:
                cores = min(cores, share)
            if folder == top or len(folder) <= len(top):
                break
            folder = os.path.dirname(folder)  # noqa: PLW2901 - a group has no more than those above it
    return max(1, cores)


def _groups(root: str) -> Iterator[tuple[str, str]]:
    """Yield the folder of each group of this process that may limit its share of the processors, and the top of its tree."""
    paths: dict[str, str] = {}
    for line in _lines(root, "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = path
    for line in _lines(root, "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mounted, where = before.split(" ")[3:5]
        if kind not in paths or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        top = os.path.normpath(os.path.join(root, where.lstrip("/")))
        # A container may see its own group as the top, or by the path that it has on the host.
        below = os.path.relpath(paths[kind], mounted) if _is_below(paths[kind], mounted) else "."
        yield os.path.normpath(os.path.join(top, below)), top


def _is_below(path: str, top: str) -> bool:
    if ".." in path.split("/"):  # a group outside of what this process may see
        return False
    return top in {"/", path} or path.startswith(f"{top}/")


def _share(folder: str) -> int | None:
    """Return the cores that a group allows, rounded up; None where it sets no limit."""
    try:
        if v2 := _read(folder, "cpu.max"):
            quota, period = v2.split()
        else:
            quota, period = _read(folder, "cpu.cfs_quota_us"), _read(folder, "cpu.cfs_period_us")
        microseconds = int(quota)  # "max" and -1 stand for no limit
        return -(-microseconds // int(period)) if microseconds > 0 else None
    except (ValueError, ZeroDivisionError):
        return None


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _lines(root: str, name: str) -> list[str]:
    """Return the lines of a file as far as they have the form of such lines."""
    try:
        with open(os.path.join(root, name), encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    if name.endswith("cgroup"):
        return [line for line in lines if line.count(":") > 1]
    return [line for line in lines if len(line.partition(" - ")[0].split(" ")) >= _FIELDS and line.count(" - ") == 1]
