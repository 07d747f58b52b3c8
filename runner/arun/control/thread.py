"""A responder in a thread of its own: it responds while an app is imported, and while its loop is stuck."""

from __future__ import annotations

import os

from arun.core.exits import start_thread
from arun.core.genuine import POLLIN, allocate_lock, monotonic, poll, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arun.control.responder import Responder

__all__ = ("ResponderThread",)

#: Seconds that the end of the thread is waited for, and between two looks.
_PATIENCE, _LOOK = 2.0, 0.0005
#: Milliseconds between two turns, at most.
_TURN = 1000


class ResponderThread:
    """Drives a responder from ``start`` to ``stop``. The responder is this thread's alone meanwhile.

    A child that the app forks has no such thread, and its copies of the descriptors end with it.
    """

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._asked: list[Callable[[], object]] = []
        self._stops = self._is_left = False
        self._running = allocate_lock()
        self._reading = self._writing = -1
        self._pid = os.getpid()

    def start(self) -> bool:
        """Start; return False where the system gives no thread or no descriptor."""
        self._stops = False
        try:
            self._reading, self._writing = os.pipe()
        except OSError:
            return False
        for fd in (self._reading, self._writing):
            os.set_blocking(fd, False)
        self._running.acquire()
        try:
            start_thread(self._run)
        except RuntimeError:
            self._running.release()
            self._close_pipe()
            return False
        return True

    def call(self, function: Callable[[], object]) -> None:
        """Let the thread call a function soon."""
        self._asked.append(function)
        self._wake()

    def stop(self) -> bool:
        """End the thread; listeners and connections stay with the responder.

        Return False where it does not end in time: the responder is the thread's for good, without its listeners.
        """
        if self._pid != os.getpid():
            return True  # forked by the app: the thread stayed behind
        self._stops = True
        self._wake()
        deadline = monotonic() + _PATIENCE
        while self._running.locked() and monotonic() < deadline:
            sleep(_LOOK)
        if not self._running.locked():
            return True
        self._is_left = True
        self._responder.abandon()
        return False

    def _wake(self) -> None:
        try:
            os.write(self._writing, b"!")
        except OSError:
            return  # full: it is awake

    def _run(self) -> None:
        try:
            while not self._stops:
                self._turn()
        finally:
            if self._is_left:
                self._responder.drop_clients()
            self._close_pipe()
            self._running.release()

    def _turn(self) -> None:
        waiting = poll()
        waiting.register(self._reading, POLLIN)
        self._responder.register(waiting)
        seconds = self._responder.seconds
        try:
            ready = waiting.poll(_TURN if seconds is None else min(_TURN, seconds * 1000 + 1))
        except OSError:
            sleep(_LOOK)
            return
        if any(fd == self._reading for fd, _ in ready):
            try:
                os.read(self._reading, 4096)
            except OSError:
                sleep(_LOOK)  # the app has closed what is not its own
        while self._asked:
            self._asked.pop(0)()
        self._responder.turn(ready)

    def _close_pipe(self) -> None:
        for fd in (self._reading, self._writing):
            try:
                os.close(fd)
            except OSError:
                continue
        self._reading = self._writing = -1
