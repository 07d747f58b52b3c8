"""What serves where not even the welcome page can: every response is 503, a few lines of plain text.

It is for a process that can neither become its fallback nor load what serves a page: the files of arun or of Python
are gone, or no descriptor is left for an event loop. So it imports nothing, opens nothing, and needs one descriptor for
each client.
"""

from __future__ import annotations

import socket

from arun.core.genuine import POLLIN, monotonic, poll, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

__all__ = ("respond",)

#: Milliseconds between two looks at the clock.
_TICK = 500
#: Seconds that a client has to send the head of its request, and to take the end of its response.
_PATIENCE, _LINGER = 10.0, 1.0
#: Bytes after which a head gets its response although it has no end, and that are read of a client at a time.
_LONGEST_HEAD, _PIECE = 65_536, 16_384
_MOST_CLIENTS = 256
#: Seconds until accepting is tried again when no descriptor is free.
_FULL = 0.05
_NO_BODY = b"HEAD "
_BODY = (
    b"We'll be right back.\n\n"
    b"This service is temporarily unavailable. Nothing is wrong at your end. Please try again in a moment.\n"
)
#: RFC 9110 section 15.6.4.
_HEAD = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"cache-control: no-store\r\nretry-after: 5\r\nconnection: close\r\n\r\n" % len(_BODY)
)


class _Client:
    """A connection: what it has sent of its head so far, and until when it stays."""

    __slots__ = ("connection", "deadline", "method", "responded", "size", "tail")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        #: The first and the last bytes of its head so far.
        self.method = self.tail = b""
        self.size = 0
        self.responded = False
        self.deadline = monotonic() + _PATIENCE

    def goes_on(self) -> bool:
        """Read what is there, respond to a complete head, and return False when the client has gone."""
        try:
            data = self.connection.recv(_PIECE)
            if not data:
                return False
            if not self.responded:
                self.size += len(data)
                self.method = (self.method + data)[: len(_NO_BODY)]
                ending = self.tail + data
                self.tail = ending[-3:]
                if b"\r\n\r\n" in ending or b"\n\n" in ending or self.size > _LONGEST_HEAD:
                    self._respond()
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _respond(self) -> None:
        self.responded, self.deadline = True, monotonic() + _LINGER
        self.connection.send(_HEAD if self.method == _NO_BODY else _HEAD + _BODY)
        self.connection.shutdown(socket.SHUT_WR)  # and the rest is read: closing now could take the response back


def respond(listeners: Sequence[socket.socket], now_and_then: Callable[[], object]) -> NoReturn:
    """Respond to every client of these listening sockets, and call ``now_and_then`` twice a second.

    It ends with what that, or the handler of a signal, raises.
    """
    for listener in listeners:
        listener.setblocking(False)
    clients: dict[int, _Client] = {}
    while True:
        waiting = poll()
        is_full = len(clients) >= _MOST_CLIENTS
        for listener in () if is_full else listeners:
            waiting.register(listener, POLLIN)
        for fd in clients:
            waiting.register(fd, POLLIN)
        ready = {fd for fd, _ in waiting.poll(_TICK)}
        for fd in [fd for fd in clients if fd in ready and not clients[fd].goes_on()]:
            clients.pop(fd).connection.close()
        for listener in listeners:
            if listener.fileno() in ready:
                _accept(listener, clients)
        moment = monotonic()
        for fd in [fd for fd, client in clients.items() if client.deadline < moment]:
            clients.pop(fd).connection.close()
        now_and_then()


def _accept(listener: socket.socket, clients: dict[int, _Client]) -> None:
    """Take in one client; where there is no descriptor for it, the one that has been here longest goes."""
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return
    except OSError:
        if clients:
            clients.pop(next(iter(clients))).connection.close()
        else:
            sleep(_FULL)
        return
    connection.setblocking(False)
    clients[connection.fileno()] = _Client(connection)
