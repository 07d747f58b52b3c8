"""The threads that call a WSGI app, and the calls that they make in the loop's thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from arun.core.genuine import allocate_lock, get_ident, perf_counter, start_new_thread, threads_are_exchanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable
    from typing import Final

__all__ = ("LoopCalls", "ThreadPool")

#: Seconds after which the remaining calls wait for the next turn of the loop, so that what was written leaves in between.
_TURN: Final = 0.002


class ThreadPool:
    """At most ``limit`` daemon threads, and ``queue`` calls that wait for one of them (0: any number).

    A thread that takes a call while others wait wakes one more thread, and only one at a time: as long as calls are short,
    one thread makes them all without a fight for the interpreter's lock; as soon as it blocks, the next is there. A thread
    whose call takes too long can be given up: then another one may be started in its place, and it ends itself when the call
    returns. No more than ``limit`` are given up at the same time, so that there are never more than twice as many.
    ``concurrent.futures`` wakes a thread per call, and joins stuck ones before the interpreter ends; a call that never
    returns holds up neither a stop nor an exit here.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self._limit = limit
        self._queue = queue
        self._started = 0
        self._closed = False
        #: A thread was woken or started and has not looked for a call yet.
        self._coming = False
        self._calls: deque[Callable[[], object]] = deque()
        #: The threads that were given up and have not ended.
        self._given_up: set[int] = set()
        #: The locks on which threads without a call wait, the one that worked last at the end.
        self._idle: list[LockType] = []
        self._mutex = allocate_lock()
        #: "with" costs four times as much, which every request pays twice.
        self._acquire, self._release = self._mutex.acquire, self._mutex.release

    def run(self, call: Callable[[], object], *, ahead: bool = False) -> bool:
        """Run a call, which raises nothing, in one of the threads; one that returns True ends its thread.

        Returns False if too many wait already, or no thread can be started. ``ahead`` lets it run before those that wait,
        however many they are: it ends something.
        """
        self._acquire()
        try:
            if self._closed:
                return False
            if ahead:
                self._calls.appendleft(call)
            elif self._queue > 0 and len(self._calls) >= self._queue + self._free():
                return False
            else:
                self._calls.append(call)
            self._wake_one()
            if self._started:
                return True
            self._calls.popleft() if ahead else self._calls.pop()
            return False
        finally:
            self._release()

    def give_up(self, thread: int) -> bool:
        """Do without a thread, whose call has to check ``was_given_up``; return False if those are too many.

        Should the thread have gone on to another call by now, it ends after that one.
        """
        with self._mutex:
            if len(self._given_up) >= self._limit:
                return False
            self._given_up.add(thread)
            self._started -= 1
            self._wake_one()
            return True

    def was_given_up(self) -> bool:
        """Return whether the calling thread was given up; it is forgotten, and has to end."""
        thread = get_ident()
        if thread not in self._given_up:
            return False
        with self._mutex:
            self._given_up.remove(thread)
        return True

    def close(self) -> None:
        """Let each thread end after the calls that wait."""
        with self._mutex:
            self._closed = True
            while self._idle:
                self._idle.pop().release()

    def _free(self) -> int:
        return self._limit - self._started + len(self._idle) + self._coming

    def _wake_one(self) -> None:
        """Wake or start a thread, unless one is on its way."""
        if self._coming or not self._calls:
            return
        if self._idle:
            self._coming = True
            self._idle.pop().release()
        elif self._started < self._limit:
            try:
                self._start_thread(f"arun-wsgi-{self._started + 1}")
            except RuntimeError:  # the system gives no more: those that run have to suffice
                return
            self._started += 1
            self._coming = True

    def _start_thread(self, name: str) -> None:
        """Start a thread of the system: one of gevent or eventlet never runs, as the loop's own does not yield to it.

        Raises:
            RuntimeError: the system gives no more.
        """
        if threads_are_exchanged():
            start_new_thread(self._work, ())
        else:
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        awake = allocate_lock()
        awake.acquire()
        was_coming = True
        while True:
            call = None
            self._acquire()
            try:
                if was_coming:
                    self._coming = was_coming = False
                if self._calls:
                    call = self._calls.popleft()
                    self._wake_one()
                elif self._closed:
                    return
                else:
                    self._idle.append(awake)
            finally:
                self._release()
            if call is None:
                awake.acquire()
                was_coming = True
            elif call():
                return


class LoopCalls:
    """A queue of calls that the loop makes in their order, one wake-up for all that are ready; a call catches what it may raise.

    ``call_soon_threadsafe`` alone wakes the loop with a system call each time, and makes it ask for the interpreter's
    lock while the thread that called still works.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[Callable[[], object]] = deque()
        self._add, self._take = self._calls.append, self._calls.popleft
        self._woken = False

    def later(self, call: Callable[[], object]) -> None:
        """Make a call after what runs now; to be used in the loop's thread."""
        self._add(call)
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._make)

    def post(self, call: Callable[[], object]) -> bool:
        """Make a call in the loop's thread, from any other; return False if the loop is closed."""
        self._add(call)
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._make)
            except RuntimeError:
                self._woken = False
                return False
        return not self._loop.is_closed()

    def _make(self) -> None:
        # First this, then the calls: a thread that comes in between wakes the loop once too often, never too seldom.
        self._woken = False
        take, clock = self._take, perf_counter
        until = clock() + _TURN
        try:
            for _ in range(len(self._calls)):
                take()()
                if clock() > until:
                    break
        finally:
            if self._calls and not self._woken:
                self._woken = True
                self._loop.call_soon(self._make)
