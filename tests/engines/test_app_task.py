"""What an app begins in its start-up it can end in its clean-up: both halves run in one task and one context."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server, asgi_server

from arun.core.failures import APP_STARTUP_FAILED, StartupFailure
from arun.http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
var: ContextVar[int] = ContextVar("var", default=0)


@contextlib.asynccontextmanager
async def with_variable() -> AsyncIterator[None]:
    token = var.set(1)
    yield
    var.reset(token)


@contextlib.asynccontextmanager
async def with_task_group() -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        yield
        group.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def with_timeout() -> AsyncIterator[None]:
    async with asyncio.timeout(3600):
        yield


HALVES = [with_variable, with_task_group, with_timeout]


def aiohttp_app(context: Any, ended: list[str], *, startup: Any = None) -> web.Application:
    """An app with the context as a cleanup context; ``startup`` runs behind it."""

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text=f"fine {var.get()}")

    async def both_halves(_app: web.Application) -> AsyncIterator[None]:
        async with context():
            yield
        ended.append("well")

    app = web.Application()
    app.router.add_get("/", hello)
    app.cleanup_ctx.append(both_halves)
    if startup is not None:
        app.on_startup.append(startup)
    return app


def asgi_app(context: Any, ended: list[str], *, startup: Any = None) -> Any:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with context():
                if startup is not None:
                    await startup(app)
                await send({"type": "lifespan.startup.complete"})
                await receive()
            ended.append("well")
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    return app


KINDS = [pytest.param(aiohttp_app, aiohttp_server, id="aiohttp"), pytest.param(asgi_app, asgi_server, id="asgi")]


@pytest.mark.parametrize("context", HALVES)
@pytest.mark.parametrize(("app_of", "engine"), KINDS)
async def test_clean_up_ends_what_the_start_up_began(
    serve: Serve, app_of: Callable[..., Any], engine: Any, context: Any
) -> None:
    ended: list[str] = []
    served = await serve(app_of(context, ended), engine)
    assert b"\r\n\r\nfine" in await served.talk(GET)
    await served.stop()
    assert (ended, served.errors) == (["well"], [])


@pytest.mark.parametrize("context", HALVES)
@pytest.mark.parametrize(("app_of", "engine"), KINDS)
async def test_clean_up_of_a_forced_stop_is_cut_in_the_same_task(
    serve: Serve, app_of: Callable[..., Any], engine: Any, context: Any
) -> None:
    """What needs no time is ended well; a task group is not left in a task that never entered it."""
    before = asyncio.all_tasks()
    served = await serve(app_of(context, []), engine)
    served.engine.abort()
    await served.stop(0)
    said = "".join(served.errors)
    assert "different Context" not in said
    assert "different task" not in said
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("context", HALVES)
async def test_clean_up_after_a_failed_start_ends_what_was_begun(context: Any) -> None:
    async def startup(_app: web.Application) -> None:
        raise ValueError("boom")

    ended: list[str] = []
    errors: list[str] = []
    with pytest.raises(StartupFailure, match="boom", check=lambda error: error.cause is APP_STARTUP_FAILED):
        await aiohttp_server(aiohttp_app(context, ended, startup=startup), HttpOptions(on_error=errors.append)).start()
    assert (ended, errors) == (["well"], [])


@pytest.mark.parametrize("context", HALVES)
@pytest.mark.parametrize(("app_of", "engine"), KINDS)
async def test_start_up_that_is_stopped_leaves_no_task(app_of: Callable[..., Any], engine: Any, context: Any) -> None:
    waiting = asyncio.Event()
    errors: list[str] = []

    async def startup(_app: Any) -> None:
        waiting.set()
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    app = app_of(context, [], startup=startup)
    start = asyncio.ensure_future(engine(app, HttpOptions(on_error=errors.append)).start())
    await waiting.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert errors == []
    assert asyncio.all_tasks() == before


async def test_variables_of_every_start_up_step_are_those_of_requests_and_of_the_clean_up(serve: Serve) -> None:
    """As on aiohttp's own server: one context from on_startup over the handlers to on_shutdown and on_cleanup."""
    seen = []

    async def startup(_app: web.Application) -> None:
        var.set(7)

    async def look(_app: web.Application) -> None:
        seen.append(var.get())

    app = aiohttp_app(contextlib.AsyncExitStack, [], startup=startup)
    app.on_shutdown.append(look)
    app.on_cleanup.append(look)
    served = await serve(app, aiohttp_server)
    assert (await served.talk(GET)).endswith(b"fine 7")
    await served.stop()
    assert seen == [7, 7]


@pytest.mark.parametrize(("app_of", "engine"), KINDS)
async def test_task_group_that_fails_while_the_app_serves_is_reported_and_ended(
    serve: Serve, app_of: Callable[..., Any], engine: Any
) -> None:
    """Its host is cancelled for that, by anyio at each turn of the loop: nothing spins, and the app goes on."""
    fails, left = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def failing_group() -> AsyncIterator[None]:
        async def fail() -> None:
            await fails.wait()
            raise ValueError("the watcher died")

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(fail)
                yield
        finally:
            left.set()

    served = await serve(app_of(failing_group, []), engine)
    fails.set()
    await asyncio.wait_for(left.wait(), 5)
    before = time.process_time()
    await asyncio.sleep(0.1)
    assert time.process_time() - before < 0.05
    assert b"\r\n\r\nfine" in await served.talk(GET)
    assert "the watcher died" in "".join(served.errors)
    told = list(served.errors)
    await served.stop()
    assert served.errors == told
