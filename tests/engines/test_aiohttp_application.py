"""Start, signals and end of an aiohttp app: in aiohttp's own order, and ended for certain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server
from tests.engines.wire import HELLO, LAST, responses

from arun.core.failures import APP_STARTUP_FAILED, StartupFailure
from arun.http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Serve = Any


def app_of(handler: Any) -> web.Application:
    app = web.Application()
    app.router.add_get("/{rest:.*}", handler)
    return app


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


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


async def test_prepare_signal_may_change_the_response_and_sees_the_client_behind_a_proxy(serve: Serve) -> None:
    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Seen"] = str(request.remote)

    app = app_of(hello)
    app.on_response_prepare.append(mark)
    served = await serve(app, aiohttp_server, forwarded_allow_ips="*")
    (response,) = responses(await served.talk(LAST.replace(b"Host: a", b"Host: a\r\nX-Forwarded-For: 9.9.9.9")))
    assert (response.fields[b"x-seen"], response.body) == (b"9.9.9.9", b"hello")


async def test_shutdown_signal_comes_before_the_last_response_and_clean_up_after_it(serve: Serve) -> None:
    started, shut_down, gate, order = asyncio.Event(), asyncio.Event(), asyncio.Event(), []

    async def handler(_request: web.Request) -> web.Response:
        started.set()
        await gate.wait()
        order.append("response")
        return web.Response(text="fine")

    async def shutdown(_app: web.Application) -> None:
        order.append("shutdown")
        shut_down.set()

    async def cleanup(_app: web.Application) -> None:
        order.append("cleanup")

    app = app_of(handler)
    app.on_shutdown.append(shutdown)
    app.on_cleanup.append(cleanup)
    served = await serve(app, aiohttp_server)
    reader, writer = await served.connect()
    writer.write(HELLO)
    await started.wait()
    stopping = asyncio.create_task(served.stop(5))
    await asyncio.wait_for(shut_down.wait(), 5)
    assert not stopping.done()
    gate.set()
    (response,) = responses(await reader.read())
    assert (response.status, response.fields[b"connection"]) == (200, b"close")
    await stopping
    assert order == ["shutdown", "response", "cleanup"]
    writer.close()


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
    writer.write(LAST)
    await started.wait()
    async with asyncio.timeout(3):
        await served.stop(0.05)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert cleaned.is_set()
    assert "the app's cleanup raised\nTraceback" in served.errors[0]
    writer.close()
