"""How an ASGI instance stops: nothing that has begun is lost, nothing holds it for ever."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def answer(send: Any, body: bytes = b"fine", *, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_stop_answers_what_has_begun_and_closes_the_rest(serve: Serve) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        if scope["path"] == "/slow":
            started.set()
            await gate.wait()
        await answer(send)

    served = await serve(app)
    idle_reader, idle = await served.connect()
    idle.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await idle_reader.readuntil(b"fine")
    loop = asyncio.get_running_loop()
    late = socket.create_connection(("127.0.0.1", served.port))
    late.setblocking(False)
    await loop.sock_sendall(late, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await loop.sock_recv(late, 4096)).endswith(b"fine")
    silent_reader, silent = await served.connect()
    reader, writer = await served.connect()
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /piped HTTP/1.1\r\nHost: a\r\n\r\n")
    await started.wait()
    fresh = socket.create_connection(("127.0.0.1", served.port))  # accepted by the kernel, perhaps not by us
    await asyncio.sleep(0.01)
    late.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # in the buffer when the stop begins
    stopping = asyncio.create_task(served.stop(5))
    assert (await asyncio.wait_for(loop.sock_recv(late, 4096), 2)).endswith(b"fine")
    assert await idle_reader.read() == b""
    fresh.setblocking(False)
    await loop.sock_sendall(fresh, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"connection: close" in await asyncio.wait_for(loop.sock_recv(fresh, 4096), 2)
    assert await asyncio.wait_for(silent_reader.read(), 2) == b""
    assert not stopping.done()
    gate.set()
    raw = await reader.read()
    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert raw.count(b"connection: close") == 1
    await stopping
    for one in (fresh, idle, late, silent, writer):
        one.close()


async def test_stop_cuts_what_outlives_the_grace(serve: Serve) -> None:
    cancelled = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    served = await serve(app)
    reader, writer = await served.connect()
    writer.write(GET)
    await asyncio.sleep(0.01)
    await served.stop(0.05)
    assert cancelled.is_set()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert served.errors == []
    writer.close()


async def test_app_that_never_waits_leaves_others_their_turn_and_can_be_stopped(serve: Serve) -> None:
    """An endless answer to a fast reader, an endless answer to nobody: neither holds the loop."""
    started = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        if scope["path"] == "/":
            await answer(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            started.set()
            await send({"type": "http.response.body", "body": b"", "more_body": True})

    served = await serve(app)
    _, writer = await served.connect()
    writer.write(GET.replace(b"/ ", b"/endless ", 1))
    await started.wait()
    assert (await served.talk(GET)).endswith(b"fine")
    async with asyncio.timeout(3):
        await served.stop(0.05)
    writer.close()


async def test_abort_leaves_a_stop_nothing_to_wait_for(serve: Serve) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()

    served = await serve(app)
    _, writer = await served.connect()
    writer.write(GET)
    await asyncio.sleep(0.01)
    stopping = asyncio.create_task(served.stop(1000))
    await asyncio.sleep(0.01)
    served.engine.abort()
    await asyncio.wait_for(stopping, 3)
    writer.close()


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("when", ["before", "behind", "during"])
async def test_stop_declines_a_handshake_that_the_app_has_not_answered(serve: Serve, when: str) -> None:
    """At once: the app is told that the client has gone, the client that it may try again elsewhere.

    The handshake was sent before the stop, behind a request that is being answered, or comes on a connection that was
    accepted before.
    """
    told: list[Any] = []
    asked, gate = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] != "lifespan"
        asked.set()
        if scope["type"] == "http":
            await gate.wait()
            await answer(send)
            return
        assert (await receive())["type"] == "websocket.connect"
        told.append(await receive())
        with pytest.raises(OSError, match="client"):
            await send({"type": "websocket.accept"})

    served = await serve(app)
    reader, writer = await served.connect()
    if when == "before":
        writer.write(HANDSHAKE)
        await asked.wait()
    elif when == "behind":
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + HANDSHAKE)
        await asked.wait()
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping = asyncio.create_task(served.stop(8))
    if when == "during":
        await asyncio.sleep(0.05)
        writer.write(HANDSHAKE)
    gate.set()
    raw = await asyncio.wait_for(reader.read(), 5)
    await stopping
    assert loop.time() - began < 4
    head = raw[raw.rindex(b"HTTP/1.1 ") :]
    if when == "behind":  # the answer before it may say that it is the last one
        assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))
    else:
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in head
    gone = [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert told == gone if when == "before" else told in ([], gone)
    assert served.errors == []
    writer.close()
