"""Stop signals from the first moment of a process to its exec or end, whatever the app does to their handlers."""

from __future__ import annotations

import contextlib
import os
import signal

from arun.core.exits import Interruption, hurry, in_forked_child
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Any

    Handler = Callable[[int, FrameType | None], Any]

__all__ = ("STOP_SIGNALS", "StopRequested", "StopSignals", "block_stop_signals")

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
        _unblock_signals()

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
        """Do what SIGHUP does; nothing once the process is about to end, whose loop may be closed."""
        if self._ignores:
            return
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


def _unblock_signals() -> None:
    """Let every signal through: a predecessor or the parent may have left a mask."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
