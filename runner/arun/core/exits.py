"""The exit shim: the one way out of the process, and the only place that knows the last status.

``arm`` registers an atexit hook before anything else can, so that it runs last; ``leave`` remembers the status,
and does within a bound what Python does at exit: it closes event loops, ends idle threads and pools, and runs the exit
hooks. The last hook calls what is to follow, which becomes the successor of a failed start, and ends the process where
nothing follows. The interpreter's own finalization, which would wait for every thread that a half-imported app left
behind, is reached only by a clean stop that nothing holds back: ``leave`` then raises SystemExit, so that a profiler or
a coverage tool which has called arun gets its turn.

Nothing is imported here that an interpreter has not loaded anyway: it has to stand before anything can fail. What it calls
is bound now: an app may replace ``os._exit`` and the like.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import allocate_lock, get_ident, start_new_thread
from atexit import _run_exitfuncs  # there is no public way to run the hooks before threads are joined
from os import _exit, getpid, write
from signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, valid_signals
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from _thread import LockType
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

__all__ = (
    "Interruption",
    "arm",
    "begin_again",
    "continue_in_child",
    "end_if_forked",
    "flush",
    "hurry",
    "in_forked_child",
    "interruption_in",
    "leave",
    "leave_at_once",
    "on_leaving",
    "release_descriptors",
    "reserve_descriptors",
    "start_thread",
    "status_of",
)

#: Seconds in which kept connections are closed after their next response, before a process that serves becomes another.
#: Closing an idle connection at once loses the request that is on its way.
PARTING = 0.5
#: Seconds that loops, threads, exit hooks and buffered output may hold back the end of a failed start or a forced stop.
HURRIED_BOUND = 2.0
#: Seconds that they may hold back a clean stop.
CLEAN_BOUND = 5.0
#: The part of a bound that each step gets: closing the event loops, and ending threads; exit hooks have the rest.
_LOOPS_PART, _HURRIED_THREADS_PART, _THREADS_PART = 0.25, 0.5, 0.8
#: Seconds between two looks at the clock while threads are waited for.
_LOOK = 0.05
#: Seconds that a child of multiprocessing gets to end by SIGTERM.
_CHILD_PATIENCE = 0.3
#: Descriptors reserved for the way out: a pipe, the handover, and one file at a time for the report of the failure.
_RESERVED = 5
#: Descriptors below which none is kept back.
_FEW = 32


class Interruption(KeyboardInterrupt):
    """arun interrupts its own start: a stop signal, or the deadline. Loops and ``except Exception`` let it through."""


class _Shim:
    """What the process remembers about its end."""

    __slots__ = (
        "bound",
        "closers",
        "closing",
        "ends",
        "guards",
        "has_caller",
        "has_returned",
        "is_hurried",
        "main_thread",
        "pid",
        "reserve",
        "status",
        "then",
    )

    def __init__(self, *, has_caller: bool) -> None:
        self.pid = getpid()
        self.main_thread = get_ident()
        #: Whether frames of another program are below, which may want to go on; a forked process has only ours there.
        self.has_caller = has_caller
        self.has_returned = False
        #: The stop is forced.
        self.is_hurried = False
        #: What closes the event loops, given the seconds that it may take.
        self.closers: list[Callable[[float], object]] = []
        #: Seconds that the end may take.
        self.bound = 0.0
        #: When threads are waited for no more, on the monotonic clock.
        self.ends = 0.0
        #: Each is locked while it enforces a bound on the end.
        self.guards: list[LockType] = []
        self.status: int | None = None
        #: Called when all other hooks have run; it becomes the successor, or returns the status to end with.
        self.then: Callable[[], int] | None = None
        self.closing = allocate_lock()
        self.reserve: list[int] = []


_shim: _Shim | None = None


def arm() -> None:
    """Register the exit hook; call it before any import that registers one."""
    global _shim  # noqa: PLW0603 - a process has one end
    _shim = _Shim(has_caller=_has_caller())
    atexit.register(_finish)


def _has_caller() -> bool:
    """Return whether a program has called arun that may want to go on: a profiler, a coverage tool, one of a user's.

    Not so the interpreter itself, by a console script or ``-m``: its own end would have no bound, and nothing to do.
    """
    home, callers = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), []
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - documented
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith((home, "<frozen runpy")):
            callers.append(code)
        frame = frame.f_back
    is_script = len(callers) == 1 and callers[0].co_name == "<module>" and callers[0].co_filename == sys.argv[0]
    return bool(callers) and not (is_script and os.path.basename(sys.argv[0]) == "arun")


def begin_again() -> None:
    """Give a forked process of arun's own an end of its own: it runs the hooks, and nothing follows it."""
    global _shim  # noqa: PLW0603 - a process has one end
    reserve = [] if _shim is None else _shim.reserve
    _shim = _Shim(has_caller=False)
    _shim.reserve = reserve


def leave_at_once(status: int) -> NoReturn:
    """End a forked process of arun's own that has nothing to finish: no hooks, no output."""
    _exit(status)


def on_leaving(close: Callable[[float], object]) -> None:
    """Call ``close`` with the seconds that it may take when the process ends, before threads are joined; it raises nothing.

    For event loops. It is left out where the main thread does not come back to call it.
    """
    if _shim is not None:
        _shim.closers.append(close)


def reserve_descriptors() -> None:
    """Keep a few descriptors back for the way out, for an app may use up all others; call it when 0 to 2 are open."""
    if os.sysconf("SC_OPEN_MAX") < _FEW:
        return  # the start itself needs all of them
    try:
        while _shim is not None and len(_shim.reserve) < _RESERVED:
            _shim.reserve.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return  # so many are open that the start itself will fail over it


def release_descriptors() -> None:
    """Close them: the start is over, or has failed and is about to be reported."""
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
        _shim.pid = getpid()


def in_forked_child() -> bool:
    """Return whether this is a child that the app forked: it inherits the hooks and must not use them."""
    return _shim is not None and getpid() != _shim.pid


def interruption_in(error: BaseException) -> Interruption | None:
    """Return the interruption that an exception is or comes from: code that caught it may have raised another, or a group."""
    waiting: list[BaseException | None] = [error]
    seen = set[int]()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, Interruption):
            return one
        seen.add(id(one))
        waiting += (one.__cause__, one.__context__, *getattr(one, "exceptions", ()))
    return None


def end_if_forked(error: BaseException) -> None:
    """End the process where it is a child that a request has forked, and calls ``sys.exit``: it is no second server."""
    if isinstance(error, SystemExit) and in_forked_child():
        leave(status_of(error))


def status_of(error: BaseException) -> int:
    """The status that Python gives a process which ends with this exception."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


def leave(
    status: int, *, then: Callable[[], int] | None = None, hurried: bool = False, unwinds: bool = False
) -> NoReturn:
    """End the process with ``status``; never returns.

    Args:
        status: 0 for a clean stop; any other hurries the end.
        then: called once all hooks have run. It does not return where it replaces the process, and otherwise returns the
            status to end with.
        hurried: the stop is forced.
        unwinds: no frame of arun's would catch SystemExit.

    Raises:
        SystemExit: a clean stop that nothing holds back unwinds to the caller of arun, and to the interpreter's end.
    """
    if _shim is None or in_forked_child():
        flush()
        _exit(status)
    shim = _shim
    shim.status, shim.then = status, then
    is_main = get_ident() == shim.main_thread
    shim.bound, shim.ends = CLEAN_BOUND, monotonic() + CLEAN_BOUND * _THREADS_PART
    if hurried or shim.is_hurried or status or not is_main:
        hurry()
    returns = False
    try:
        _enforce()
        if is_main:
            while shim.closers:
                shim.closers.pop()(shim.bound * _LOOPS_PART)
        have_ended = _end_threads(shim, joins=is_main and not status)
        if status or not have_ended:
            _end_processes()  # their own hook would wait for those that are busy
        else:
            returns = unwinds and shim.has_caller and then is None
        if not returns:
            _run_exitfuncs()
    except BaseException as error:  # noqa: BLE001 - no thread can be had, or an app has changed what is called here
        _write_line(f"the way out goes on without its hooks: {_shown(error)}")
    if returns:
        shim.has_returned = True
        _relent()
        atexit.register(_enforce)  # registered last, it is the first of the hooks
        raise SystemExit(status)
    _finish()  # an app may have cleared the hooks
    raise AssertionError("unreachable: the hook ends the process")


def hurry() -> None:
    """Cut the end short, also one that is about to begin: the stop is forced. Handlers of signals may call it."""
    shim = _shim
    if shim is None:
        return
    shim.is_hurried = True  # a signal may come in the moment before the bound is set
    if shim.bound > HURRIED_BOUND:
        shim.bound = HURRIED_BOUND
        shim.ends = min(shim.ends, monotonic() + HURRIED_BOUND * _HURRIED_THREADS_PART)
        if shim.guards:
            _enforce()


def start_thread(function: Callable[..., object], *arguments: object) -> None:
    """Start a thread of arun's own, deaf to signals: they are the main thread's, up to the last moment before an exec.

    No code joins it, and it delays nothing. It runs on return: the end of the interpreter would free what belongs to a thread
    that has not begun, which then crashes the process.
    """
    begun = allocate_lock()
    begun.acquire()
    with _deaf():
        start_new_thread(_begin, (begun, function, arguments))
    begun.acquire()


def _begin(begun: LockType, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    begun.release()
    function(*arguments)


class _deaf:  # noqa: N801 - used as a function; contextlib may not be loaded yet
    """Block all signals for a moment, as a thread inherits the mask of its maker."""

    def __enter__(self) -> None:
        self._mask = pthread_sigmask(SIG_BLOCK, valid_signals())

    def __exit__(self, *_raised: object) -> None:
        pthread_sigmask(SIG_SETMASK, self._mask)


def _finish() -> None:
    """Become the successor or end. Registered first, so it runs after every other hook."""
    shim = _shim
    if shim is None or shim.status is None:
        return
    if getpid() != shim.pid:
        if shim.has_returned:
            return  # forked by the caller: a process of its own
        _exit(shim.status)  # forked by another hook on the way out: it neither falls back nor goes on
    is_flushed = flush()
    shim.closing.acquire()  # for good: of the main thread and the one that enforces the bound, one goes on
    if shim.has_returned and is_flushed and not _other_threads():
        _relent()
        return  # the interpreter ends by itself: there is nothing that could hold it
    if shim.then is not None:
        try:
            shim.status = shim.then()
        except BaseException as error:  # noqa: BLE001 - the end of the process: only stderr is left
            _write_line(f"the way out failed: {_shown(error)}")
    _exit(shim.status)


def _enforce() -> None:
    """Let a thread finish in place of the main one if that takes longer than the bound from now on, if one can be had."""
    if _shim is not None:
        guard = allocate_lock()
        guard.acquire()
        _shim.guards.append(guard)  # before it starts: a signal that forces the stop in that moment shortens its bound
        try:
            start_thread(_finish_after, _shim.bound, guard)
        except RuntimeError:  # this user may have no further thread: what is left to do is done without a bound
            _shim.guards.remove(guard)


def _relent() -> None:
    """Enforce no bound any more."""
    while _shim is not None and _shim.guards:
        _shim.guards.pop().release()


def _finish_after(bound: float, guard: LockType) -> None:
    """Finish from a thread when hooks, threads or a full pipe hold the main thread longer than ``bound`` seconds."""
    if guard.acquire(timeout=bound):
        return
    shim = _shim
    if shim is not None and shim.closing.acquire(blocking=False):
        shim.closing.release()
        sys.stdout = sys.stderr = None  # a stuck flush is not tried again
        _end_processes()
        _finish()


def _end_threads(shim: _Shim, *, joins: bool) -> bool:
    """End threads as the interpreter would, but not for ever; return False if some are left when the time has come.

    First come the hooks that wake the idle ones of pools (``concurrent.futures`` has one for threads and one for processes),
    then threads that are no daemons are joined, with ``joins``. A hook waits for its threads without a bound, so that a thread
    of arun's own calls it.
    """
    threading = sys.modules.get("threading")
    if threading is None:
        return True
    hooks = getattr(threading, "_threading_atexits", ())
    if hooks:
        running = threading.Thread(target=_run_thread_hooks, args=(hooks,), daemon=True)  # known, or a dummy would stay
        try:
            with _deaf():
                running.start()
        except RuntimeError:
            return False
        while running.is_alive():
            if monotonic() >= shim.ends:
                return False
            running.join(_LOOK)
    living = [thread for thread in _other_threads() if not thread.daemon]
    while joins and living and monotonic() < shim.ends:
        living[0].join(_LOOK)
        living = [thread for thread in living if thread.is_alive()]
    return not living


def _run_thread_hooks(hooks: list[Callable[[], object]]) -> None:
    while hooks:
        try:
            hooks.pop()()
        except Exception:  # noqa: BLE001, S112 - a hook that fails holds back neither the others nor the end
            continue


def _other_threads() -> list[threading.Thread]:
    """Return the threads that ``threading`` knows beside the main one and this one."""
    threading = sys.modules.get("threading")
    if threading is None:
        return []
    own = (get_ident(), _shim.main_thread if _shim is not None else 0)
    return [thread for thread in threading.enumerate() if thread.ident not in own]


def _end_processes() -> None:
    """End the children of multiprocessing, which its hook would wait for, and which would hold on to the sockets."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is None:
        return
    children = [child for child in tuple(multiprocessing._children) if child._parent_pid == getpid()]  # noqa: SLF001
    try:
        for child in children:
            child.terminate()
        deadline = monotonic() + _CHILD_PATIENCE
        for child in children:
            child.join(max(0.0, deadline - monotonic()))
            if child.exitcode is None:
                child.kill()
                child.join(_CHILD_PATIENCE)
    except Exception:  # noqa: BLE001 - a start method of the app's own, or one that was reaped: the way out goes on
        return


def _write_line(what: str) -> None:
    try:
        write(2, f"arun: internal-error: {what}\n".encode(errors="replace"))
    except OSError:
        return  # closed


def _shown(error: BaseException) -> str:
    try:
        return repr(error)
    except BaseException:  # noqa: BLE001 - code of the app's
        return type(error).__name__


def flush() -> bool:
    """Flush the standard streams; return False where one of them takes nothing."""
    is_flushed = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001 - closed, full, or anything at all that the app put in its place
            is_flushed = False
    return is_flushed
