"""A worker's end of its connection to the supervisor: reports, heartbeats while its loop turns, the order to retire."""

from __future__ import annotations

import os
import time

from arun.core.values import Value
from arun.supervisor.reports import BEAT, READY, RETIRE, SPENT, WAITING, Lines, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from arun.core.failures import FailureRecord

__all__ = ("Channel", "WorkerLifetime")

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

    def serve(
        self, app: str, requests: Callable[[], int], retire: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        """Report that the app is served; from now on send heartbeats and read orders on the running loop.

        ``requests`` returns how many have begun so far; ``retire`` is called at that order, ``gone`` when the supervisor
        has gone. A worker that retires already ignores the latter: an upgrade has left it alone.
        """
        import asyncio  # a supervisor has no loop, and does not pay for one

        loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._socket.setblocking(False)

        def read_orders() -> None:
            try:
                data = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            for order in self._lines.feed(data):
                if order.word == RETIRE:
                    self._retires = True
                    retire()
            if not data:
                loop.remove_reader(self._socket.fileno())
                if not self._retires:
                    gone()

        def beat() -> None:
            loop.call_later(self._beats, beat)
            self.report(BEAT)  # lost while the supervisor does not read: it checks the time when it does
            if not self._spent and (reason := self._lifetime.exceeded(requests(), time.monotonic() - self._began)):
                self.spent(reason)

        loop.add_reader(self._socket.fileno(), read_orders)
        self.report(READY, app)
        beat()


def _resident() -> int:
    """Return the resident memory of this process in bytes; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # macOS
        return 0
