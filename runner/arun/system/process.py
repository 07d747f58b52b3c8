"""The process itself: its standard streams, its cores, its children, and what an exec must not inherit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from arun.system import logs
from arun.system.stop_signals import STOP_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = (
    "bind_to_cores",
    "children",
    "close_on_exec_except",
    "dump_when_dying",
    "end_children",
    "ignored_signals",
    "open_standard_streams",
    "reap",
    "reset_for_exec",
    "silence",
)


def open_standard_streams() -> None:
    """Put /dev/null on each of the descriptors 0 to 2 that is closed, before a socket gets its number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is fd
            os.set_inheritable(opened, True)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(fd, "r" if fd == 0 else "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - it lives as long as the process
            setattr(sys, name, stream)


def ignored_signals() -> frozenset[int]:
    """Return the signals that are ignored now: SIGHUP ignored by a parent (nohup) stays so."""
    return frozenset(n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN)


def silence() -> None:
    """Stop the timers and signal handlers of the app: nothing of it may interrupt the way out.

    Without effect on handlers in another thread than the main one; there they do not run.
    """
    while True:
        try:
            _silence()
        except Exception:  # noqa: BLE001, S112 - a handler of the app has run once more
            continue
        return


def _silence() -> None:
    _stop_timers()
    for number in signal.valid_signals().difference((*STOP_SIGNALS, signal.SIGHUP)):
        if callable(signal.getsignal(number)):
            with contextlib.suppress(ValueError):
                signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)


def _stop_timers() -> None:
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)


def reset_for_exec(*, keep_ignored: frozenset[int]) -> None:
    """Undo what an exec would inherit: ignored signals become as at the start, timers and affinity are reset."""
    if _cores:
        os.sched_setaffinity(0, _cores)
    for number in signal.valid_signals():
        if number in {signal.SIGKILL, signal.SIGSTOP}:
            continue
        ignored = signal.getsignal(number) == signal.SIG_IGN
        if ignored != (number in keep_ignored.difference(STOP_SIGNALS)):
            try:
                signal.signal(number, signal.SIG_DFL if ignored else signal.SIG_IGN)
            except ValueError:  # in another thread than the main one, which then is stuck: handlers end at the exec
                break
    _stop_timers()


def close_on_exec_except(kept: Iterable[int]) -> None:
    """Let exactly the standard streams and ``kept`` through the next exec; nothing is closed before it."""
    kept = {0, 1, 2, *kept}
    for fd in _open_descriptors():
        try:
            os.set_inheritable(fd, fd in kept)
        except OSError:
            continue  # closed since it was listed


def dump_when_dying() -> None:
    """Write the traceback of every thread when a fatal signal comes, also SIGABRT from the supervisor."""
    import faulthandler

    try:
        faulthandler.enable()
    except (OSError, RuntimeError, ValueError):
        return  # no standard error to write to


#: The cores that this process could use before it was bound to some of them; empty while it is not.
_cores: set[int] = set()


def bind_to_cores(number: int, cores: int) -> None:
    """Let this process, the ``number``-th of several, run on so many of the cores that it may use, in turn; 0 for all."""
    if not cores:
        return
    try:
        _cores.update(os.sched_getaffinity(0))
        usable = sorted(_cores)
        first = number * cores % len(usable)
        os.sched_setaffinity(0, {(usable * 2)[first + offset] for offset in range(min(cores, len(usable)))})
    except (AttributeError, OSError):  # macOS
        logs.warning("cpu-affinity: this system does not bind processes to cores")


def children() -> set[int]:
    """Return the pids of this process's children, zombies included; empty where the system does not show them."""
    found: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as listed:
                found.update(int(pid) for pid in listed.read().split())
    except OSError:  # macOS, or a kernel without CONFIG_PROC_CHILDREN
        return found
    return found


def end_children(*, spared: frozenset[int] = frozenset(), patience: float = 1.0) -> None:
    """End and reap all children but the spared: SIGTERM, then SIGKILL after ``patience`` seconds."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, patience)):
        remaining = children() - spared
        if not remaining:
            return
        for pid in remaining:
            try:
                os.kill(pid, number)
            except OSError:
                continue
        _reap_until_gone(remaining, seconds)


def reap(pids: Iterable[int]) -> set[int]:
    """Collect those of the children that have ended and return the others."""
    living = set()
    for pid in pids:
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue
        if not ended:
            living.add(pid)
    return living


def _reap_until_gone(pids: Iterable[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    remaining = reap(pids)
    while remaining and time.monotonic() < deadline:
        time.sleep(0.002)
        remaining = reap(remaining)


def _open_descriptors() -> list[int]:
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return [int(name) for name in os.listdir(directory)]
        except OSError:
            continue
    return list(range(3, min(os.sysconf("SC_OPEN_MAX"), 65_536)))
