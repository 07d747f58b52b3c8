"""The memory part of chaos.py: large answers, polls for a departure and aborted websockets, and what stays of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass

import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Do = Callable[[int, int], AbstractAsyncContextManager[None]]

__all__ = ("LIMIT", "Counts", "Kept", "run")

#: kB that a process may have gained by all repetitions of one thing: what the allocator keeps for a message of each connection.
LIMIT = 5120
#: Connections at the same time, bytes that a client reads at once, and seconds that anything may take.
_AT_ONCE, _READ, _LIMIT = 4, 1 << 20, 300.0
#: Seconds between two looks, and those for which the memory must not shrink any more.
_LOOK, _SETTLED = 0.1, 1.0
_HEAD = "GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
#: A binary message of 1 MiB that does not end: first of its fragments, masked with zeros (RFC 6455 section 5.2).
_FRAGMENT = b"\x02\xff" + (1 << 20).to_bytes(8, "big") + bytes(4) + b"m" * (1 << 20)


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each thing is done."""

    answers: int
    polls: int
    websockets: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done how often, and the kB of resident memory of the process before and after."""

    what: str
    times: int
    before: int
    after: int


async def run(kind: str, command: Sequence[str], folder: str, counts: Counts) -> list[Kept]:
    """Start an instance of one process and do everything to it that this kind of app has.

    Raises:
        SystemExit: the instance did not do it.
    """
    port, log = instances.free_port(), os.path.join(folder, "memory.log")
    kept = []
    with instances.started([*command, "--bind", f"127.0.0.1:{port}"], folder, log) as (process, _):
        try:
            instances.first_answer(process, port, _LIMIT)
            async with asyncio.timeout(_LIMIT):
                for what, do, times in _things(kind, counts):
                    async with do(port, times):  # buffers, arenas and caches have their size then
                        before = await _settled(process.pid)
                    async with do(port, times):
                        kept.append(Kept(what, times, before, await _settled(process.pid)))
        except (OSError, ValueError) as error:
            raise SystemExit(f"memory: {error!r}\n{instances.tail(log)}") from error
    return kept


def _things(kind: str, counts: Counts) -> list[tuple[str, Do, int]]:
    things: list[tuple[str, Do, int]] = []
    if counts.answers:
        things.append(("answers of 50 MB", _answers, counts.answers))
    if counts.polls and kind == "asgi":
        things.append(("polls of receive() in one request", _polls, counts.polls))
    if counts.websockets and kind != "wsgi":
        things.append(("websockets aborted in a message of 1 MiB", _websockets, counts.websockets))
    return things


@contextlib.asynccontextmanager
async def _answers(port: int, times: int) -> AsyncIterator[None]:
    """Read so many large answers whole."""
    await _repeat(times, lambda: _get(port, "/huge"))
    yield


@contextlib.asynccontextmanager
async def _polls(port: int, times: int) -> AsyncIterator[None]:
    """Let the app look so often for a departure within one request, which goes on until then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_HEAD.format(path=f"/poll?{times}", fields="").encode())
        await reader.readuntil(b"\r\n\r\n")
        yield
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def _websockets(port: int, times: int) -> AsyncIterator[None]:
    """Abort so many websockets in the midst of a message."""
    await _repeat(times, lambda: _abort_websocket(port))
    yield


async def _repeat(times: int, do: Callable[[], Awaitable[None]]) -> None:
    left = iter(range(times))

    async def some() -> None:
        for _ in left:
            await do()

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(some())


async def _get(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_READ)
    try:
        writer.write(_HEAD.format(path=path, fields="Connection: close\r\n").encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in head:
            raise ValueError(f"{path}: {head[:80]!r}")
        length = int(head.partition(b"content-length:")[2].split(None, 1)[0])
        while chunk := await reader.read(_READ):
            length -= len(chunk)
        if length:
            raise ValueError(f"{path}: {length} bytes are missing")
    finally:
        writer.transport.abort()


async def _abort_websocket(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_HEAD.format(path="/", fields=_UPGRADE).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise ValueError(f"no websocket: {head[:80]!r}")
        writer.write(_FRAGMENT)
        await writer.drain()
    finally:
        writer.transport.abort()


async def _settled(pid: int) -> int:
    """Return the resident memory, in kB, when it has stopped shrinking."""
    lowest, since = instances.rss(pid), time.monotonic()
    while time.monotonic() < since + _SETTLED:
        await asyncio.sleep(_LOOK)
        if (now := instances.rss(pid)) < lowest:
            lowest, since = now, time.monotonic()
    return lowest
