"""Python's modules as arun found them, for an app may replace what stands in them.

gevent and eventlet exchange locks, threads and waiting for their own, and take ``select.poll`` away; guards wrap the
calls that block; some apps just break things. Imported before any code of an app runs: what runs beside an app's code takes
its locks, threads and system calls from here, and a failed start restores the modules before it reports its failure.
"""

from __future__ import annotations

import _thread
import builtins
import os
import select
import selectors
import signal
import socket
import sys
import time
from _thread import allocate_lock, get_ident, start_new_thread
from os import write
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll
from time import monotonic, perf_counter, process_time, sleep

__all__ = (
    "POLLERR",
    "POLLHUP",
    "POLLIN",
    "POLLNVAL",
    "POLLOUT",
    "allocate_lock",
    "get_ident",
    "monotonic",
    "perf_counter",
    "poll",
    "process_time",
    "restore",
    "settle_threads",
    "sleep",
    "start_new_thread",
    "threads_are_exchanged",
    "write",
)

#: What arun uses on its way out, or beneath an app; and what each of them held.
_MODULES = (builtins, os, select, selectors, signal, socket, time, _thread)
_kept = [(vars(module), dict(vars(module))) for module in _MODULES]
_kept_threads = dict(vars(_thread))
_exchanged = False
_finders, _hooks, _path = sys.meta_path[:], sys.path_hooks[:], sys.path[:]


def restore() -> None:
    """Put back what an app has replaced or removed in these modules, its import hooks and what it made of sys.path."""
    for names, kept in _kept:
        names.update(kept)
    sys.meta_path, sys.path_hooks, sys.path = _finders[:], _hooks[:], _path[:]


def settle_threads() -> None:
    """Note whether what Python calls a thread or a lock is the app's own now, and give the import system its own back.

    The locks of gevent deadlock where threads of the system import the same module at the same time. ``threading`` and
    what else an app calls stays as the app wants it.
    """
    global _exchanged  # noqa: PLW0603 - one interpreter
    if _thread.start_new_thread is not start_new_thread or _thread.allocate_lock is not allocate_lock:
        _exchanged = True
        vars(_thread).update(_kept_threads)


def threads_are_exchanged() -> bool:
    """Return whether ``settle_threads`` has found that a thread of Python is none of the system."""
    return _exchanged
