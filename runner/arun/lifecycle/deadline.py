"""The deadline of a start, kept by a thread of its own: it reports what the start waits for, and ends it when its time is up.

A thread, because an import can block in C code where no signal handler of Python runs. It holds no lock that
other code waits for, and costs nothing until it wakes.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal

from arun.core.exits import Interruption, start_thread
from arun.core.failures import START_TIMEOUT, StartupFailure
from arun.core.genuine import monotonic, process_time, sleep
from arun.lifecycle.outcome import Failed, Stopped
from arun.system import logs
from arun.system.stop_signals import STOP_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from arun.lifecycle.outcome import Outcome

__all__ = ("Deadline", "DeadlineReached")

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


class Deadline:
    """The deadline of one start: a context around it, in the main thread. ``step`` names what the start is waiting for.

    A start that has used up its time leaves the context with START_TIMEOUT, whatever the app has made of its
    interruption. A signal that is caught while the main thread is in C code is received there only when that code
    returns. The thread hears of it from the interpreter's wakeup descriptor (signal.set_wakeup_fd), and then acts in its
    place.

    Args:
        seconds: how long the start may take, None for no limit.
        origin: where that limit comes from.
        leave: called in the thread with the outcome when the main thread does not react to its interruption.
        is_stopping: returns whether a stop signal was received; whatever holds the start back then is interrupted as well.
        on_step: called with each step of the start, whose lines are then left to it.
        began: when the start began, on the monotonic clock, where that is not now.
        on_tick: called in the thread about once in a second.
    """

    def __init__(  # noqa: PLR0913 - what one start has to say of its time
        self,
        seconds: float | None,
        origin: str,
        leave: Callable[[Outcome], object],
        is_stopping: Callable[[], bool],
        *,
        on_step: Callable[[str], None] | None = None,
        began: float | None = None,
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.expired = False
        self.began = monotonic() if began is None else began
        self._seconds, self._origin = seconds, origin
        self._waiting_for = "the settings"
        self._leave, self._is_stopping, self._on_step, self._on_tick = leave, is_stopping, on_step, on_tick
        self._progress_shown = False
        self._stop_caught = False
        self._caught = self._writing = -1
        self._previous: Any = None
        self._done = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        self._main = _thread.get_ident()

    def __enter__(self) -> Deadline:  # noqa: PYI034 - it has no subclass, and typing is not loaded
        """Start the thread."""
        self._done.acquire()
        self._ended.acquire()
        self._previous = signal.signal(signal.SIGALRM, self._interrupt)
        self._caught, self._writing = os.pipe()
        for fd in (self._caught, self._writing):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self.leave_signals_to_loop)  # a child's signals are not ours
        start_thread(self._run, self._caught, self._writing)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """End the deadline; what a start raises that has used up its time is that.

        Raises:
            StartupFailure(START_TIMEOUT): it has used up its time.
        """
        self.finish()
        if self.expired and isinstance(error, DeadlineReached | StartupFailure):
            raise self._timed_out() from None

    def step(self, waiting_for: str) -> None:
        """Name what the start is doing now."""
        self._waiting_for = waiting_for
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

    def _timed_out(self) -> StartupFailure:
        return StartupFailure(
            START_TIMEOUT,
            f"the start took longer than {self._seconds or 0:g} s; it was waiting for {self._waiting_for}",
            origin=self._origin,
        )

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
            if self._on_tick is not None:
                self._on_tick()
            elapsed = monotonic() - self.began
            if self._seconds is not None and elapsed >= self._seconds:
                self.expired = True
                self._press(signal.SIGALRM)
                return
            if asked:  # a tick ago already: the loop that was asked does not come round
                self._press(signal.SIGTERM)
                return
            self._stop_caught = self._stop_caught or self._has_caught_stop()
            asked = self._is_stopping() or self._stop_caught
            if elapsed >= next_line - _TICK / 2:
                next_line = elapsed if terminal else next_line + _INTERVAL
                self._report(elapsed, terminal=terminal)

    def _over(self, interval: float) -> bool:
        """Wait for the end of the start, the next line to say, or the deadline, whichever comes first."""
        ends = monotonic() + interval
        if self._seconds is not None:
            ends = min(ends, self.began + self._seconds)
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

    def _report(self, elapsed: float, *, terminal: bool) -> None:
        limit = f" of {self._seconds:g} s" if self._seconds is not None else ""
        line = f"arun: waiting for {self._waiting_for} ({elapsed:.0f} s{limit})"
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
        is_stop = self._is_stopping() or self._stop_caught
        self._leave(Stopped() if is_stop else Failed((self._timed_out(),)))
