"""A responder: it reads requests and writes responses without ever blocking, in turns of a loop that another drives.

A supervisor drives it from its own loop, one process from a thread of its own (control/thread.py). Each connection carries
one request, has a time for it that no progress moves, and is closed after the response. It uses the sockets of C, which no
app exchanges for its own.
"""

from __future__ import annotations

import _socket

from arun.control.messages import LONGEST_BODY, Malformed, Response, encoded, read_head
from arun.core.genuine import POLLIN, POLLOUT, monotonic, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Iterable

    from arun.control.messages import Request

__all__ = ("Responder",)

#: Seconds for a request to come, for its response to be taken, and for what the client still sends after that.
_REQUEST, _RESPONSE, _LINGER = 5.0, 10.0, 1.0
#: Connections at a time: beyond that the one that has been here longest goes.
_MOST = 64
#: Connections that are accepted in one turn.
_TURN = 64
_PIECE = 65_536
#: Seconds until accepting is tried again when no descriptor is free.
_FULL = 0.1
#: Milliseconds between two looks at the clock while the last responses are sent.
_LOOK = 10
_READING, _WRITING, _LINGERING = range(3)


class _Client:
    """One connection: what it has sent, what it is to be sent, and until when it stays."""

    __slots__ = ("channel", "connection", "deadline", "head", "received", "stage", "waiting")

    def __init__(self, connection: _socket.socket, channel: str) -> None:
        self.connection = connection
        #: What it came by: a listener's name.
        self.channel = channel
        self.received = bytearray()
        #: The request without its body, and where that begins and ends in what was received; None until the head has come.
        self.head: tuple[Request, int, int] | None = None
        self.waiting = memoryview(b"")
        self.stage = _READING
        self.deadline = monotonic() + _REQUEST


class Responder:
    """Responds on some listeners; ``respond`` gets each request with the name of the listener, and returns at once.

    Requests have bodies on the listeners of the name ``with_bodies`` alone.
    """

    def __init__(self, respond: Callable[[Request, str], Response], with_bodies: str = "control") -> None:
        self._respond = respond
        self._with_bodies = with_bodies
        self._listeners: dict[int, tuple[_socket.socket, str]] = {}
        self._clients: dict[int, _Client] = {}
        #: No descriptor was free: when accepting is tried again.
        self._full_until = 0.0

    def listen(self, fd: int, name: str) -> None:
        """Respond on a listening socket too, if it is not yet; its descriptor stays the caller's."""
        if fd in self._listeners:
            return
        listener = _socket.socket(fileno=fd)
        listener.setblocking(False)
        self._listeners[fd] = (listener, name)

    def leave(self, fd: int) -> None:
        """Respond there no more; the descriptor stays open."""
        listener, _ = self._listeners.pop(fd, (None, ""))
        if listener is not None:
            listener.detach()

    def adopt(self, fd: int, name: str) -> None:
        """Respond to one connection, which is the responder's from now on."""
        connection = _socket.socket(fileno=fd)
        connection.setblocking(False)
        self._add(connection, name)

    @property
    def seconds(self) -> float | None:
        """Seconds until a turn is due in any case; None while nothing is."""
        due = [client.deadline for client in self._clients.values()]
        if self._full_until:
            due.append(self._full_until)
        return max(0.0, min(due) - monotonic()) if due else None

    def register(self, waiting: select.poll) -> None:
        """Add what a turn waits for."""
        if not self._full_until:
            for fd in self._listeners:
                waiting.register(fd, POLLIN)
        for fd, client in self._clients.items():
            waiting.register(fd, POLLOUT if client.stage == _WRITING else POLLIN)

    def turn(self, ready: Iterable[tuple[int, int]]) -> None:
        """Do what can be done now for these descriptors, and close what has had its time. It raises nothing."""
        now = monotonic()
        if self._full_until <= now:
            self._full_until = 0.0
        fds = {fd for fd, _ in ready}
        for fd in [fd for fd in self._clients if fd in fds]:
            client = self._clients[fd]
            try:
                stays = self._go_on(client)
            except BlockingIOError:
                stays = True
            except OSError:
                stays = False
            if not stays:
                self._drop(fd)
        for fd in [fd for fd, client in self._clients.items() if client.deadline <= now]:
            self._overdue(fd)
        for listener, name in [found for fd, found in self._listeners.items() if fd in fds]:
            self._accept(listener, name)

    def settle(self, seconds: float) -> None:
        """Respond to those who have connected, within ``seconds``, then close every connection: the process becomes another."""
        until = monotonic() + seconds
        while any(client.stage != _LINGERING for client in self._clients.values()) and monotonic() < until:
            waiting = poll()
            for fd, client in self._clients.items():
                waiting.register(fd, POLLOUT if client.stage == _WRITING else POLLIN)
            self.turn(waiting.poll(_LOOK))
        self.drop_clients()

    def drop_clients(self) -> None:
        """Close every connection."""
        for fd in tuple(self._clients):
            self._drop(fd)

    def abandon(self) -> None:
        """Accept nothing more, while another thread may be in a turn: the listeners stay open, and are another's."""
        listeners, self._listeners = self._listeners, {}
        for listener, _ in listeners.values():
            listener.detach()

    # ---- inner life

    def _accept(self, listener: _socket.socket, name: str) -> None:
        for _ in range(_TURN):
            try:
                fd, _ = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept() is made of
            except BlockingIOError:
                return
            except OSError:
                if self._clients:
                    self._drop(next(iter(self._clients)))
                self._full_until = monotonic() + _FULL
                return
            connection = _socket.socket(fileno=fd)
            connection.setblocking(False)
            self._add(connection, name)

    def _add(self, connection: _socket.socket, name: str) -> None:
        if len(self._clients) >= _MOST:
            self._drop(next(iter(self._clients)))
        self._clients[connection.fileno()] = _Client(connection, name)

    def _drop(self, fd: int) -> None:
        self._clients.pop(fd).connection.close()

    def _overdue(self, fd: int) -> None:
        client = self._clients[fd]
        if client.stage == _READING and client.received:
            try:
                self._send(client, encoded(Response.line(408, "the request has not come in time")))
            except OSError:
                self._drop(fd)
        else:
            self._drop(fd)

    def _go_on(self, client: _Client) -> bool:
        """Read or write what there is; return False when the connection has ended."""
        if client.stage == _WRITING:
            return self._write(client)
        data = client.connection.recv(_PIECE)
        if client.stage == _LINGERING or not data:
            return bool(data)
        client.received += data
        if client.head is None:
            longest = LONGEST_BODY if client.channel == self._with_bodies else 0
            try:
                client.head = read_head(bytes(client.received), longest)
            except Malformed as error:
                return self._send(client, encoded(Response.line(error.status, str(error))))
        if client.head is None:
            return True
        head, begins, ends = client.head
        if len(client.received) < ends:
            return True
        request = head._replace(body=bytes(client.received[begins:ends]))
        client.received.clear()
        return self._send(client, encoded(self._response(request, client.channel), has_body=request.method != "HEAD"))

    def _response(self, request: Request, channel: str) -> Response:
        try:
            return self._respond(request, channel)
        except Exception as error:  # noqa: BLE001 - a fault of arun's own must not end a supervisor
            return Response.line(500, f"internal-error: {type(error).__name__}: {error}")

    def _send(self, client: _Client, data: bytes) -> bool:
        client.stage, client.deadline = _WRITING, monotonic() + _RESPONSE
        client.waiting = memoryview(data)
        return self._write(client)

    def _write(self, client: _Client) -> bool:
        try:
            while client.waiting:
                client.waiting = client.waiting[client.connection.send(client.waiting[:_PIECE]) :]
        except BlockingIOError:
            return True
        client.stage, client.deadline = _LINGERING, monotonic() + _LINGER
        client.waiting = memoryview(b"")
        client.connection.shutdown(_socket.SHUT_WR)  # and the rest is read: closing now could take the response back
        return True
