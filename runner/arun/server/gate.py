"""The gate: a listener on which something comes before HTTP, a PROXY header or TLS or both.

It accepts by itself, as the first bytes must be seen before a transport reads them: a header is read exactly, and
a handshake differs from a plain request in its first byte, which stays in the socket. Plain listeners have no gate.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from functools import partial

from arun.http.endpoints import Endpoints, server_end
from arun.http.fields import date_field
from arun.server.proxy_protocol import HeaderInvalid, Proxied, read_header
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arun.http.options import HttpOptions
    from arun.server.served_socket import ServedSocket

__all__ = ("Gate",)

#: Connections taken in one turn of the loop, so that others get theirs.
_AT_ONCE = 64
#: Seconds until a listener is looked at again when the system has no descriptor left.
_EXHAUSTED = 1.0
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
#: The first byte of a TLS record of a handshake (RFC 8446 section 5.1).
_HANDSHAKE = b"\x16"
#: Seconds that a handshake gets in any case, and where a header may take for ever.
_SHORTEST = 0.1
_UNBOUNDED_HANDSHAKE = 60.0
#: Seconds for the end of TLS, which the loops count from our close, whatever the client has still to take: a year. The
#: connections time their clients until they are gone, and cut one that takes nothing.
_UNBOUNDED_SHUTDOWN = 31_536_000.0
#: Seconds and bytes in which a client that speaks plain HTTP may still send, so that it is not reset before it reads.
_LINGER = 1.0
_DISCARDED = 65_536
_SPEAK_TLS = b"This port speaks HTTPS: use https:// in the address.\n"


class Gate:
    """One listener and the connections that wait at it; those that pass are handed to the protocol factory.

    Header and handshake may take ``timeout_header`` together; as many connections as ``limit_connections`` wait at a time, and
    others in the backlog.
    """

    def __init__(
        self, served: ServedSocket, options: HttpOptions, factory: Callable[..., asyncio.BaseProtocol]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.listener = served.socket
        self._proxies = served.proxies
        self._context = served.context
        self._timeout = options.timeout_header
        self._limit = options.limit_connections
        self._factory = factory
        self._waiting: set[asyncio.Task[None]] = set()
        self._reading = self._closed = False
        #: Warnings that were written.
        self._warned: set[str] = set()

    def open(self) -> None:
        """Accept connections from now on."""
        if not (self._reading or self._closed or self._is_full):
            self._reading = True
            self._loop.add_reader(self.listener.fileno(), self._accept, _AT_ONCE)

    def close(self) -> None:
        """Accept no more; what has been accepted goes on. The listener stays open."""
        self._closed = True
        self._pause()

    def take_in(self) -> None:
        """Accept the connections in the backlog of a closed gate: closing its listener would reset them."""
        while self._accept(_AT_ONCE):
            pass

    async def drain(self, seconds: float) -> None:
        """Wait for the connections at the gate to pass, then cut those that have not."""
        waiting = tuple(self._waiting)
        if waiting:
            try:
                await asyncio.wait(waiting, timeout=seconds)
            finally:
                for task in waiting:
                    task.cancel()
            await asyncio.wait(waiting)

    # ---- inner life

    @property
    def _is_full(self) -> bool:
        return bool(self._limit) and len(self._waiting) >= self._limit

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.listener.fileno())

    def _accept(self, most: int) -> bool:
        """Accept connections; return whether there may be more."""
        for _ in range(most):
            try:
                connection, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:  # the listener stays readable: looking at it again would spin
                    self._warn(f"cannot accept a connection: {error.strerror}")
                    self._pause()
                    self._loop.call_later(_EXHAUSTED, self.open)
                return False
            connection.setblocking(False)
            task = self._loop.create_task(self._admit(connection))
            self._waiting.add(task)
            task.add_done_callback(self._passed)
            if self._is_full and not self._closed:
                self._pause()
                return False
        return True

    def _passed(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        self.open()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # reported by the loop

    async def _admit(self, connection: socket.socket) -> None:
        """Take one connection as far as HTTP, or close it."""
        passed = False
        deadline = self._loop.time() + (self._timeout or _UNBOUNDED_HANDSHAKE)
        try:
            async with asyncio.timeout(self._timeout or None):
                proxied = await self._proxied(connection)
                has_begun = self._context is None or await self._begins_with_handshake(connection)
            if has_begun:
                factory = partial(self._factory, endpoints=self._endpoints(connection, proxied))
                passed = True  # the transport owns the socket from here on
                await self._hand_over(connection, factory, deadline)
        except HeaderInvalid as invalid:
            self._warn(f"a connection without a valid PROXY header was closed ({invalid})")
        except (OSError, TimeoutError):
            pass  # of the client: it broke off, was too slow, or failed the handshake
        finally:
            if not passed:
                connection.close()

    async def _proxied(self, connection: socket.socket) -> Proxied | None:
        if self._proxies is None:
            return None
        peer = connection.getpeername()
        host = peer[0] if isinstance(peer, tuple) else None
        if not self._proxies.trusts(host):
            raise HeaderInvalid(f"{host} may not send one, see proxy-allow-from")
        proxied = await read_header(connection, self._readable)
        return None if proxied.is_local else proxied

    async def _begins_with_handshake(self, connection: socket.socket) -> bool:
        """Look at the first byte; a plain request is refused."""
        await self._readable(connection)
        first = connection.recv(1, socket.MSG_PEEK)
        if first.isalpha():
            await self._refuse(connection)
        return first == _HANDSHAKE

    async def _refuse(self, connection: socket.socket) -> None:
        """Respond to a plain request on a TLS port with a plain 400."""
        head = (
            f"HTTP/1.1 400 Bad Request\r\n{date_field(int(time.time())).decode()}connection: close\r\n"
            f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(_SPEAK_TLS)}\r\n\r\n"
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self._loop.sock_sendall(connection, head.encode() + _SPEAK_TLS)
                connection.shutdown(socket.SHUT_WR)
                left = _DISCARDED
                while left > 0 and (data := await self._loop.sock_recv(connection, left)):
                    left -= len(data)

    def _endpoints(self, connection: socket.socket, proxied: Proxied | None) -> Endpoints:
        peer, own = connection.getpeername(), connection.getsockname()
        client: tuple[str, int] | None = peer[:2] if isinstance(peer, tuple) else None
        server = server_end(own)
        encrypted = self._context is not None
        scheme = "https" if encrypted or (proxied is not None and proxied.tls) else "http"
        if proxied is not None:
            client, server = proxied.client, proxied.server
        return Endpoints(client, server, scheme, encrypted)

    async def _hand_over(
        self, connection: socket.socket, factory: Callable[[], asyncio.BaseProtocol], deadline: float
    ) -> None:
        context = self._context
        if context is None:
            await self._loop.connect_accepted_socket(factory, connection)
            return
        await self._loop.connect_accepted_socket(
            factory,
            connection,
            ssl=context.current,
            ssl_handshake_timeout=max(deadline - self._loop.time(), _SHORTEST),
            ssl_shutdown_timeout=_UNBOUNDED_SHUTDOWN,
        )

    async def _readable(self, connection: socket.socket) -> None:
        """Wait until there is something to read."""
        ready: asyncio.Future[None] = self._loop.create_future()

        def set_ready() -> None:
            if not ready.done():
                ready.set_result(None)

        fd = connection.fileno()
        self._loop.add_reader(fd, set_ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(fd)

    def _warn(self, what: str) -> None:
        """Warn once: a proxy that is set up wrongly connects often."""
        if what not in self._warned and len(self._warned) < _AT_ONCE:
            self._warned.add(what)
            logs.warning(f"{what}; this is logged once")
