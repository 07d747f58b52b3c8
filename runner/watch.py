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

#: Seconds between two lines about a start that takes long.
_INTERVAL = 5.0
#: Seconds that the main thread has to get out of what it does, before the thread acts in its place.
_PATIENCE = 2.0


class DeadlineReached(Interruption):
    """The start has used up its time."""


class Watch:
    """The watch over one start. ``step`` says what the start is waiting for, ``finish`` ends the watch.

    Args:
        timeout: seconds that the start may take, None for no limit.
        overdue: called in the watch's thread when the main thread does not react to its interruption.
    """

    def __init__(self, timeout: float | None, overdue: Callable[[str], None]) -> None:
        self.timeout = timeout
        self.expired = False
        self.waiting_for = "the settings"
        self._overdue = overdue
        self._began = time.monotonic()
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

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._done.locked():
            raise DeadlineReached

    def _run(self) -> None:
        terminal = logs.terminal()
        told = False
        while not self._over(1.0 if terminal else _INTERVAL):
            elapsed = time.monotonic() - self._began
            if self.timeout is not None and elapsed >= self.timeout:
                self._expire()
                return
            if elapsed >= _INTERVAL - 0.5:
                told = True
                self._tell(elapsed, terminal=terminal)
        if told and terminal:
            logs.write("\r\033[K")

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
            logs.write(f"\r\033[K{line}")
        else:
            logs.info(line)

    def _expire(self) -> None:
        """Interrupt the main thread until it lets go; act in its place when it cannot."""
        self.expired = True
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            signal.pthread_kill(self._main, signal.SIGALRM)
            if self._over_after_expiry():
                return
        self._overdue(self.waiting_for)

    def _over_after_expiry(self) -> bool:
        if self._done.acquire(timeout=0.5):
            self._done.release()
            return True
        return False
