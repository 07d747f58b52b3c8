"""A worker's end of its connection to the supervisor: reports, heartbeats while its loop turns, and its orders."""

from __future__ import annotations

import os
import time

from arun.core.values import Value
from arun.supervisor.reports import ASK, BEAT, OUTLOOK, READY, RETIRE, SPENT, WAITING, Lines, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from arun.core.counters import Counters
    from arun.core.failures import FailureRecord
    from arun.supervisor.reports import Report

__all__ = ("Channel", "Served", "WorkerLifetime")

#: Seconds between two beats of a worker, at most.
_BEATS = 1.0
#: Seconds that a report waits for a supervisor that does not read.
_PATIENCE = 5.0


class WorkerLifetime(Value):
    """How long a worker serves before it asks for a successor; 0 is no bound.

    ``requests`` is a number, ``lifetime`` in seconds, ``rss`` in bytes of resident memory.
    """

    requests: int = 0
    lifetime: float = 0.0
    rss: int = 0

    def exceeded(self, requests: int, lifetime: float) -> str:
        """Return the bound that is reached as a sentence; empty while none is."""
        if 0 < self.requests <= requests:
            return f"it has served {requests} requests (--max-requests)"
        if 0 < self.lifetime <= lifetime:
            return f"it has served for {lifetime:.0f} s (--max-worker-lifetime)"
        if self.rss and (rss := _resident()) >= self.rss:
            return f"it holds {rss / 1_048_576:.0f} MB (--reload-on-rss)"
        return ""


class Served(Value):
    """What a worker serves, for its channel: what it has counted, and what its orders do.

    ``retire`` is called at that order, ``outlook`` with the text of one, ``gone`` when the supervisor has gone.
    """

    counters: Callable[[], Counters]
    retire: Callable[[], None]
    outlook: Callable[[str], None]
    gone: Callable[[], None]


class Channel:
    """The connection of one worker to its supervisor. It never raises: workers end with their supervisor."""

    def __init__(self, connection: socket.socket, lifetime: WorkerLifetime, timeout: float) -> None:
        self._socket = connection
        self._lifetime = lifetime
        #: Several beats in the time after which a silent worker counts as stuck.
        self._beats = min(_BEATS, timeout / 4) if timeout else _BEATS
        self._began = 0.0
        self._spent = self._retires = False
        self._lines = Lines()
        self._served: Served | None = None
        connection.settimeout(_PATIENCE)

    def report(self, word: str, content: str | FailureRecord = "") -> None:
        """Send a report; without effect if the supervisor is gone."""
        try:
            self._socket.sendall(line_of(word, content))
        except OSError:
            return

    def waiting(self, step: str) -> None:
        """Report what the start waits for now."""
        self.report(WAITING, step)

    def spent(self, reason: str) -> None:
        """Ask for a successor, once; the supervisor orders when to retire."""
        if not self._spent:
            self._spent = True
            self.report(SPENT, reason)

    def ask(self, fd: int) -> bool:
        """Hand a connection to the responder of the supervisor; return False where that is gone, or reads nothing."""
        import socket

        try:
            socket.send_fds(self._socket, [line_of(ASK)], [fd])
        except OSError:
            return False
        return True

    def outlook(self) -> str:
        """Return the newest order of that kind which has come so far; empty for none. No loop reads orders yet."""
        self._socket.setblocking(False)
        newest = ""
        try:
            while data := self._socket.recv(65_536):
                for order in self._lines.feed(data):
                    if order.word == OUTLOOK:
                        newest = order.text
        except OSError:
            pass  # no more of them, or the supervisor has gone: the loop will find it
        self._socket.settimeout(_PATIENCE)
        return newest

    def serve(self, app: str, served: Served) -> None:
        """Report that the app is served; from now on send heartbeats and read orders on the running loop.

        A worker that retires already does not hear that the supervisor has gone: an upgrade has left it alone.
        """
        import asyncio  # a supervisor has no loop, and does not pay for one

        loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._served = served
        self._socket.setblocking(False)

        def read_orders() -> None:
            try:
                data = self._socket.recv(65_536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            for order in self._lines.feed(data):
                self._obey(order, served)
            if not data:
                loop.remove_reader(self._socket.fileno())
                if not self._retires:
                    served.gone()

        def beat() -> None:
            loop.call_later(self._beats, beat)
            counters = self.beat()
            lived = time.monotonic() - self._began
            if not self._spent and (reason := self._lifetime.exceeded(counters.requests, lived)):
                self.spent(reason)

        loop.add_reader(self._socket.fileno(), read_orders)
        self.report(READY, app)
        beat()

    def _obey(self, order: Report, served: Served) -> None:
        if order.word == RETIRE:
            self._retires = True
            served.retire()
        elif order.word == OUTLOOK:
            served.outlook(order.text)

    def beat(self) -> Counters:
        """Report that the loop turns, and what was counted; return that."""
        assert self._served is not None  # noqa: S101 - it serves
        counters = self._served.counters()
        self.report(
            BEAT, counters.as_text()
        )  # lost while the supervisor does not read: it checks the time when it does
        return counters

    def last_beat(self) -> None:
        """Report what was counted, for the last time: the worker has served."""
        if self._served is not None:
            self.beat()


def _resident() -> int:
    """Return the resident memory of this process in bytes; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # macOS
        return 0
