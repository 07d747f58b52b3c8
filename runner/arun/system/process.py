"""The process itself: its standard streams, its stop signals, its children, and what it must not carry through an exec."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from arun.core.exits import Interruption, hurry, in_forked_child
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType
    from typing import Any

    Handler = Callable[[int, FrameType | None], Any]

__all__ = (
    "STOP_SIGNALS",
    "StopRequested",
    "StopSignals",
    "bind_to_cores",
    "block_stop_signals",
    "children",
    "close_on_exec_except",
    "dump_when_dying",
    "end_children",
    "ignored_signals",
    "open_standard_streams",
    "reap",
    "reset_for_exec",
    "silence",
    "unblock_signals",
)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
#: Signals that ask for something else; without a handler they would end or stop the process.
_ASKING = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
#: Stop signals that force a stop.
_FORCES = 2


class StopRequested(Interruption):
    """A stop signal came before ``StopSignals.on_stop`` was called."""


class StopSignals:
    """Receives SIGTERM, SIGINT and SIGQUIT from the first moment to the last and calls the callback of the process.

    SIGQUIT counts twice: it stops at once. A worker leaves SIGINT to its supervisor, for a terminal sends it to both.

    SIGHUP makes a fallback try its first start again: the callback of ``on_return`` is called, and ``go_back`` makes it
    stop serving where that start works. Elsewhere the callback of ``on_hangup`` is called; without one the signal
    changes nothing, for it means a reload to other runners, never an end.

    Until ``on_stop`` sets a callback, a stop signal raises StopRequested in the main thread. One beyond the second always
    does: the callback has not reacted. After ``ignore`` a second one only cuts the end short.

    ``of_app`` are the handlers that an app has installed for these signals in this process: they are called as well.
    """

    def __init__(self, *, is_workers: bool = False, of_app: Mapping[int, Handler] | None = None) -> None:
        self.count = 0
        self.going_back = False
        self.of_app: dict[int, Handler] = dict(of_app or {})
        self._is_workers = is_workers
        self._can_go_back = False
        self._on_stop: Callable[[int], None] | None = None
        self._on_hangup: Callable[[], None] | None = None
        self._on_return: Callable[[], None] | None = None
        self._on_reopen: Callable[[], object] | None = None
        self._hung_up = self._ignores = False
        #: The handlers of the signals that this process acts on.
        self._own: dict[int, Handler] = {}
        #: The frame that was interrupted by the signal for which the app's handler runs now.
        self._in_app: FrameType | None = None

    def install(self, *, can_go_back: bool = False) -> None:
        """Take over the stop signals, SIGHUP and SIGUSR1, then unblock them: a predecessor may have blocked them."""
        self._can_go_back = can_go_back
        self._own = dict.fromkeys(STOP_SIGNALS, self._receive)
        if self._is_workers:  # not ignored: what the app executes would inherit that
            self._own[signal.SIGINT] = self._own[signal.SIGHUP] = self._leave_to_supervisor
        elif signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup means it
            self._own[signal.SIGHUP] = self._hang_up
        before = signal.getsignal(signal.SIGUSR1)
        if before == signal.SIG_DFL or isinstance(getattr(before, "__self__", None), StopSignals):  # and not ignored
            self._own[signal.SIGUSR1] = self._reopen
        for number, handler in self._own.items():
            signal.signal(number, handler)
        for number in (signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            if signal.getsignal(number) == signal.SIG_DFL:  # it would end or stop the process
                signal.signal(number, _is_for_supervisors)
        unblock_signals()

    def take_back(self) -> None:
        """Take back the signals that the app has taken or blocked, and log it; the app's own handlers are called as well.

        What an app registers with its loop, the loop calls by itself as long as Python handles the signal at all.
        """
        taken = []
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        for number, own in self._own.items():
            found = signal.getsignal(number)
            if found == own:
                if number in blocked:
                    taken.append(number)
                continue
            signal.signal(number, own)
            if callable(found) and found != signal.default_int_handler:
                if not _is_of_a_loop(found):
                    self.of_app[number] = found
                taken.append(number)
            elif found is None or found == signal.SIG_IGN:  # None: C code's own
                taken.append(number)
        # Only now, for what is pending would meet what the app has put there.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._own)
        if taken:
            names = ", ".join(signal.Signals(number).name for number in taken)
            logs.info(
                f"arun: the app has taken {names}: arun still acts on signals, and calls the app's handlers as well"
            )

    def collect(self, fd: int) -> None:
        """Receive the stop signals that a predecessor caught too late to act on; ``fd`` is a pipe of their numbers."""
        with open(fd, "rb") as late:
            for number in late.read() or b"":
                if number in STOP_SIGNALS and self._note(number):
                    raise StopRequested

    def on_stop(self, callback: Callable[[int], None]) -> None:
        """Call ``callback`` with the count so far at each stop signal, instead of interrupting; at once for earlier ones."""
        self._on_stop = callback
        if self.count or self.going_back:
            callback(max(self.count, 1))

    def on_hangup(self, callback: Callable[[], None] | None) -> None:
        """Call ``callback`` at each SIGHUP that does not make a fallback go back; at once for an earlier one."""
        self._on_hangup = callback
        if self._hung_up and callback is not None and not self._can_go_back:
            self._hung_up = False
            callback()

    def on_return(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` at each SIGHUP that asks a fallback to try its first start; at once for an earlier one."""
        self._on_return = callback
        if self._hung_up and self._can_go_back:
            self._hung_up = False
            callback()

    def go_back(self) -> None:
        """Stop serving, to go back to the first start."""
        self.going_back = True
        if self._on_stop is not None and not self.count:
            self._on_stop(1)

    def on_reopen(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` at each SIGUSR1: the log files have been moved."""
        self._on_reopen = callback

    def ignore(self) -> None:
        """Only count from now on: the process is about to end. The app's handlers are not called any more."""
        self._ignores = True
        with contextlib.suppress(ValueError):  # not the main thread: that one is stuck
            for number, own in self._own.items():
                if number in STOP_SIGNALS:
                    signal.signal(number, own)

    def hang_up(self) -> None:
        """Do what SIGHUP does."""
        if not self._can_go_back:
            if self._on_hangup is not None:
                self._on_hangup()
                return
            if self._on_stop is None:  # the start goes on: on_hangup will find it
                self._hung_up = True
                return
            if signal.SIGHUP not in self.of_app:
                logs.warning("SIGHUP changes nothing here: reloading takes --supervise, or more than one worker")
            return
        if self._on_return is None:  # it does not serve yet: on_return will find it
            self._hung_up = True
        else:
            self._on_return()

    def _reopen(self, number: int, frame: FrameType | None) -> None:
        if self._on_reopen is not None:
            self._on_reopen()
        self._call_app(number, frame)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self.hang_up()
        self._call_app(number, frame)

    def _leave_to_supervisor(self, number: int, frame: FrameType | None) -> None:
        """Do nothing on a signal that went to the whole group."""
        self._call_app(number, frame)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if in_forked_child():  # a child that the app has forked ends by the signal, as any process does
            signal.signal(number, self.of_app.get(number, signal.SIG_DFL))
            os.kill(os.getpid(), number)
            return
        if self.count and (frame is None or frame is self._in_app):
            return  # called by the app's own handler for this signal: the interpreter gives each signal its own frame
        interrupts = self._note(number)
        self._call_app(number, frame)
        if interrupts:
            raise StopRequested

    def _note(self, number: int) -> bool:
        """Count a stop signal and call the callback; return whether the start, or the stop, is to be interrupted."""
        before = self.count
        if number == signal.SIGQUIT:
            self.count += _FORCES
        elif not (self._is_workers and before):  # a worker is forced by SIGQUIT: a whole group may get SIGTERM twice
            self.count += 1
        if self._ignores:
            if self.count >= _FORCES:
                hurry()
            return False
        if self._on_stop is not None:
            self._on_stop(self.count)
            if before < _FORCES:  # the first asks, the second forces, the third does not ask the loop
                return False
        return True

    def _call_app(self, number: int, frame: FrameType | None) -> None:
        """Call the app's own handler; what it raises to end the process is not needed, as a stop is under way."""
        handler = self.of_app.get(number)
        if handler is None or self._ignores:
            return
        before, self._in_app = self._in_app, frame
        try:
            handler(number, frame)
        except Interruption:
            raise
        except (SystemExit, KeyboardInterrupt):
            pass
        except BaseException as error:  # noqa: BLE001 - the app's
            logs.warning(f"the app's handler of {signal.Signals(number).name} raised {type(error).__name__}")
        finally:
            self._in_app = before


def _is_of_a_loop(handler: object) -> bool:
    """Return whether a handler does nothing: the loop learns of the signal by the wakeup descriptor (asyncio, uvloop)."""
    return getattr(handler, "__name__", "").lstrip("_") in {"sighandler_noop", "sighandler"}


def _is_for_supervisors(number: int, _frame: FrameType | None) -> None:
    """Log that a signal changes nothing: its sender expects an effect."""
    logs.warning(f"{signal.Signals(number).name} changes nothing here: it is for a supervisor (--supervise)")
    if number != signal.SIGUSR2:
        signal.signal(
            number, signal.SIG_IGN
        )  # a terminal sends it again and again to a process that reads in the background


def open_standard_streams() -> None:
    """Put /dev/null on whichever of the descriptors 0 to 2 is closed, before a socket gets its number."""
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


def block_stop_signals() -> int:
    """Block the stop signals and those for reloads and the like, until a handler stands; the mask survives an exec.

    Another thread, one that the app left behind, may still take such a signal. Returns the reading end of a pipe into
    which the numbers of all signals go that are caught from now on, up to the exec itself.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    with contextlib.suppress(ValueError):  # not the main thread: that one is stuck, and its signals are lost on it
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP_SIGNALS, *_ASKING})
    return reading


def unblock_signals() -> None:
    """Let every signal through: a predecessor or the parent may have left a mask."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


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
