"""Part of a file to a client, by sendfile(2) where the transport allows it, without a thread.

asyncio's own ``loop.sendfile`` is none of uvloop's, and no transport lets others write to its socket; so a duplicate of
its descriptor is written, once all is sent that the transport held before.
"""

from __future__ import annotations

import asyncio
import os

from arun.core.values import Value
from arun.http.exchange import ClientDisconnected
from arun.http.unsent import taken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.http.pace import Rate

__all__ = ("Patience", "send_file")

#: Bytes sent or copied before other connections get their turn.
_TURN = 1_048_576
_COPIED = 65_536
#: Seconds between two looks at a transport that still has something to send.
_SHORTEST, _LONGEST = 0.001, 0.05
#: Seconds between two looks at a socket that the kernel is asked about.
_LOOK = 0.5


class Patience(Value):
    """How long a client is waited for: ``stall`` seconds in which it takes nothing (0: for ever), and its lowest rate."""

    stall: float
    rate: Rate

    @property
    def look(self) -> float:
        """Seconds between two looks at what it has taken."""
        return min(seconds for seconds in (_LOOK, self.stall / 4, self.rate.grace / 4) if seconds > 0)


async def send_file(transport: asyncio.Transport, file: int, offset: int, count: int, patience: Patience) -> int:
    """Send ``count`` bytes of the open file ``file`` from ``offset`` on; nobody else may write meanwhile.

    Returns how many were sent: fewer than ``count`` only where the file ends before. With TLS, and for files the
    kernel cannot send, they are read and written. Cancelling stops it in the middle.

    Raises:
        ClientDisconnected: the client has gone.
        TimeoutError: the client took less than ``patience`` allows.
        OSError: the file cannot be read.
    """
    await _taken(transport, 0, patience)
    own = transport.get_extra_info("socket")
    sent = 0
    if own is not None and transport.get_extra_info("sslcontext") is None:
        socket = os.dup(own.fileno())
        try:
            sent = await _by_kernel(transport, socket, (file, offset, count), patience)
        finally:
            os.close(socket)
    return sent + await _by_copy(transport, (file, offset + sent, count - sent), patience)


async def _by_kernel(transport: asyncio.Transport, socket: int, part: tuple[int, int, int], patience: Patience) -> int:
    """Send as much as sendfile(2) does; nothing if this file is none for it."""
    file, offset, count = part
    sent = 0
    while sent < count:
        if transport.is_closing():
            raise ClientDisconnected("the client has gone")
        try:
            done = os.sendfile(socket, file, offset + sent, min(_TURN, count - sent))
        except BlockingIOError:
            await _writable(transport, socket, patience)
            continue
        except ConnectionError as exc:
            raise ClientDisconnected("the client has gone") from exc
        except OSError:
            return sent  # reading tells whose fault it is
        if not done:
            break
        sent += done
        await asyncio.sleep(0)
    return sent


async def _by_copy(transport: asyncio.Transport, part: tuple[int, int, int], patience: Patience) -> int:
    file, offset, count = part
    sent = 0
    while sent < count and (data := os.pread(file, min(_COPIED, count - sent), offset + sent)):
        transport.write(data)
        sent += len(data)
        await asyncio.sleep(0)
        await _taken(transport, _COPIED, patience)
    return sent


async def _writable(transport: asyncio.Transport, socket: int, patience: Patience) -> None:
    """Wait until the kernel takes more, as long as the client takes something of what the kernel has."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.add_writer(socket, _set, waiter)
    wait = _Wait(transport, patience)
    try:
        while not waiter.done():
            await asyncio.wait((waiter,), timeout=patience.look)
            if transport.is_closing():
                raise ClientDisconnected("the client has gone")  # which the kernel does not tell of what we have cut
            if not waiter.done():
                wait.look()
    finally:
        loop.remove_writer(socket)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _taken(transport: asyncio.Transport, most: int, patience: Patience) -> None:
    """Wait until the transport holds ``most`` bytes or fewer; it tells that to its protocol only, so it is asked."""
    wait, pause = _Wait(transport, patience), 0.0
    while transport.get_write_buffer_size() > most:
        await asyncio.sleep(pause)
        if transport.is_closing():
            raise ClientDisconnected("the client has gone")
        wait.look()
        pause = min(_LONGEST, pause * 2 or _SHORTEST)


class _Wait:
    """One wait for a client to take what it was sent."""

    def __init__(self, transport: asyncio.Transport, patience: Patience) -> None:
        self._transport = transport
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._since = self._begin = self._loop.time()
        self._figure = taken(transport)
        self._moved = 0

    def look(self) -> None:
        """Look whether the client takes something.

        Raises:
            TimeoutError: it has taken nothing for too long, or too little.
        """
        now, before = self._loop.time(), self._figure
        self._figure = figure = taken(self._transport)
        if figure != before:
            self._since = now
            self._moved += max(0, figure - before)
            if self._patience.rate.is_missed(now - self._begin, self._moved):
                raise TimeoutError
        elif 0 < self._patience.stall <= now - self._since:
            raise TimeoutError
