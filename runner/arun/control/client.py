"""A client of the control socket: one request, one response, within a time. No event loop, and no library of HTTP."""

from __future__ import annotations

import _socket
import os
import sys
from time import monotonic

from arun.core.values import Value

__all__ = ("Answer", "Unanswered", "ask", "peer")

#: Bytes of a response that are read.
_MOST = 16_777_216
_PIECE = 65_536
#: Bytes of the path of a unix socket (sun_path of unix(7), less the null byte).
_LONGEST_PATH = 107


class Unanswered(Exception):  # noqa: N818 - it is a request that is so
    """Nothing answers there; the text is the reason."""

    def __init__(self, why: str, number: int = 0) -> None:
        super().__init__(why)
        #: The errno, 0 where there is none.
        self.number = number


class Answer(Value):
    """A response; the names of fields are in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, without its last newline."""
        return self.body.decode("utf-8", "replace").rstrip("\n")


def ask(  # noqa: PLR0913 - the last ones by name
    place: str | tuple[str, int],
    target: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    fields: tuple[tuple[str, str], ...] = (),
    seconds: float = 5.0,
) -> Answer:
    """Send a request and return its response; ``place`` is the path of a unix socket, or host and port.

    Raises:
        Unanswered: nothing listens there, this user may not connect, or no whole response comes within ``seconds``.
    """
    deadline = monotonic() + seconds
    if isinstance(place, str) and len(os.fsencode(place)) > _LONGEST_PATH:
        raise Unanswered(f"the path of a unix socket has {_LONGEST_PATH} bytes at most")
    try:
        connection = _connected(place, seconds)
    except OSError as error:
        raise Unanswered(error.strerror or str(error), error.errno or 0) from None
    host = "localhost" if isinstance(place, str) else f"{place[0]}:{place[1]}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{lines}"
    head += f"content-length: {len(body)}\r\n\r\n" if body or method == "POST" else "\r\n"
    try:
        connection.sendall(head.encode("latin-1") + body)
        return _read(connection, deadline, is_head=method == "HEAD")
    except OSError as error:
        raise Unanswered(error.strerror or str(error) or "no response in time", error.errno or 0) from None
    finally:
        connection.close()


def peer(path: str) -> int:
    """Return the pid of the process that listens at a unix socket, as this process sees it; 0 where the system does not say.

    It is another number than the process itself knows where that lives in a PID namespace of its own (unix(7), SO_PEERCRED).
    """
    option = getattr(_socket, "SO_PEERCRED", None)  # Linux
    if option is None:
        return 0
    try:
        connection = _connected(path, 1.0)
    except OSError:
        return 0
    try:
        credentials = connection.getsockopt(_socket.SOL_SOCKET, option, 12)
    except OSError:
        return 0
    finally:
        connection.close()
    return int.from_bytes(credentials[:4], sys.byteorder)


def _connected(place: str | tuple[str, int], seconds: float) -> _socket.socket:
    if isinstance(place, tuple):
        family = _socket.AF_INET6 if ":" in place[0] else _socket.AF_INET
        connection = _socket.socket(family, _socket.SOCK_STREAM)
    else:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        if isinstance(place, str) and place.startswith("@"):
            connection.connect("\0" + place[1:])
        else:
            connection.connect(place)
    except OSError:
        connection.close()
        raise
    return connection


def _read(connection: _socket.socket, deadline: float, *, is_head: bool) -> Answer:
    data, end = bytearray(), -1
    status, fields, length = 0, dict[str, str](), -1
    while True:
        if end < 0 <= (end := data.find(b"\r\n\r\n")):
            status, fields = _head(bytes(data[:end]))
            length = int(fields["content-length"]) if fields.get("content-length", "").isdigit() else -1
        if end >= 0 and (is_head or 0 <= length <= len(data) - end - 4):
            break
        piece = _piece(connection, deadline)
        if not piece and end >= 0 > length:
            break
        if not piece or len(data) > _MOST:
            raise Unanswered("the connection was closed before the response was complete")
        data += piece
    return Answer(status, fields, b"" if is_head else bytes(data[end + 4 :]))


def _piece(connection: _socket.socket, deadline: float) -> bytes:
    left = deadline - monotonic()
    if left <= 0:
        raise Unanswered("no whole response in time")
    connection.settimeout(left)
    return connection.recv(_PIECE)


def _head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004 - version and status
        raise Unanswered("what answers there does not speak HTTP")
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return int(words[1]), fields
