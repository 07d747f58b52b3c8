"""The exit shim: the one way out of the process, and the only place that knows the last status.

``arm`` registers an atexit hook before anything else can, so that it runs last; ``leave`` remembers the status and the
failures, runs the hooks itself, within a bound, and never returns. The hook hands a failed start to the successor
that was armed (see runner/fallback.py) and ends the process where there is none. The interpreter's own finalization is
never reached: it would wait for every thread that a half-imported app left behind.

Nothing is imported here that an interpreter has not loaded anyway: it has to stand before anything can fail.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from runner.failures import StartupFailure

    Successor = Callable[[tuple[StartupFailure, ...]], int]

__all__ = (
    "Interruption",
    "arm",
    "begin_again",
    "continue_in_child",
    "end_if_forked",
    "in_forked_child",
    "leave",
    "leave_at_once",
    "release_descriptors",
    "reserve_descriptors",
    "start_thread",
    "status_of",
    "succeed_with",
)

#: Seconds that exit hooks and buffered output may hold back the end of a failed start.
HOOKS_BOUND = 2.0
#: Seconds that a clean stop waits for hooks and for threads that are not daemons.
CLEAN_BOUND = 5.0
#: Descriptors kept back for the way out: a pipe, the handover, and a file at a time to tell the failure.
_RESERVED = 5


class Interruption(KeyboardInterrupt):
    """arun interrupts its own start: a stop signal, or the deadline. Loops and ``except Exception`` let it through."""


class _Shim:
    """What the process remembers about its end."""

    __slots__ = ("closing", "failures", "going_back", "pid", "reserve", "status", "successor")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.successor: Successor | None = None
        self.status: int | None = None
        self.failures: tuple[StartupFailure, ...] = ()
        self.going_back = False
        self.closing = _thread.allocate_lock()
        self.reserve: list[int] = []


_shim: _Shim | None = None


def arm() -> None:
    """Register the exit hook; call it before any import that registers one."""
    global _shim  # noqa: PLW0603 - a process has one end
    _shim = _Shim()
    atexit.register(_finish)


def begin_again() -> None:
    """Give a forked process of arun's own an end of its own: it runs the hooks, and nothing follows it."""
    global _shim  # noqa: PLW0603 - a process has one end
    reserve = [] if _shim is None else _shim.reserve
    _shim = _Shim()
    _shim.reserve = reserve


def leave_at_once(status: int) -> NoReturn:
    """End a forked process of arun's own that has nothing to finish: no hooks, no output."""
    os._exit(status)


def succeed_with(successor: Successor) -> None:
    """Name what follows a failed start, or a fallback that goes back: called once all other hooks have run.

    It does not return when it could replace the process, and returns the status to end with when there is nothing to
    fall back to.
    """
    if _shim is not None:
        _shim.successor = successor


def reserve_descriptors() -> None:
    """Keep a few descriptors back for the way out, for an app may use up all others; call it when 0 to 2 are open."""
    try:
        while _shim is not None and len(_shim.reserve) < _RESERVED:
            _shim.reserve.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return  # so few are allowed that the start will say so itself


def release_descriptors() -> None:
    """Give them back: the start is over, or has failed and is about to be told."""
    if _shim is not None:
        held, _shim.reserve = _shim.reserve, []
        for fd in held:
            try:
                os.close(fd)
            except OSError:
                continue  # an app that closes what is not its own has been here


def continue_in_child() -> None:
    """Make this forked child the instance: its end is the one that counts from here on."""
    if _shim is not None:
        _shim.pid = os.getpid()


def in_forked_child() -> bool:
    """Tell whether this is a child that the app forked: it inherits the hooks and must not use them."""
    return _shim is not None and os.getpid() != _shim.pid


def end_if_forked(error: BaseException) -> None:
    """End the process where it is a child that a request has forked, and calls ``sys.exit``: it is no second server."""
    if isinstance(error, SystemExit) and in_forked_child():
        leave(status_of(error))


def status_of(error: BaseException) -> int:
    """The status that Python gives a process which ends with this exception."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


def leave(status: int, failures: tuple[StartupFailure, ...] = (), *, going_back: bool = False) -> NoReturn:
    """End the process with ``status``; never returns.

    With ``failures`` it becomes the fallback instead, if there is one, and with ``going_back`` what it first was.
    """
    if _shim is None or in_forked_child():
        _flush()
        os._exit(status)
    _shim.status, _shim.failures, _shim.going_back = status, failures, going_back
    bound = HOOKS_BOUND if failures else CLEAN_BOUND
    start_thread(_finish_after, bound)
    if not failures:
        _join_threads(bound)
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way to run the hooks before threads are joined
    _finish()  # an app may have cleared the hooks
    raise AssertionError("unreachable: the hook ends the process")


def start_thread(function: Callable[..., object], *arguments: object) -> None:
    """Start a thread of arun's own, deaf to signals: they are the main thread's, up to the last moment before an exec.

    It is nobody's to join and holds nothing back.
    """
    import signal

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _thread.start_new_thread(function, arguments)  # a thread inherits the mask of its maker
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _finish() -> None:
    """Become the successor or end. Registered first, so it runs after every other hook."""
    shim = _shim
    if shim is None or shim.status is None:
        return
    if os.getpid() != shim.pid:
        os._exit(shim.status)  # forked by another hook on the way out: it neither falls back nor goes on
    _flush()
    shim.closing.acquire()  # for good: of the main thread and the one that enforces the bound, one goes on
    if (shim.failures or shim.going_back) and shim.successor is not None:
        try:
            shim.status = shim.successor(shim.failures)
        except BaseException as error:  # noqa: BLE001 - the end of the process: there is nobody left to tell but stderr
            os.write(2, f"arun: internal-error: the way out failed: {error!r}\n".encode(errors="replace"))
    os._exit(shim.status)


def _finish_after(bound: float) -> None:
    """Finish from a thread when hooks, threads or a full pipe hold the main thread longer than ``bound`` seconds."""
    time.sleep(bound)
    shim = _shim
    if shim is not None and shim.closing.acquire(blocking=False):
        shim.closing.release()
        sys.stdout = sys.stderr = None  # a stuck flush is not tried again
        _finish()


def _join_threads(bound: float) -> None:
    """Wait for the app's threads as the interpreter would, but not for ever."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    deadline = time.monotonic() + bound
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001, S112 - closed, full, or anything at all that the app put in its place
            continue
