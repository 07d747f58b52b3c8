"""The time of each part of a conversation, for every kind of app: head, body, pause between requests, response."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.apps import CONCURRENT, PATIENCE, STREAMING, file_of_zeros
from tests.engines.conftest import until
from tests.engines.wire import CHUNKED, HELLO, LAST, bodies, responses, statuses

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engines.apps import Exchange, Gate

Serve = Any
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
#: Seconds: a time-out that a test waits for, and one that it never sees.
SOON, LATE = 0.05, 1000.0
TIMES = ("timeout_header", "timeout_body", "timeout_write", "timeout_keep_alive")


@pytest.fixture
def serve_timed(serve_app: Serve) -> Callable[..., Any]:
    """Serve a handler with no other time-outs than those that a test names."""

    async def start(*handler: Any, **options: Any) -> Any:
        return await serve_app(*handler, **{**dict.fromkeys(TIMES, LATE), **options})

    return start


# ---- the head


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r"])
@pytest.mark.parametrize("before", [b"", HELLO])
async def test_head_that_does_not_come_is_answered_408(serve_timed: Serve, before: bytes, begun: bytes) -> None:
    served = await serve_timed(timeout_header=SOON)
    raw = await served.talk(before + begun)
    assert statuses(raw) == [200] * bool(before) + [408]
    assert raw.endswith(b"\r\n\r\nRequest Timeout\n")


async def test_head_that_comes_byte_by_byte_has_no_more_time(serve_timed: Serve) -> None:
    served = await serve_timed(timeout_header=0.2)
    reader, writer = await served.connect()

    async def drip() -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        while not reader.at_eof():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    raw = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    await dripping
    assert statuses(raw) == [408]


async def test_silent_client_is_left_after_the_time_for_a_head(serve_timed: Serve) -> None:
    served = await serve_timed(timeout_header=SOON)
    assert await served.talk() == b""


# ---- between requests


async def test_idle_connection_is_closed_after_keep_alive(serve_timed: Serve) -> None:
    served = await serve_timed(timeout_keep_alive=SOON)
    (response,) = responses(await served.talk(HELLO))
    assert b"connection" not in response.fields


async def test_head_is_not_cut_by_keep_alive(serve_timed: Serve) -> None:
    served = await serve_timed(timeout_keep_alive=SOON)
    reader, writer = await served.connect()
    writer.write(HELLO + LAST[:10])
    await reader.readuntil(b"GET /? ")
    await asyncio.sleep(SOON * 4)
    writer.write(LAST[10:])
    assert statuses(await reader.read()) == [200]
    writer.close()


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_slow_request_is_not_cut_by_keep_alive(serve_timed: Serve, gate: Gate) -> None:
    async def slow(exchange: Exchange) -> None:
        if exchange.path == "/slow":
            await exchange.hold(gate)
        await exchange.respond(b"x")

    served = await serve_timed(slow, timeout_keep_alive=SOON)
    reader, writer = await served.connect()
    writer.write(HELLO + LAST.replace(b"/ ", b"/slow ", 1))
    await gate.reached()
    await asyncio.sleep(SOON * 4)
    gate.open()
    assert bodies(await reader.read()) == [b"x"] * 2
    writer.close()


async def test_keep_alive_of_nought_closes_behind_the_last_pipelined_request(serve_timed: Serve) -> None:
    served = await serve_timed(timeout_keep_alive=0)
    first, second = responses(await served.talk(HELLO + HELLO))
    assert (first.fields.get(b"connection"), second.fields.get(b"connection")) == (None, b"close")


# ---- the body


@pytest.mark.parametrize("begun", [POST, CHUNKED + b"5\r\n"], ids=["length", "chunks"])
async def test_body_that_stalls_is_answered_408(serve_timed: Serve, begun: bytes) -> None:
    served = await serve_timed(timeout_body=SOON)
    assert statuses(await served.talk(begun, b"abc")) == [408]
    assert served.errors == []


@pytest.mark.parametrize("kind", STREAMING)
async def test_response_that_waits_for_a_stalled_body_is_cut(serve_timed: Serve) -> None:
    async def mirror(exchange: Exchange) -> None:
        await exchange.begin()
        async for piece in exchange.pieces():
            await exchange.write(piece)
        await exchange.end()

    served = await serve_timed(mirror, timeout_body=SOON)
    assert (await served.talk(POST, b"abc")).endswith(b"3\r\nabc\r\n")


@pytest.mark.parametrize("kind", STREAMING)
async def test_body_may_stall_while_the_app_does_not_wait_for_it(serve_timed: Serve, gate: Gate) -> None:
    async def late(exchange: Exchange) -> None:
        await exchange.hold(gate)
        await exchange.respond(await exchange.read())

    served = await serve_timed(late, timeout_body=SOON)
    reader, writer = await served.connect()
    writer.write(POST + b"abc")
    await gate.reached()
    await asyncio.sleep(SOON * 4)
    writer.write(b"de")
    gate.open()
    assert (await reader.readuntil(b"abcde")).startswith(b"HTTP/1.1 200 ")
    writer.close()


# ---- the response


async def flood(exchange: Exchange) -> None:
    await exchange.begin()
    while True:
        await exchange.write(bytes(65_536))


async def big(exchange: Exchange) -> None:
    await exchange.respond(bytes(20_000_000))


async def file(exchange: Exchange) -> None:
    await exchange.send_file(exchange.query)


@pytest.mark.parametrize("handler", [flood, big, file])
async def test_client_that_takes_nothing_is_cut(serve_timed: Serve, handler: Any, tmp_path: Path) -> None:
    served = await serve_timed(handler, timeout_write=SOON)
    target = f"/?{file_of_zeros(tmp_path / 'file', 100_000_000)}".encode()
    _, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(LAST.replace(b"/", target, 1))
    await until(lambda: served.engine.connections)
    await until(lambda: not served.engine.connections)
    writer.transport.abort()
    assert served.errors == []


async def test_client_that_takes_little_by_little_gets_everything(serve_timed: Serve) -> None:
    served = await serve_timed(big, timeout_write=2)
    reader, writer = await served.connect()
    writer.write(LAST)
    taken = 0
    while piece := await asyncio.wait_for(reader.read(1_000_000), PATIENCE):
        taken += len(piece)
        writer.transport.pause_reading()
        await asyncio.sleep(0.01)
        writer.transport.resume_reading()
    assert taken > 20_000_000
    writer.close()
