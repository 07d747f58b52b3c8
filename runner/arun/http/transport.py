"""What the server does with a connection's socket beneath its transport: ask after the client, half-close, reset, sendfile.

asyncio's own ``loop.sendfile`` is missing in uvloop, and no transport lets others write to its socket; so a file is written to
a duplicate of the descriptor, once everything is sent that the transport held before.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys

from arun.core.genuine import POLLERR, POLLHUP, poll
from arun.http.errors import ClientDisconnected
from arun.http.pace import Pace, Rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

    from arun.http.options import HttpOptions

__all__ = (
    "GONE",
    "HALF_CLOSED",
    "STAYS",
    "Uptake",
    "client_end",
    "half_close",
    "keep_asking",
    "let_reset",
    "send_part",
    "taken",
    "unsent",
)

#: What is left of a client: it may still send, it has closed its sending side, or it is gone.
STAYS, HALF_CLOSED, GONE = range(3)

#: The event of poll(2) for a client that has closed its sending side; Linux has it.
_FINISHED = getattr(select, "POLLRDHUP", 0)
_LINUX = sys.platform.startswith("linux")
#: The place of tcpi_bytes_acked in struct tcp_info (linux/tcp.h, since Linux 4.1), and its size.
_ACKED, _ACKED_SIZE = 120, 8
#: struct linger: on, 0 seconds.
_RESET = (1).to_bytes(4, sys.byteorder) + bytes(4)
#: Bytes sent or copied before other connections get their turn.
_TURN = 1_048_576
_COPIED = 65_536
#: Seconds between two looks at a transport that still has something to send.
_SHORTEST, _LONGEST = 0.001, 0.05
#: Seconds between two looks at a socket that the kernel is asked about.
_LOOK = 0.5


# ---- the client


def unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that wait in the transport and, where the system counts them, in the kernel (tcp(7), SIOCOUTQ).

    The kernel keeps megabytes and asks for more only when a third of them is gone: without its part, nothing of sendfile
    would be seen. What waits below a TLS transport is not counted; while there is any, the kernel has some too.
    """
    waiting = transport.get_write_buffer_size()
    own = transport.get_extra_info("socket")
    if own is None or not _LINUX:
        return waiting
    return waiting + _asked(own, "TIOCOUTQ")


def taken(transport: asyncio.Transport) -> int:
    """Return a figure that changes when the client has taken something: bytes, counted from an unknown start.

    It is what the client's side has acknowledged (tcp(7), TCP_INFO). Where the system does not count that, and on unix
    sockets, it is what is left to be taken.
    """
    own = transport.get_extra_info("socket")
    if own is not None and _LINUX:
        try:
            info = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED + _ACKED_SIZE)
        except OSError:  # a unix socket, or closed already
            pass
        else:
            if len(info) == _ACKED + _ACKED_SIZE:
                return int.from_bytes(info[_ACKED:], sys.byteorder)
    return -unsent(transport)


class Uptake:
    """How a client takes what it was sent, as long as it is waited for."""

    __slots__ = ("_pace", "_taken", "_transport")

    def __init__(self, transport: asyncio.Transport, rate: Rate) -> None:
        self._transport = transport
        self._pace = Pace(rate)
        self._taken: int | None = None

    def look(self, now: float) -> tuple[bool, bool]:
        """Return whether the client has taken something since the last look, and whether that is too little.

        The rate counts when something was taken: a client that reads by the megabyte takes nothing in between.
        """
        before, self._taken = self._taken, taken(self._transport)
        if before is None:
            self._pace.look(now, 0)
            return True, False
        moved = max(0, self._taken - before)
        is_slow = self._pace.look(now, self._pace.moved + moved)
        return self._taken != before, is_slow and moved > 0


def client_end(transport: asyncio.Transport) -> int:
    """Return what is left of a client, though nothing is read from it: STAYS, HALF_CLOSED or GONE.

    On TCP, a client that has closed both sides looks half-closed until something is sent to it, which it answers with a
    reset (RFC 9293 section 3.6.1).
    """
    own = transport.get_extra_info("socket")
    if own is None:
        return STAYS
    looked = poll()
    try:
        looked.register(own.fileno(), _FINISHED)  # errors and hang-ups are always reported
    except (OSError, ValueError):
        return STAYS  # closed by us
    events = sum(bits for _, bits in looked.poll(0))
    if events & POLLERR or (events & POLLHUP and not _asked(own, "FIONREAD")):
        return GONE
    return HALF_CLOSED if events & _FINISHED else STAYS


def keep_asking(transport: asyncio.Transport, seconds: int) -> None:
    """Have the kernel probe a TCP client that is silent for so long (tcp(7), SO_KEEPALIVE)."""
    own = transport.get_extra_info("socket")
    if own is None or own.family == socket.AF_UNIX or not hasattr(socket, "TCP_KEEPIDLE"):
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)


def _asked(own: TransportSocket, request: str) -> int:
    """Ask a socket for a number (ioctl(2)); 0 if it is closed already, or the modules for it cannot be imported."""
    try:
        import termios
        from fcntl import ioctl

        return int.from_bytes(ioctl(own.fileno(), getattr(termios, request), bytes(4)), sys.byteorder)
    except (OSError, ImportError):
        return 0


# ---- the end


def half_close(transport: asyncio.Transport) -> bool:
    """Close our side; return False where that is impossible: asyncio has no half-closed TLS, and the client may be gone."""
    try:
        if can := transport.can_write_eof():
            transport.write_eof()
    except OSError:
        return False
    return can


def let_reset(transport: asyncio.Transport) -> None:
    """Let a TCP connection end with a reset: a plain end could pass for the end of a response (socket(7), SO_LINGER)."""
    own = transport.get_extra_info("socket")
    if own is not None and own.family != socket.AF_UNIX:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


# ---- files


async def send_part(transport: asyncio.Transport, file: int, offset: int, count: int, options: HttpOptions) -> int:
    """Send ``count`` bytes of the open file ``file`` from ``offset`` on, by sendfile(2) where the transport allows it.

    Nothing else may write meanwhile. Returns how many bytes were sent: fewer than ``count`` only where the file ends before.
    With TLS, and for files the kernel cannot send, they are read and written. Cancelling stops it in the middle.

    Raises:
        ClientDisconnected: the client has gone.
        TimeoutError: the client took nothing for ``timeout_write``, or less than ``min_response_rate``.
        OSError: the file cannot be read.
    """
    await _drained(transport, 0, options)
    own = transport.get_extra_info("socket")
    sent = 0
    if own is not None and transport.get_extra_info("sslcontext") is None:
        duplicate = os.dup(own.fileno())
        try:
            sent = await _by_kernel(transport, duplicate, (file, offset, count), options)
        finally:
            os.close(duplicate)
    return sent + await _by_copy(transport, (file, offset + sent, count - sent), options)


async def _by_kernel(
    transport: asyncio.Transport, duplicate: int, part: tuple[int, int, int], options: HttpOptions
) -> int:
    """Send as much as sendfile(2) does; nothing if it cannot send this file."""
    file, offset, count = part
    sent = 0
    while sent < count:
        if transport.is_closing():
            raise ClientDisconnected("the client has gone")
        try:
            done = os.sendfile(duplicate, file, offset + sent, min(_TURN, count - sent))
        except BlockingIOError:
            await _writable(transport, duplicate, options)
            continue
        except ConnectionError as exc:
            raise ClientDisconnected("the client has gone") from exc
        except OSError:
            return sent  # reading shows whose fault it is
        if not done:
            break
        sent += done
        await asyncio.sleep(0)
    return sent


async def _by_copy(transport: asyncio.Transport, part: tuple[int, int, int], options: HttpOptions) -> int:
    file, offset, count = part
    sent = 0
    while sent < count and (data := os.pread(file, min(_COPIED, count - sent), offset + sent)):
        transport.write(data)
        sent += len(data)
        await asyncio.sleep(0)
        await _drained(transport, _COPIED, options)
    return sent


async def _writable(transport: asyncio.Transport, duplicate: int, options: HttpOptions) -> None:
    """Wait until the kernel takes more, as long as the client takes something of what the kernel has."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.add_writer(duplicate, _set, waiter)
    wait = _Wait(transport, options)
    try:
        while not waiter.done():
            await asyncio.wait((waiter,), timeout=wait.pause)
            if transport.is_closing():
                raise ClientDisconnected("the client has gone")  # the kernel does not report what we have cut
            if not waiter.done():
                wait.look()
    finally:
        loop.remove_writer(duplicate)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _drained(transport: asyncio.Transport, most: int, options: HttpOptions) -> None:
    """Wait until the transport holds ``most`` bytes or fewer; it notifies only its protocol of that, so it is polled."""
    if transport.get_write_buffer_size() <= most:
        return
    wait, pause = _Wait(transport, options), 0.0
    while transport.get_write_buffer_size() > most:
        await asyncio.sleep(pause)
        if transport.is_closing():
            raise ClientDisconnected("the client has gone")
        wait.look()
        pause = min(_LONGEST, pause * 2 or _SHORTEST)


class _Wait:
    """One wait for a client to take what it was sent."""

    def __init__(self, transport: asyncio.Transport, options: HttpOptions) -> None:
        self._transport = transport
        self._stall = options.timeout_write
        self._rate = Rate(options.min_response_rate, options.rate_grace)
        #: Seconds between two looks.
        self.pause = min(seconds for seconds in (_LOOK, self._stall / 4, options.rate_grace / 4) if seconds > 0)
        self._loop = asyncio.get_running_loop()
        self._since = self._started = self._loop.time()
        self._figure = taken(transport)
        self._moved = 0

    def look(self) -> None:
        """Check whether the client takes something.

        Raises:
            TimeoutError: it has taken nothing for too long, or too little.
        """
        now, before = self._loop.time(), self._figure
        self._figure = figure = taken(self._transport)
        if figure != before:
            self._since = now
            self._moved += max(0, figure - before)
            if self._rate.is_missed(now - self._started, self._moved):
                raise TimeoutError
        elif 0 < self._stall <= now - self._since:
            raise TimeoutError
