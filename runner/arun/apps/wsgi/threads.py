"""A few daemon threads that run calls of a WSGI app: a call that never returns holds neither a stop nor an exit."""

from __future__ import annotations

import threading
from collections import deque

from arun.core.genuine import allocate_lock, get_ident, start_new_thread, threads_are_exchanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

__all__ = ("Threads",)


class Threads:
    """At most ``limit`` threads and ``queue`` calls that wait for one of them (0: as many as come).

    A thread that takes a call while others wait sends for one more thread, and only for one at a time: as long as
    calls are short, one thread makes them all and nobody fights for the interpreter's lock; as soon as it blocks, the
    next is there. A thread whose call takes too long can be given up: then another one may be started in its place, and it
    ends itself when the call returns. No more than ``limit`` are given up at the same time, so that there are never more
    than twice as many. ``concurrent.futures`` wakes a thread per call, and joins stuck ones before the interpreter ends.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self._limit = limit
        self._queue = queue
        self._started = 0
        self._closed = False
        #: A thread was sent for and has not looked for a call yet.
        self._sent_for = False
        self._calls: deque[Callable[[], object]] = deque()
        #: The threads that were given up and have not ended.
        self._given_up: set[int] = set()
        #: What the threads without a call wait for, the one that worked last at the end.
        self._idle: list[LockType] = []
        self._mutex = allocate_lock()

    def run(self, call: Callable[[], object], *, ahead: bool = False) -> bool:
        """Run a call, which raises nothing, in one of the threads; one that returns True ends its thread.

        Returns False if too many wait already, or no thread can be had. ``ahead`` lets it run before those that wait, however many they are: it ends something.
        """
        with self._mutex:
            if self._closed:
                return False
            if ahead:
                self._calls.appendleft(call)
            elif self._queue > 0 and len(self._calls) >= self._queue + self._free():
                return False
            else:
                self._calls.append(call)
            self._send_for_one()
            if self._started:
                return True
            self._calls.popleft() if ahead else self._calls.pop()
            return False

    def give_up(self, thread: int) -> bool:
        """Do without a thread, whose call has to ask ``was_given_up``; return False if that are too many.

        Should the thread have gone on to another call by now, it ends after that one.
        """
        with self._mutex:
            if len(self._given_up) >= self._limit:
                return False
            self._given_up.add(thread)
            self._started -= 1
            self._send_for_one()
            return True

    def was_given_up(self) -> bool:
        """Say whether the thread that asks was given up; it is forgotten, and has to end."""
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
        return self._limit - self._started + len(self._idle) + self._sent_for

    def _send_for_one(self) -> None:
        """Wake or start a thread, unless one is on its way."""
        if self._sent_for or not self._calls:
            return
        if self._idle:
            self._sent_for = True
            self._idle.pop().release()
        elif self._started < self._limit:
            try:
                self._start_thread(f"arun-wsgi-{self._started + 1}")
            except RuntimeError:  # the system gives no more: those that run have to do
                return
            self._started += 1
            self._sent_for = True

    def _start_thread(self, name: str) -> None:
        """Start a thread of the system: one that gevent or eventlet makes never runs, as the loop's own does not yield to it.

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
        was_sent_for = True
        while True:
            call = None
            with self._mutex:
                if was_sent_for:
                    self._sent_for = was_sent_for = False
                if self._calls:
                    call = self._calls.popleft()
                    self._send_for_one()
                elif self._closed:
                    return
                else:
                    self._idle.append(awake)
            if call is None:
                awake.acquire()
                was_sent_for = True
            elif call():
                return
