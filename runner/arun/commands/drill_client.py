"""The client of a drill: it connects all the time, and notes what it gets, when, and what it does not get."""

from __future__ import annotations

import socket
import ssl
import threading
import time

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arun.core.addresses import Tcp

__all__ = ("Client", "Response")

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain, */*;q=0.5\r\nConnection: close\r\n\r\n"
#: Seconds between two connections, that one may take, and bytes of a response that are read.
_PAUSE, _PATIENCE, _MOST = 0.005, 30.0, 65_536


class Response(Value):
    """A response: when its connection began and when it was complete, on the monotonic clock; its status, its first line."""

    began: float
    ended: float
    status: int
    words: str


class Client:
    """Connects to one address again and again, in a thread of its own, until it is closed.

    Connections count as refused from the first one on that was not: before that, nothing listened yet.
    """

    def __init__(self, address: Tcp, *, secure: bool) -> None:
        self.responses: list[Response] = []
        self.refused = 0
        self.cut = 0
        self._address = (address.host, address.port)
        self._context = _trusting() if secure else None
        self._has_connected = False
        self._over = threading.Event()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()

    def first(self, fits: Callable[[Response], bool], seconds: float) -> Response | None:
        """Return the first response that fits, waiting so long for it; None where none comes."""
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                found = next(filter(fits, self.responses), None)
                left = deadline - time.monotonic()
                if found is not None or left <= 0:
                    return found
                self._news.wait(left)

    def close(self) -> None:
        """End the client."""
        self._over.set()
        self._thread.join(_PATIENCE)

    def _ask_on(self) -> None:
        while not self._over.wait(_PAUSE):
            began = time.monotonic()
            try:
                connection = socket.create_connection(self._address, _PATIENCE)
            except OSError:
                self.refused += self._has_connected
                continue
            self._has_connected = True
            try:
                with connection:
                    content = self._content(connection)
            except OSError:
                content = b""
            if not content.startswith(b"HTTP/1.") or len(content.split(None, 2)) < 2:  # noqa: PLR2004 - version, status
                self.cut += not self._over.is_set()
                continue
            with self._news:
                self.responses.append(_read(content, began))
                self._news.notify_all()

    def _content(self, connection: socket.socket) -> bytes:
        if self._context is not None:
            connection = self._context.wrap_socket(connection)
        connection.sendall(_REQUEST)
        pieces = list[bytes]()
        while (piece := connection.recv(_MOST)) and sum(map(len, pieces)) < _MOST:
            pieces.append(piece)
        return b"".join(pieces)


def _read(content: bytes, began: float) -> Response:
    head, _, body = content.partition(b"\r\n\r\n")
    lines = body.decode(errors="replace").strip().splitlines() or [""]
    return Response(began, time.monotonic(), int(head.split(None, 2)[1]), lines[0].strip()[:200])


def _trusting() -> ssl.SSLContext:
    """Return a context that takes any certificate: the one of the site is not for loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
