"""aiohttp apps on aiohttp's own server: what arun adds to it, and the order of start and stop."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server

from arun.core.failures import APP_STARTUP_FAILED, StartupFailure
from arun.http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def app_of(handler: Any) -> web.Application:
    app = web.Application()
    app.router.add_get("/{rest:.*}", handler)
    return app


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.scheme} {request.remote}")


async def test_app_is_served(serve: Serve) -> None:
    served = await serve(app_of(hello), aiohttp_server)
    assert (await served.talk(GET)).endswith(b"\r\n\r\nhttp 127.0.0.1")


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
async def test_start_fails_with_the_apps_own_traceback_when_on_startup_raises(kind: type[BaseException]) -> None:
    cleaned = []

    async def context(_app: web.Application) -> AsyncIterator[None]:
        yield
        cleaned.append("context")

    async def startup(_app: web.Application) -> None:
        raise kind("boom")

    app = app_of(hello)
    app.cleanup_ctx.append(context)
    app.on_startup.append(startup)
    with pytest.raises(StartupFailure, check=lambda error: error.cause is APP_STARTUP_FAILED) as caught:
        await aiohttp_server(app, HttpOptions()).start()
    assert caught.value.sentence == f"the app's start-up raised {kind.__name__}: boom"
    assert __file__ in caught.value.detail
    assert "/arun/apps/" not in caught.value.detail
    assert cleaned == ["context"]


async def test_start_that_is_cancelled_ends() -> None:
    waiting = asyncio.Event()

    async def startup(_app: web.Application) -> None:
        waiting.set()
        await asyncio.Event().wait()

    app = app_of(hello)
    app.on_startup.append(startup)
    task = asyncio.create_task(aiohttp_server(app, HttpOptions()).start())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
async def test_request_that_raises_is_answered_500_and_the_next_one_lives(serve: Serve, kind: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/bad":
            raise kind("boom")
        return web.Response(text="fine")

    served = await serve(app_of(handler), aiohttp_server)
    assert (await served.talk(GET.replace(b"/ ", b"/bad ", 1))).startswith(b"HTTP/1.1 500 ")
    assert (await served.talk(GET)).endswith(b"fine")
    assert f"{kind.__name__}: boom" in served.errors[0]
    assert len(served.errors) == 1


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",)])
async def test_malformed_request_is_refused_and_not_told(serve: Serve, trusted: tuple[str, ...]) -> None:
    served = await serve(app_of(hello), aiohttp_server, forwarded_allow_ips=trusted)
    assert (await served.talk(b"\0\0\0\r\n\r\n")).startswith(b"HTTP/1.")
    assert served.errors == []


async def test_proxy_is_believed_only_when_it_is_trusted(serve: Serve) -> None:
    request = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 9.9.9.9, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\r\n")
    for trusted, seen in (
        ((), b"http 127.0.0.1"),
        (("192.0.2.1",), b"http 127.0.0.1"),
        (("127.0.0.0/8",), b"https 10.0.0.1"),
        (("127.0.0.1", "10.0.0.0/8"), b"https 9.9.9.9"),
    ):
        served = await serve(app_of(hello), aiohttp_server, forwarded_allow_ips=trusted)
        assert (await served.talk(request)).endswith(b"\r\n\r\n" + seen)


async def test_prepare_signal_and_body_of_a_forwarded_request_work(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Seen"] = str(request.remote)

    app = web.Application()
    app.router.add_post("/", handler)
    app.on_response_prepare.append(mark)
    served = await serve(app, aiohttp_server, forwarded_allow_ips="*")
    raw = await served.talk(
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    )
    assert b"X-Seen: 9.9.9.9\r\n" in raw
    assert raw.endswith(b"\r\n\r\nabc")


async def test_stop_answers_what_has_begun_in_aiohttps_own_order(serve: Serve) -> None:
    started, gate, order = asyncio.Event(), asyncio.Event(), []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/slow":
            started.set()
            await gate.wait()
            order.append("answered")
        return web.Response(text="fine")

    async def shutdown(_app: web.Application) -> None:
        order.append("shutdown")

    async def cleanup(_app: web.Application) -> None:
        order.append("cleanup")

    app = app_of(handler)
    app.on_shutdown.append(shutdown)
    app.on_cleanup.append(cleanup)
    served = await serve(app, aiohttp_server)
    loop = asyncio.get_running_loop()
    idle_reader, idle = await served.connect()
    idle.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await idle_reader.readuntil(b"fine")
    reader, writer = await served.connect()
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await started.wait()
    fresh = socket.create_connection(("127.0.0.1", served.port))
    fresh.setblocking(False)
    await asyncio.sleep(0.01)
    stopping = asyncio.create_task(served.stop(5))
    assert await asyncio.wait_for(idle_reader.read(), 2) == b""
    await loop.sock_sendall(fresh, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(loop.sock_recv(fresh, 4096), 2)
    assert not stopping.done()
    gate.set()
    raw = await reader.read()
    assert b"connection: close\r\n" in raw
    await stopping
    assert order == ["shutdown", "answered", "cleanup"]
    for one in (fresh, idle, writer):
        one.close()


async def test_stop_cuts_what_outlives_the_grace_and_still_cleans_up(serve: Serve) -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def cleanup(_app: web.Application) -> None:
        cleaned.set()
        raise ValueError("tired")

    app = app_of(handler)
    app.on_cleanup.append(cleanup)
    served = await serve(app, aiohttp_server)
    reader, writer = await served.connect()
    writer.write(GET)
    await started.wait()
    async with asyncio.timeout(3):
        await served.stop(0.05)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert cleaned.is_set()
    assert "the app's cleanup raised\nTraceback" in served.errors[0]
    writer.close()


async def test_abort_leaves_a_stop_nothing_to_wait_for(serve: Serve) -> None:
    started = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    served = await serve(app_of(handler), aiohttp_server)
    _, writer = await served.connect()
    writer.write(GET)
    await started.wait()
    stopping = asyncio.create_task(served.stop(1000))
    await asyncio.sleep(0.02)
    served.engine.abort()
    await asyncio.wait_for(stopping, 3)
    writer.close()
