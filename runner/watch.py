"""Watches a start from a thread of its own: says what it waits for, and ends it when its time is up.

A thread, because an import can block in C code where no signal handler of Python runs. The thread holds no lock of
anybody's and starts no other; it costs nothing until it wakes.
"""

from __future__ import annotations

import _thread
import signal
import time

from runner.exits import Interruption, start_thread
from runner.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ("DeadlineReached", "Watch")

#: Seconds between two lines about a start that takes long; on a terminal the line is renewed at each tick.
_INTERVAL = 5.0
#: Seconds between two looks at the start.
_TICK = 1.0
#: Seconds that the main thread has to get out of what it does, before the thread acts in its place.
_PATIENCE = 2.0


class DeadlineReached(Interruption):
    """The start has used up its time."""


class Watch:
    """The watch over one start. ``step`` says what the start is waiting for, ``finish`` ends the watch.

    Args:
        timeout: seconds that the start may take, None for no limit.
        overdue: called in the watch's thread when the main thread does not react to its interruption.
        stopping: tells whether a stop signal has come; whatever holds the start back then is interrupted as well.
    """

    def __init__(self, timeout: float | None, overdue: Callable[[Watch], None], stopping: Callable[[], bool]) -> None:
        self.timeout = timeout
        self.expired = False
        self.waiting_for = "the settings"
        self._overdue, self._stopping = overdue, stopping
        self._began = time.monotonic()
        self._progress_shown = False
        self._done = _thread.allocate_lock()
        self._main = _thread.get_ident()

    def begin(self) -> None:
        """Start watching; call it in the main thread."""
        self._done.acquire()
        signal.signal(signal.SIGALRM, self._interrupt)
        start_thread(self._run)

    def step(self, waiting_for: str) -> None:
        """Say what the start is doing now."""
        self.waiting_for = waiting_for

    def finish(self) -> None:
        """The start is over, well or not; nothing is interrupted any more."""
        if self._done.locked():
            self._done.release()
            if self._progress_shown:
                logs.write("\r\033[K")

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._done.locked():
            raise DeadlineReached

    def _run(self) -> None:
        terminal = logs.terminal()
        asked, next_line = False, _INTERVAL
        while not self._over(_TICK):
            elapsed = time.monotonic() - self._began
            if self.timeout is not None and elapsed >= self.timeout:
                self.expired = True
                self._press(signal.SIGALRM)
                return
            if asked:  # a tick ago already: the loop that was told does not come round
                self._press(signal.SIGTERM)
                return
            asked = self._stopping()
            if elapsed >= next_line - _TICK / 2:
                next_line = elapsed if terminal else next_line + _INTERVAL
                self._tell(elapsed, terminal=terminal)

    def _over(self, interval: float) -> bool:
        """Wait for the end of the start, the next line to say, or the deadline, whichever comes first."""
        if self.timeout is not None:
            interval = min(interval, max(0.0, self._began + self.timeout - time.monotonic()))
        if self._done.acquire(timeout=interval):
            self._done.release()
            return True
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
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            signal.pthread_kill(self._main, number)
            if self._done.acquire(timeout=0.5):
                self._done.release()
                return
        self._overdue(self)
