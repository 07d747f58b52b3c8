"""Watches a start from a thread of its own: says what it waits for, and ends it when its time is up.

A thread, because an import can block in C code where no signal handler of Python runs. It holds no lock of anybody's
and costs nothing until it wakes.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal

from arun.core.exits import Interruption, start_thread
from arun.core.genuine import monotonic, process_time, sleep
from arun.system import logs
from arun.system.process import STOP_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

__all__ = ("DeadlineReached", "Watch")

#: Seconds between two lines about a start that takes long; on a terminal the line is renewed at each tick.
_INTERVAL = 5.0
#: Seconds between two looks at the start.
_TICK = 1.0
#: Seconds between two looks whether the thread of the watch has ended.
_SHORT = 0.0002
#: Seconds that the thread sleeps at a time: what of a pause counts as time of the start.
_SLICE = 0.2
#: Seconds by which a look may be late that is no pause.
_LATE = 0.5
#: Seconds that the main thread has to get out of what it does, before the thread acts in its place.
_PATIENCE = 2.0


class DeadlineReached(Interruption):
    """The start has used up its time."""


class Watch:
    """The watch over one start. ``step`` says what the start is waiting for, ``finish`` ends the watch.

    Args:
        timeout: seconds that the start may take, None for no limit.
        overdue: called in the watch's thread when the main thread does not react to its interruption.
        stopping: tells whether a stop signal was received; whatever holds the start back then is interrupted as well.
        began: when the start began, on the monotonic clock, where that is not now.
        on_step: called with each step of the start; a start whose steps somebody else is told writes no lines.

    A signal that is caught while the main thread is in C code is received there only when that code returns. The watch
    hears of it from the interpreter's wakeup descriptor (signal.set_wakeup_fd), and then acts in its place.
    """

    def __init__(
        self,
        timeout: float | None,
        overdue: Callable[[Watch], None],
        stopping: Callable[[], bool],
        on_step: Callable[[str], None] | None = None,
        began: float | None = None,
    ) -> None:
        self.timeout = timeout
        self.expired = False
        self.waiting_for = "the settings"
        self._overdue, self._stopping, self._on_step = overdue, stopping, on_step
        #: Called in the watch's thread about once in a second.
        self.on_tick: Callable[[], None] | None = None
        self.began = monotonic() if began is None else began
        self._progress_shown = False
        self.stop_caught = False
        self._caught = self._writing = -1
        self._previous: Any = None
        self._done = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        self._main = _thread.get_ident()

    def begin(self) -> None:
        """Start watching; call it in the main thread."""
        self._done.acquire()
        self._ended.acquire()
        self._previous = signal.signal(signal.SIGALRM, self._interrupt)
        self._caught, self._writing = os.pipe()
        for fd in (self._caught, self._writing):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self.leave_signals_to_loop)  # a child's signals are not ours
        start_thread(self._run, self._caught, self._writing)

    def step(self, waiting_for: str) -> None:
        """Say what the start is doing now."""
        self.waiting_for = waiting_for
        if self._on_step is not None:
            self._on_step(waiting_for)

    def finish(self) -> None:
        """The start is over, well or not; nothing is interrupted any more."""
        if self._done.locked():
            self.leave_signals_to_loop()
            if signal.getsignal(signal.SIGALRM) == self._interrupt:
                signal.signal(signal.SIGALRM, self._previous)
            self._done.release()
            self._await_end()
            if self._progress_shown:
                logs.write("\r\033[K")

    def _await_end(self) -> None:
        """Wait until the thread has closed its descriptors: an exec or a test may count them.

        Without the acquiring of a lock: this runs in an event loop, where an app may have forbidden that (blockbuster).
        """
        deadline = monotonic() + _TICK
        while self._ended.locked() and monotonic() < deadline:
            sleep(_SHORT)

    def leave_signals_to_loop(self) -> None:
        """Give up the wakeup descriptor: an event loop that is about to run sets its own, and puts back what it found."""
        if self._writing >= 0:
            found = signal.set_wakeup_fd(-1)
            if found not in {-1, self._writing}:
                signal.set_wakeup_fd(found)
            self._writing = -1

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._done.locked() and self.expired:  # and not by an alarm of the app's own
            raise DeadlineReached

    def _run(self, *pipe: int) -> None:
        try:
            self._watch()
        finally:
            for fd in pipe:
                with contextlib.suppress(OSError):  # closed by the app
                    os.close(fd)
            self._ended.release()

    def _watch(self) -> None:
        terminal = logs.terminal()
        asked, next_line = False, _INTERVAL
        while not self._over(_TICK):
            if self.on_tick is not None:
                self.on_tick()
            elapsed = monotonic() - self.began
            if self.timeout is not None and elapsed >= self.timeout:
                self.expired = True
                self._press(signal.SIGALRM)
                return
            if asked:  # a tick ago already: the loop that was told does not come round
                self._press(signal.SIGTERM)
                return
            self.stop_caught = self.stop_caught or self._has_caught_stop()
            asked = self._stopping() or self.stop_caught
            if elapsed >= next_line - _TICK / 2:
                next_line = elapsed if terminal else next_line + _INTERVAL
                self._tell(elapsed, terminal=terminal)

    def _over(self, interval: float) -> bool:
        """Wait for the end of the start, the next line to say, or the deadline, whichever comes first."""
        ends = monotonic() + interval
        if self.timeout is not None:
            ends = min(ends, self.began + self.timeout)
        while True:
            now, worked = monotonic(), process_time()
            planned = min(_SLICE, max(0.0, ends - now))
            if self._done.acquire(timeout=planned):
                self._done.release()
                return True
            late = monotonic() - now - planned
            if late > _LATE and process_time() - worked < late / 2:  # else an import has held the interpreter's lock
                self.began += late  # the process was stopped: Ctrl-Z, SIGSTOP, a container that was paused
                ends += late
            if monotonic() >= ends:
                return False

    def _has_caught_stop(self) -> bool:
        try:
            return any(number in STOP_SIGNALS for number in os.read(self._caught, 4096))
        except OSError:  # nothing was caught, or the app has closed what is not its own
            return False

    def _tell(self, elapsed: float, *, terminal: bool) -> None:
        limit = f" of {self.timeout:g} s" if self.timeout is not None else ""
        line = f"arun: waiting for {self.waiting_for} ({elapsed:.0f} s{limit})"
        if terminal:
            self._progress_shown = True
            logs.write(f"\r\033[K{line}")
        else:
            logs.info(line)

    def _press(self, number: signal.Signals) -> None:
        """Interrupt the main thread until it lets go; act in its place when it cannot."""
        deadline = monotonic() + _PATIENCE
        while monotonic() < deadline:
            signal.pthread_kill(self._main, number)
            if self._done.acquire(timeout=0.5):
                self._done.release()
                return
        self._overdue(self)
