"""How a worker comes to be: forked by the supervisor, or with preload by a process that has loaded the app already.

A worker dies with its supervisor: the kernel sees to it on Linux, elsewhere the end of its line does (channel.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time

from arun.core import exits
from arun.supervisor.reports import PID, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, NoReturn

__all__ = (
    "adopt_orphans",
    "adopts_orphans",
    "flush_files",
    "fork",
    "fork_for",
    "load_prctl",
    "order_worker",
    "worker_orders",
)

#: Seconds between two looks at who the parent is.
_TURN = 0.0005
#: What a worker is told by signals.
_WORKERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)
#: From linux/prctl.h.
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36


def fork(run: Callable[[socket.socket], NoReturn], inherited: Iterable[Any]) -> tuple[int, socket.socket]:
    """Fork a process that runs ``run`` with its end of a line; return its pid and the other end.

    ``inherited`` is what the supervisor holds for itself (anything with ``close``): the child lets go of it. Whoever
    calls this has no thread beside the main one.

    Raises:
        OSError: the system has no process, memory or descriptor left.
    """
    load_prctl()
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    _flush()
    mask = _hold_signals()
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ours.close()
        theirs.close()
        raise
    if not pid:
        _be_worker(run, theirs, parent, [ours, *inherited])
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    ours.setblocking(False)
    return pid, ours


def fork_for(
    supervisor: int, run: Callable[[socket.socket], NoReturn], theirs: socket.socket, loader: socket.socket
) -> None:
    """Fork a worker in the name of the supervisor, whose child it becomes; called in the process that has loaded the app.

    ``theirs`` is the worker's end of its line, ``loader`` that of this process, which the worker lets go of.
    The process in between ends at once, so that the worker goes to the nearest process that adopts orphans.
    """
    _flush()
    mask = _hold_signals()
    try:
        between = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if between:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        os.waitpid(between, 0)
        return
    try:
        exits.begin_again()
        loader.close()
        between = os.getpid()
        pid = os.fork()
        if pid:
            theirs.sendall(line_of(PID, str(pid)))
            exits.leave_at_once(0)
        # Nothing tells of the change, as a process closes its descriptors before its children go.
        while os.getppid() == between:
            time.sleep(_TURN)
        _be_worker(run, theirs, supervisor, ())
    finally:
        exits.leave_at_once(1)


def flush_files() -> None:
    """Write what any file of this process has buffered: forks would all write it. Those that an app has opened are found too."""
    import gc
    import io

    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    for one in gc.get_objects():
        if issubclass(type(one), kinds):  # isinstance asks the object, and may wake a lazy one
            with contextlib.suppress(Exception):  # closed, detached, full
                one.flush()


def _flush() -> None:
    """Write what is buffered, here and in C: parent and child would both write it."""
    exits.flush()
    if _libc is not None:
        _libc.fflush(None)


def _hold_signals() -> set[int]:
    """Hold back the signals that a worker acts on, for it has its parent's handlers until it has its own; return the mask.

    Its own handlers let them through (StopSignals.install).
    """
    return signal.pthread_sigmask(signal.SIG_BLOCK, _WORKERS)


def _be_worker(
    run: Callable[[socket.socket], NoReturn], theirs: socket.socket, parent: int, let_go: Iterable[Any]
) -> NoReturn:
    try:
        exits.begin_again()
        for one in let_go:
            one.close()
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # else it died before the kernel was told
            run(theirs)
    finally:
        # A stop signal may strike when it is about to end. Below are the frames of who forked it: they would end its workers.
        exits.leave_at_once(1)


def adopt_orphans() -> bool:
    """Become the parent of what descendants leave behind; False where the system knows no such thing."""
    global _adopts  # noqa: PLW0603 - of this process
    load_prctl()
    _adopts = _prctl(_SET_CHILD_SUBREAPER, 1)
    return _adopts


def adopts_orphans() -> bool:
    """Tell whether ``adopt_orphans`` was called, with success."""
    return _adopts


def order_worker(loader: socket.socket, number: int, began: float) -> socket.socket:
    """Ask the process that has loaded the app for a worker; return our end of that worker's line.

    Raises:
        OSError: it is gone, or has more orders waiting than it reads.
    """
    ours, theirs = socket.socketpair()
    try:
        socket.send_fds(loader, [f"{number} {began}\n".encode()], [theirs.fileno()])
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return ours


def worker_orders(connection: socket.socket) -> Iterator[tuple[int, float, socket.socket]]:
    """Yield slot, beginning and line of each worker that is asked for, until the supervisor is gone."""
    connection.settimeout(None)  # what is reported has a time limit, an order may be long in coming
    while True:
        data, fds, _, _ = socket.recv_fds(connection, 4096, 64)
        if not data:
            return
        for order, fd in zip(data.splitlines(), fds, strict=True):
            number, began = order.split()
            yield int(number), float(began), socket.socket(fileno=fd)


_libc: Any = None
_adopts = False


def load_prctl() -> None:
    """Load it before the first fork, as each worker would pay for it, and before a drop of privileges may hide it."""
    global _libc  # noqa: PLW0603 - one C library
    if _libc is None and sys.platform == "linux":
        try:
            import ctypes

            _libc = ctypes.CDLL(None)
        except (ImportError, OSError):
            return  # workers hear then by their line that the supervisor has gone


def _prctl(option: int, value: int) -> bool:
    return _libc is not None and _libc.prctl(option, value, 0, 0, 0) == 0
