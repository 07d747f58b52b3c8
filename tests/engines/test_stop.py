"""How a server of each kind of app stops: nothing that has begun is lost, nothing holds it for ever."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.apps import CONCURRENT, PATIENCE
from tests.engines.conftest import until
from tests.engines.wire import HELLO, LAST, bodies, responses

if TYPE_CHECKING:
    from tests.engines.apps import Exchange, Gate

Serve = Any


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_stop_answers_what_has_begun_and_closes_the_rest(serve_app: Serve, gate: Gate) -> None:
    async def app(exchange: Exchange) -> None:
        if exchange.path == "/slow":
            await exchange.hold(gate)
        await exchange.respond(b"fine")

    served = await serve_app(app)
    idle_reader, idle = await served.connect()
    idle.write(HELLO)
    await idle_reader.readuntil(b"fine")
    loop = asyncio.get_running_loop()
    late = socket.create_connection(("127.0.0.1", served.port))
    late.setblocking(False)
    await loop.sock_sendall(late, HELLO)
    assert (await loop.sock_recv(late, 4096)).endswith(b"fine")
    silent_reader, silent = await served.connect()
    reader, writer = await served.connect()
    writer.write(HELLO.replace(b"/ ", b"/slow ", 1) + HELLO)
    await gate.reached()
    connections = len(served.engine.connections)
    fresh = socket.create_connection(("127.0.0.1", served.port))
    await until(lambda: len(served.engine.connections) > connections)
    late.send(HELLO)  # in the buffer when the stop begins
    stopping = asyncio.create_task(served.stop(5))
    assert (await asyncio.wait_for(loop.sock_recv(late, 4096), 2)).endswith(b"fine")
    assert await asyncio.wait_for(idle_reader.read(), 2) == b""
    fresh.setblocking(False)
    await loop.sock_sendall(fresh, HELLO)
    assert b"connection: close" in await asyncio.wait_for(loop.sock_recv(fresh, 4096), 2)
    assert await asyncio.wait_for(silent_reader.read(), 2) == b""
    assert not stopping.done()
    gate.open()
    first, second = responses(await reader.read())
    assert (first.status, second.status) == (200, 200)
    assert (first.fields.get(b"connection"), second.fields.get(b"connection")) == (None, b"close")
    await stopping
    for one in (fresh, idle, late, silent, writer):
        one.close()


async def test_stop_lets_an_upload_under_way_come_to_its_end(serve_app: Serve) -> None:
    async def measure(exchange: Exchange) -> None:
        await exchange.respond(b"%d" % len(await exchange.read()))

    served = await serve_app(measure)
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
    await until(lambda: served.engine.running)
    stop = asyncio.create_task(served.stop(PATIENCE))
    await until(lambda: served.engine.stopping)
    writer.write(bytes(1_500_000))
    writer.write(bytes(1_500_000))
    assert bodies(await asyncio.wait_for(reader.read(), PATIENCE)) == [b"3000000"]
    await stop
    assert served.errors == []
    writer.close()


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_stop_cuts_what_outlives_the_grace(serve_app: Serve, gate: Gate) -> None:
    ended = asyncio.Event()

    async def app(exchange: Exchange) -> None:
        try:
            await exchange.hold(gate)
        finally:
            ended.set()

    served = await serve_app(app)
    reader, writer = await served.connect()
    writer.write(LAST)
    await gate.reached()
    async with asyncio.timeout(3):
        await served.stop(0.05)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert served.errors == []
    gate.open()
    await until(ended.is_set)
    writer.close()


@pytest.mark.parametrize("kind", ["asgi", "threads", "inline"])  # what aiohttp writes waits for a full buffer alone
async def test_app_that_never_waits_leaves_others_their_turn_and_can_be_stopped(serve_app: Serve) -> None:
    """An endless response of empty pieces does not hold the loop."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def app(exchange: Exchange) -> None:
        if exchange.path == "/":
            await exchange.respond(b"fine")
            return
        await exchange.begin()
        loop.call_soon_threadsafe(begun.set)
        while True:
            await exchange.write(b"")

    served = await serve_app(app)
    _, writer = await served.connect()
    writer.write(LAST.replace(b"/ ", b"/endless ", 1))
    await begun.wait()
    assert (await served.talk(LAST)).endswith(b"fine")
    async with asyncio.timeout(3):
        await served.stop(0.05)
    writer.close()


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_abort_leaves_a_stop_nothing_to_wait_for(serve_app: Serve, gate: Gate) -> None:
    async def app(exchange: Exchange) -> None:
        await exchange.hold(gate)

    served = await serve_app(app)
    _, writer = await served.connect()
    writer.write(LAST)
    await gate.reached()
    stopping = asyncio.create_task(served.stop(1000))
    await until(lambda: served.engine.stopping)
    served.engine.abort()
    await asyncio.wait_for(stopping, 3)
    writer.close()


# ---- handshakes of websockets, which an ASGI app answers when it likes

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("when", ["before", "behind", "during"])
async def test_stop_declines_a_handshake_that_the_app_has_not_answered(serve: Serve, when: str) -> None:
    """At once: the app gets a disconnect, the client a 503.

    The handshake was sent before the stop, behind a request that is being answered, or comes on a connection that was
    accepted before.
    """
    events: list[Any] = []
    asked, gate = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] != "lifespan"
        asked.set()
        if scope["type"] == "http":
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"fine"})
            return
        assert (await receive())["type"] == "websocket.connect"
        events.append(await receive())
        with pytest.raises(OSError, match="client"):
            await send({"type": "websocket.accept"})

    served = await serve(app)
    reader, writer = await served.connect()
    if when == "before":
        writer.write(HANDSHAKE)
        await asked.wait()
    elif when == "behind":
        writer.write(HELLO + HANDSHAKE)
        await asked.wait()
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping = asyncio.create_task(served.stop(8))
    if when == "during":
        await until(lambda: served.engine.stopping)
        writer.write(HANDSHAKE)
    gate.set()
    raw = await asyncio.wait_for(reader.read(), 5)
    await stopping
    assert loop.time() - began < 4
    head = raw[raw.rindex(b"HTTP/1.1 ") :]
    if when == "behind":  # the response before it may say that it is the last one
        assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))
    else:
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in head
    gone = [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert events == gone if when == "before" else events in ([], gone)
    assert served.errors == []
    writer.close()
