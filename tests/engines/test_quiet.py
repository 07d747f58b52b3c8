"""How a server becomes quiet without a stop, as that of a retiring worker: no client is cut, each one leaves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.apps import CONCURRENT, aiohttp_app, asgi_app
from tests.engines.conftest import aiohttp_server, asgi_server
from tests.engines.wire import reset
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from arun.http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.apps import Exchange, Gate

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def fine(exchange: Exchange) -> None:
    """Read the whole body, then respond."""
    await exchange.read()
    await exchange.respond(b"fine")


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a request and return its answer."""
    writer.write(GET)
    return await asyncio.wait_for(reader.readuntil(b"fine"), 5)


async def test_requests_are_counted_and_refusals_are_not(serve_app: Serve) -> None:
    served = await serve_app(fine)
    assert served.engine.requests == 0
    reader, writer = await served.connect()
    await ask(reader, writer)
    writer.write(GET * 2)
    await asyncio.wait_for(reader.readuntil(b"fine"), 5)
    await asyncio.wait_for(reader.readuntil(b"fine"), 5)
    assert served.engine.requests == 3
    assert b"400 Bad Request" in await served.talk(b"GET / HTTP/1.1\r\n\r\n")
    assert served.engine.requests == 3
    writer.close()


async def test_kept_connection_ends_behind_its_next_answer_and_none_is_cut(serve_app: Serve) -> None:
    served = await serve_app(fine, timeout_keep_alive=30.0)
    reader, writer = await served.connect()
    assert b"close" not in await ask(reader, writer)
    served.engine.drain()
    served.server.close()
    quiet = asyncio.create_task(served.engine.quiet(30))
    answer = await ask(reader, writer)
    assert b"200 OK" in answer
    assert b"connection: close" in answer.lower()
    assert await reader.read() == b""
    await asyncio.wait_for(quiet, 2)
    writer.close()


async def test_request_that_has_begun_is_answered_in_its_own_time(serve_app: Serve) -> None:
    served = await serve_app(fine)
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
    other_reader, other = await served.connect()
    await ask(other_reader, other)  # what was sent before has been read by now
    served.engine.drain()
    served.server.close()
    quiet = asyncio.create_task(served.engine.quiet(30))
    other.close()
    await asyncio.wait({quiet}, timeout=0.1)
    assert not quiet.done()
    writer.write(b"b")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.endswith(b"fine")
    assert b"connection: close" in answer.lower()
    await asyncio.wait_for(quiet, 2)
    writer.close()


async def test_idle_connection_ends_at_its_keep_alive_timeout(serve_app: Serve) -> None:
    served = await serve_app(fine, timeout_keep_alive=0.3)
    reader, writer = await served.connect()
    await ask(reader, writer)
    served.engine.drain()
    served.server.close()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.wait_for(served.engine.quiet(30), 5)
    assert 0.1 < loop.time() - began < 3
    assert await reader.read() == b""
    writer.close()


async def test_quiet_ends_after_its_seconds_and_leaves_the_connection_alone(serve_app: Serve) -> None:
    served = await serve_app(fine, timeout_keep_alive=30.0)
    reader, writer = await served.connect()
    await ask(reader, writer)
    served.engine.drain()
    served.server.close()
    await asyncio.wait_for(served.engine.quiet(0.05), 2)
    assert b"200 OK" in await ask(reader, writer)
    writer.close()


async def test_quiet_of_an_engine_without_connections_takes_no_time(serve_app: Serve) -> None:
    served = await serve_app(fine)
    served.engine.drain()
    served.server.close()
    await asyncio.wait_for(served.engine.quiet(30), 1)
    await served.stop()


async def test_abort_ends_the_waiting(serve_app: Serve) -> None:
    served = await serve_app(fine, timeout_keep_alive=30.0)
    reader, writer = await served.connect()
    await ask(reader, writer)
    served.engine.drain()
    served.server.close()
    quiet = asyncio.create_task(served.engine.quiet(30))
    await asyncio.sleep(0)
    served.engine.abort()
    await asyncio.wait_for(quiet, 2)
    writer.close()


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_call_of_the_app_whose_client_has_gone_is_waited_for(serve_app: Serve, gate: Gate) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.hold(gate)
        await exchange.respond()

    served = await serve_app(slow)
    _, writer = await served.connect()
    writer.write(GET)
    await gate.reached()
    reset(writer)
    served.engine.drain()
    served.server.close()
    quiet = asyncio.create_task(served.engine.quiet(30))
    await asyncio.wait({quiet}, timeout=0.1)
    assert not quiet.done()
    gate.open()
    await asyncio.wait_for(quiet, 2)


# ---- websockets


async def asgi_echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


def aiohttp_echo() -> web.Application:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        return websocket

    app = web.Application()
    app.router.add_get("/", handler)
    return app


@pytest.fixture(params=["asgi", "aiohttp"])
def serve_echo(request: pytest.FixtureRequest, serve: Serve) -> Callable[..., Any]:
    """Serve a websocket that sends back what it gets."""

    async def start() -> Any:
        return await (serve(asgi_echo) if request.param == "asgi" else serve(aiohttp_echo(), aiohttp_server))

    return start


async def closed_with(websocket: Any) -> int | None:
    """Return the code with which the server closes."""
    with contextlib.suppress(ConnectionClosed):
        await asyncio.wait_for(websocket.recv(), 5)
    code: int | None = websocket.close_code
    return code


async def test_websocket_is_closed_with_1012_at_once(serve_echo: Serve) -> None:
    served = await serve_echo()
    async with connect(f"ws://127.0.0.1:{served.port}/", proxy=None) as websocket:
        await websocket.send("a")
        assert await websocket.recv() == "a"
        assert served.engine.requests == 1
        served.engine.drain()
        await websocket.send("b")
        assert await websocket.recv() == "b"  # drain alone leaves it
        served.server.close()
        quiet = asyncio.create_task(served.engine.quiet(30))
        assert await closed_with(websocket) == 1012
        await asyncio.wait_for(quiet, 2)


async def test_websocket_that_is_opened_meanwhile_does_not_stay(serve_echo: Serve) -> None:
    served = await serve_echo()
    served.engine.drain()
    holder_reader, holder = await served.connect()
    holder.write(b"GET /")  # a client that keeps the server from being quiet
    await asyncio.sleep(0.01)
    quiet = asyncio.create_task(served.engine.quiet(30))
    await asyncio.sleep(0)
    async with connect(f"ws://127.0.0.1:{served.port}/", proxy=None) as websocket:
        assert await closed_with(websocket) == 1012
    holder.close()
    await asyncio.wait_for(quiet, 2)
    assert await holder_reader.read() == b""


@pytest.mark.parametrize("engine", [asgi_server, aiohttp_server])
async def test_engine_that_was_never_started_has_no_requests(engine: Any) -> None:
    app = aiohttp_app(fine) if engine is aiohttp_server else asgi_app(fine)
    assert engine(app, HttpOptions()).requests == 0
