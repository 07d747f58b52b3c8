"""A connection without a socket: a protocol is fed with bytes, and what it writes is kept."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

__all__ = ("Memory", "converse")

#: Turns of the loop in which nothing happens before a conversation counts as at rest.
_REST = 6
_TURNS = 20_000


class Memory(asyncio.Transport):
    """The transport: pieces wait while reading is paused, and all that is written is taken at once."""

    def __init__(self, protocol: asyncio.Protocol, pieces: deque[bytes]) -> None:
        super().__init__()
        self._protocol = protocol
        self._pieces = pieces
        self._reading = True
        self.written = bytearray()
        self.closed = False
        self.wrote_eof = False

    # ---- what a protocol asks of a transport

    def write(self, data: Any) -> None:
        assert not self.wrote_eof, "written behind the end"
        if not self.closed:
            self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        self.wrote_eof = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading and not self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        ends = {"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 8_000)}
        return ends.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    # ---- what happens on the wire

    def deliver(self) -> bool:
        """Hand over the next piece, if the protocol reads, and say whether there was one."""
        if not self._pieces or not self.is_reading():
            return False
        self._protocol.data_received(self._pieces.popleft())
        return True


async def converse(factory: Any, pieces: list[bytes], *, half_close: bool = True) -> bytes:
    """Feed the pieces to a new connection, each as soon as it reads, end it, and return what it wrote.

    Raises:
        BaseException: whatever came out of the protocol.
    """
    waiting = deque(piece for piece in pieces if piece)
    protocol = factory()
    transport = Memory(protocol, waiting)
    protocol.connection_made(transport)
    await _rest(transport)
    if half_close and not transport.closed:
        if not protocol.eof_received():
            transport.close()
        await _rest(transport)
    transport.closed = True
    protocol.connection_lost(None)
    for _ in range(_REST):
        await asyncio.sleep(0)
    return bytes(transport.written)


async def _rest(transport: Memory) -> None:
    """Let the loop turn until neither side has anything to say."""
    still, before = 0, len(transport.written)
    for _ in range(_TURNS):
        delivered = transport.deliver()
        await asyncio.sleep(0)
        quiet = not delivered and len(transport.written) == before
        still, before = still + 1 if quiet else 0, len(transport.written)
        if still > _REST:
            return
    raise AssertionError("the conversation does not come to rest")
