"""The lowest rates of request bodies and of responses: a slow client is cut, a slow app costs its client nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.apps import CONCURRENT, STREAMING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engines.apps import Exchange

Serve = Any
POST = b"POST /%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
GET = b"GET /%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
BIG = 8_000_000
#: Bytes per second, and seconds.
RATE, GRACE = 20_000, 0.3


async def app(exchange: Exchange) -> None:
    """Respond with the size of the body in X-Size; the path chooses how."""
    if exchange.path == "/late":
        await exchange.pause(3 * GRACE)
    size = ("X-Size", str(len(await exchange.read())))
    if exchange.path == "/file":
        await exchange.send_file(exchange.query)
    elif exchange.path == "/big":
        await exchange.begin(size)
        for _ in range(BIG // 100_000):
            await exchange.write(b"x" * 100_000)
        await exchange.end()
    elif exchange.path == "/large":
        await exchange.respond(b"x" * BIG, size)
    elif exchange.path == "/trickle":
        await exchange.begin(size)
        for _ in range(20):
            await exchange.write(b"x")
            await exchange.pause(GRACE / 5)
        await exchange.end()
    else:
        await exchange.respond(b"fine", size)


@pytest.fixture
def serve_rated(serve_app: Serve) -> Callable[..., Any]:
    """Serve the app with a lowest rate of both directions."""

    async def start(**limits: Any) -> Any:
        return await serve_app(app, **{"min_body_rate": RATE, "min_response_rate": RATE, "rate_grace": GRACE, **limits})

    return start


async def drip(writer: asyncio.StreamWriter, size: int, seconds: float, pause: float = 0.02) -> None:
    """Send ``size`` bytes in each turn until the time is over, or the server has closed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until and not writer.transport.is_closing():
        writer.write(b"x" * size)
        await asyncio.sleep(pause)


async def test_body_that_comes_too_slowly_is_refused(serve_rated: Serve) -> None:
    served = await serve_rated()
    reader, writer = await served.connect()
    writer.write(POST % (b"", 1_000_000))
    dripping = asyncio.ensure_future(drip(writer, 1, 5))
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    dripping.cancel()
    assert raw.startswith(b"HTTP/1.1 408 ")
    writer.close()
    assert served.errors == []


async def test_body_that_comes_fast_enough_is_taken_however_long_it_takes(serve_rated: Serve) -> None:
    served = await serve_rated(min_body_rate=2000)
    reader, writer = await served.connect()
    writer.write(POST % (b"", 20_000))
    for _ in range(40):
        writer.write(b"x" * 500)
        await asyncio.sleep(GRACE / 10)
    assert b"x-size: 20000\r\n" in (await asyncio.wait_for(reader.read(), 5)).lower()
    writer.close()


async def test_body_is_as_slow_as_its_client_wants_where_no_rate_is_asked(serve_rated: Serve) -> None:
    served = await serve_rated(min_body_rate=0)
    reader, writer = await served.connect()
    writer.write(POST % (b"", 20))
    await drip(writer, 1, 4 * GRACE, 0.1)
    writer.write(b"x" * 20)
    assert b"x-size: 20\r\n" in (await asyncio.wait_for(reader.read(), 5)).lower()
    writer.close()


@pytest.mark.parametrize("kind", STREAMING)
async def test_app_that_reads_late_is_none_of_the_clients_faults(serve_rated: Serve) -> None:
    served = await serve_rated()
    reader, writer = await served.connect()
    writer.write(POST % (b"late", 1000))
    writer.write(b"x" * 999)
    await asyncio.sleep(3 * GRACE)
    writer.write(b"x")
    assert b"x-size: 1000\r\n" in (await asyncio.wait_for(reader.read(), 5)).lower()
    writer.close()


async def test_waiting_for_one_body_does_not_count_for_the_next(serve_rated: Serve) -> None:
    served = await serve_rated()
    reader, writer = await served.connect()
    for _ in range(6):
        writer.write(POST.replace(b"Connection: close\r\n", b"") % (b"", 2))
        await asyncio.sleep(GRACE / 2)
        writer.write(b"xx")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(4)
    writer.close()


async def small_reader(served: Any) -> socket.socket:
    """Connect with a receive buffer so small that the server sees each read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", served.port))
    return client


async def read_slowly(client: socket.socket) -> None:
    """Read 2000 bytes at a time until the end, for some seconds at most."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while await loop.sock_recv(client, 2000):  # noqa: ASYNC110 - the pause is the test
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", ["big", "large", "file"])
async def test_client_that_takes_too_little_of_its_answer_is_cut(serve_rated: Serve, path: str, tmp_path: Path) -> None:
    served = await serve_rated(min_response_rate=50_000_000)
    if path == "file":
        (tmp_path / "big").write_bytes(b"x" * BIG)
        path += f"?{tmp_path / 'big'}"
    loop = asyncio.get_running_loop()
    with await small_reader(served) as client:
        await loop.sock_sendall(client, GET % path.encode())
        with pytest.raises(ConnectionResetError):
            await read_slowly(client)
    assert served.errors == []


@pytest.mark.parametrize("path", ["big", "large", "file"])
async def test_client_that_takes_enough_gets_all(serve_rated: Serve, path: str, tmp_path: Path) -> None:
    """It takes nothing for longer than the grace, then by the megabyte."""
    served = await serve_rated()
    if path == "file":
        (tmp_path / "big").write_bytes(b"x" * BIG)
        path += f"?{tmp_path / 'big'}"
    reader, writer = await served.connect()
    writer.write(GET % path.encode())
    size = 0
    for _ in range(3):
        writer.transport.pause_reading()
        await asyncio.sleep(2 * GRACE)
        writer.transport.resume_reading()
        size += (await reader.read(2_000_000)).count(b"x")
    while data := await asyncio.wait_for(reader.read(1_000_000), 5):
        size += data.count(b"x")
    assert size >= BIG
    writer.close()
    assert served.errors == []


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_app_that_produces_slowly_is_none_of_the_clients_faults(serve_rated: Serve) -> None:
    served = await serve_rated(min_response_rate=50_000_000)
    reader, writer = await served.connect()
    writer.write(GET % b"trickle")
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"0\r\n\r\n")
    writer.close()
