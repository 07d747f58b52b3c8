"""What a failed start waited for: the addresses that its failure names as refused, and whether they answer by now.

Some name the address in their text and nowhere else: asyncio, asyncpg, aiohttp, psycopg and libpq, redis-py, PyMySQL,
PyMongo and urllib3 are read here. Addresses are resolved in the process that failed, and are numeric from then on.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time

from arun.core.addresses import Tcp, Unix
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Awaited", "Knock", "find")

#: Addresses of one failure.
_MOST = 8
#: Characters of a failure's text that are read.
_LONGEST = 32_768
#: Seconds that resolving all names may take.
_RESOLVING = 1.0
#: Seconds that a connection may take to be made.
_PATIENCE = 3.0

_HOST = r"(?P<host>[A-Za-z0-9_.-]{1,253}|\[?[0-9A-Fa-f:.%]{2,64}\]?)"
_PATTERNS = (
    rf"\('{_HOST}', (?P<port>\d{{1,5}})",  # asyncio: Connect call failed ('127.0.0.1', 5432)
    r"\((?P<host>[0-9A-Fa-f:.]{2,64})\),? (?:and accepting\s+TCP/IP connections on )?port (?P<port>\d{1,5})",  # libpq, resolved
    rf"\"{_HOST}\",? (?:and accepting\s+TCP/IP connections on )?port (?P<port>\d{{1,5}})",  # libpq
    rf"host='{_HOST}', port=(?P<port>\d{{1,5}})",  # urllib3
    rf"(?:connecting to|connect to host|server on|to address) '?{_HOST}:(?P<port>\d{{1,5}})",  # redis-py, aiohttp, MySQL
    rf"(?<![\w.:/-]){_HOST}:(?P<port>\d{{1,5}}): ?\[Errno",  # PyMongo
)
_FILES = (
    r"(?:socket \"|through socket '|unix socket: |unix://|connecting to )(?P<path>/[^\s\"'()]{1,107}?)(?=[\"',.)]*(?:\s|$)|[\"'])",
)
_TROUBLE = ("refused", "connect", "no such file", "errno 111", "error 111")


class Awaited(Value):
    """An address that refused: a numeric TCP one, or the path of a unix socket, which then has no port."""

    host: str
    port: int = 0

    def __str__(self) -> str:
        return str(Tcp(self.host, self.port) if self.port else Unix(self.host))


def find(texts: Iterable[str], tried: Iterable[Awaited] = ()) -> tuple[Awaited, ...]:
    """Return the addresses that the texts of a failure name, and those that were ``tried`` if the texts speak of a connection.

    Hosts become numeric; names that do not resolve in time are left out.
    """
    import re  # of starts, only one that has failed in a probe

    named: dict[Awaited, None] = {}
    for text in texts:
        # Lines of source are indented with blanks, and say where the app would connect, not where it did.
        lines = " ".join(line for line in text[:_LONGEST].splitlines() if line[:1] != " ")
        if not any(sign in lines.lower() for sign in _TROUBLE):
            continue
        named.update(dict.fromkeys(tried))
        for pattern in _PATTERNS:
            for found in re.finditer(pattern, lines):
                named[Awaited(found["host"].strip("[]"), int(found["port"]))] = None
        for pattern in _FILES:
            for found in re.finditer(pattern, lines):
                named[Awaited(found["path"])] = None
    return tuple(dict.fromkeys(_resolved(list(named)[: 2 * _MOST])))[:_MOST]


def _resolved(named: list[Awaited]) -> list[Awaited]:
    """Return the addresses with numeric hosts; a thread asks the resolver, which may take long."""
    import threading

    resolved: list[Awaited] = []

    def resolve() -> None:
        for one in named:
            if not one.port:
                resolved.append(one)
                continue
            with contextlib.suppress(OSError, UnicodeError):
                for _, _, _, _, name in socket.getaddrinfo(one.host, one.port, type=socket.SOCK_STREAM):
                    resolved.append(Awaited(str(name[0]), one.port))

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(_RESOLVING)
    return list(resolved)


class Knock:
    """One try to connect to an address, which never blocks: ``answers`` is asked again and again until it is known."""

    def __init__(self, awaited: Awaited) -> None:
        self._began = time.monotonic()
        family = socket.AF_UNIX if not awaited.port else socket.AF_INET6 if ":" in awaited.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._error = self._connect(awaited)

    def _connect(self, awaited: Awaited) -> int:
        host, _, scope = awaited.host.partition("%")
        name: object = (host, awaited.port) if awaited.port else awaited.host
        if scope:
            with contextlib.suppress(OSError):
                name = (host, awaited.port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope))
        try:
            return self._socket.connect_ex(name)  # type: ignore[arg-type] # of its family
        except OSError as error:  # a path that is too long
            return error.errno or errno.EINVAL

    def answers(self) -> bool | None:
        """Return whether a connection is made; None while that is not known."""
        if self._error in {errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN}:
            if self._error == errno.EAGAIN:  # a unix socket whose backlog is full: there is a server
                return True
            import select

            waiting = select.poll()
            waiting.register(self._socket, select.POLLOUT)
            if waiting.poll(0):
                self._error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            elif time.monotonic() - self._began < _PATIENCE:
                return None
        return self._error == 0

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
