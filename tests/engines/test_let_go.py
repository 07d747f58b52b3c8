"""What a client has sent is freed when it has gone, at once: the cyclic collector may not run for minutes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server, until, wsgi_server
from tests.engines.test_websocket_wire import DEFLATE, HEAD, masked
from tests.engines.wire import reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Serve = Any
KINDS = ("asgi", "threads", "inline", "aiohttp")
PIECE = bytes(range(256)) * 4_000
#: Bytes that a client may leave behind: what the loop and the allocator keep, and no piece of what it has sent.
LIMIT = 30_000
#: What a client sends before it goes.
UPLOADS = {
    "body": b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + PIECE,
    "chunks": b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n" + PIECE,
    "whole body": b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(PIECE) + PIECE,
    "unread body": b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + PIECE,
    "fields": b"GET /read HTTP/1.1\r\nHost: a\r\n" + b"X: %b\r\n" % (b"x" * 8_000) * 7,
    "pipelined": b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /read HTTP/1.1\r\nHost: a\r\n\r\n" * 5_000,
}
MESSAGES = {
    "frame": masked(2, PIECE)[:-1],
    "fragments": masked(2, PIECE[:500_000], fin=False) + masked(0, PIECE[:400_000], fin=False),
    "compressed": masked(2, b"\x00\xff\xff\x00\x00" + PIECE[:65_535], rsv=0x40, fin=False),
    "waiting": masked(2, PIECE[:60_000]) * 16,
    "text": masked(1, b"x" * 900_000) + masked(1, b"x" * 900_000, fin=False),
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nothing but reference counts free anything."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("unknown")
    if scope["type"] == "websocket":
        await receive()
        if scope["path"] != "/unanswered":
            await send({"type": "websocket.accept"})
        if scope["path"] == "/wait":
            await asyncio.sleep(0.2)
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":  # noqa: ASYNC110 - slower than its client
            await asyncio.sleep(0.05)
    else:
        while (await receive()).get("more_body"):
            pass


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/read":
        with contextlib.suppress(OSError):
            environ["wsgi.input"].read()
    start_response("200 OK", [])
    return (b"%d" % number for number in range(3))


def aiohttp_app() -> web.Application:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "Upgrade" in request.headers:
            websocket = web.WebSocketResponse()
            await websocket.prepare(request)
            if request.path == "/wait":
                await asyncio.sleep(0.2)
            async for _ in websocket:
                pass
            return websocket
        if request.path == "/read":
            await request.read()
        await asyncio.sleep(0.05)
        return web.Response()

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", handler)
    return app


async def start(serve: Serve, kind: str) -> Any:
    if kind == "asgi":
        return await serve(asgi)
    if kind == "aiohttp":
        return await serve(aiohttp_app(), aiohttp_server)
    return await serve(wsgi, wsgi_server, threads=2 if kind == "threads" else 0)


async def send_and_go(served: Any, sent: bytes, leave: Callable[[asyncio.StreamWriter], None]) -> None:
    """Send as much as the server takes, go, and wait until it knows."""
    reader, writer = await served.connect()
    if b"Upgrade" in sent and not sent.startswith(b"GET /unanswered"):
        head, _, rest = sent.partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        sent = rest
    writer.write(sent)
    with contextlib.suppress(TimeoutError, ConnectionError):
        await asyncio.wait_for(writer.drain(), 0.1)
    await asyncio.sleep(0.05)
    leave(writer)
    engine = served.engine
    await until(lambda: not (engine.connections or engine.running))
    await asyncio.sleep(0.01)


async def kept(served: Any, sent: bytes, leave: Callable[[asyncio.StreamWriter], None] = reset) -> int:
    """Bytes that each of the clients leaves behind, when what works for it has had the time to end."""
    await send_and_go(served, sent, leave)
    tracemalloc.start()
    try:
        await send_and_go(served, sent, leave)
        before, count = tracemalloc.get_traced_memory()[0], 3
        for _ in range(count):
            await send_and_go(served, sent, leave)
        ends = asyncio.get_running_loop().time() + 5
        while (left := (tracemalloc.get_traced_memory()[0] - before) // count) >= LIMIT:
            if asyncio.get_running_loop().time() > ends:
                break
            await asyncio.sleep(0.05)
        return left
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", UPLOADS)
async def test_upload_that_is_cut_off_is_freed(serve: Serve, kind: str, what: str) -> None:
    assert await kept(await start(serve, kind), UPLOADS[what]) < LIMIT


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", ["asgi", "aiohttp"])
@pytest.mark.parametrize("path", [b"/ws", b"/wait", b"/unanswered"])
@pytest.mark.parametrize("what", MESSAGES)
async def test_messages_of_a_websocket_that_is_cut_off_are_freed(
    serve: Serve, kind: str, path: bytes, what: str
) -> None:
    head = HEAD.replace(b"/ws", path) + (DEFLATE if what == "compressed" else b"") + b"\r\n"
    assert await kept(await start(serve, kind), head + MESSAGES[what]) < LIMIT


@pytest.mark.usefixtures("no_collector")
async def test_client_that_closes_behind_what_a_pending_handshake_does_not_read_is_freed(serve: Serve) -> None:
    head = HEAD.replace(b"/ws", b"/unanswered") + b"\r\n"
    assert await kept(await start(serve, "asgi"), head + masked(2, PIECE[:120_000]), asyncio.StreamWriter.close) < LIMIT
