"""Forking of workers: by the supervisor, or with preload by a process that has loaded the app already.

A worker ends with its supervisor: by the kernel on Linux, elsewhere by the end of its connection (channel.py).
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
    "end_with_parent",
    "flush_files",
    "fork",
    "fork_for",
    "load_prctl",
    "order_worker",
    "worker_orders",
)

#: Seconds between two looks at the pid of the parent.
_TURN = 0.0005
#: The signals that a worker acts on.
_WORKERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)
#: From linux/prctl.h.
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36


def fork(run: Callable[[socket.socket], NoReturn], inherited: Iterable[Any]) -> tuple[int, socket.socket]:
    """Fork a process that runs ``run`` with its end of a socket pair; return its pid and the other end.

    ``inherited`` is what only the supervisor uses (anything with ``close``): the child closes it. The caller has no thread
    beside the main one.

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
    """Fork a worker that becomes a child of the supervisor; called in the process that has loaded the app.

    ``theirs`` is the worker's end of its connection, ``loader`` that of this process, which the worker closes.
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
        # No event reports the new parent, as a process closes its descriptors before its children go.
        while os.getppid() == between:
            time.sleep(_TURN)
        _be_worker(run, theirs, supervisor, ())
    finally:
        exits.leave_at_once(1)


def flush_files() -> None:
    """Flush every file of this process, the app's too: each fork would write what is buffered."""
    import gc
    import io

    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    for one in gc.get_objects():
        if issubclass(type(one), kinds):  # isinstance calls the object, and may load a lazy one
            with contextlib.suppress(Exception):  # closed, detached, full
                one.flush()


def _flush() -> None:
    """Flush the buffers of Python and C: parent and child would both write them."""
    exits.flush()
    if _libc is not None:
        _libc.fflush(None)


def _hold_signals() -> set[int]:
    """Block the signals that a worker acts on, until it has handlers of its own; return the mask before.

    StopSignals.install unblocks them.
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
        if os.getppid() == parent:  # else it died before prctl
            run(theirs)
    finally:
        # A stop signal may come at the very end. Below are frames of the supervisor, which would end its workers.
        exits.leave_at_once(1)


def end_with_parent(number: int) -> None:
    """Get this signal when the parent of this process ends; a change of user forgets it (PR_SET_PDEATHSIG). Linux only."""
    load_prctl()
    _prctl(_SET_PDEATHSIG, number)


def adopt_orphans() -> bool:
    """Become the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER); return False where the system cannot."""
    global _adopts  # noqa: PLW0603 - of this process
    load_prctl()
    _adopts = _prctl(_SET_CHILD_SUBREAPER, 1)
    return _adopts


def adopts_orphans() -> bool:
    """Return whether ``adopt_orphans`` has succeeded."""
    return _adopts


def order_worker(loader: socket.socket, number: int, began: float) -> socket.socket:
    """Order a worker from the process that has loaded the app; return our end of that worker's connection.

    Where that process has ended, the connection has ended as well, as for an order that it did not come to read.

    Raises:
        OSError: it reads its orders too slowly, or no descriptor is left.
    """
    ours, theirs = socket.socketpair()
    try:
        socket.send_fds(loader, [f"{number} {began}\n".encode()], [theirs.fileno()])
    except ConnectionError:
        pass
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return ours


def worker_orders(connection: socket.socket) -> Iterator[tuple[int, float, socket.socket]]:
    """Yield slot, beginning and connection of each worker that is ordered, until the supervisor is gone."""
    connection.settimeout(None)  # reports have a time limit, an order may come late
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
    """Load the C library before the first fork, which each worker would pay for, and before a drop of privileges hides it."""
    global _libc  # noqa: PLW0603 - one C library
    if _libc is None and sys.platform == "linux":
        try:
            import ctypes

            _libc = ctypes.CDLL(None)
        except (ImportError, OSError):
            return  # workers learn then from their connection that the supervisor has gone


def _prctl(option: int, value: int) -> bool:
    return _libc is not None and _libc.prctl(option, value, 0, 0, 0) == 0
