"""How an ASGI app's lifespan decides a start, and what goes wrong in its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.engines.conftest import asgi_server

from arun.core.failures import APP_STARTUP_FAILED, StartupFailure
from arun.http.options import HttpOptions

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def answer(send: Any, body: bytes = b"fine", *, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_state_of_the_lifespan_reaches_each_request_as_a_copy(serve: Serve) -> None:
    states = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = [1]
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            states.append(dict(scope["state"]))
            scope["state"]["mine"] = True
            await answer(send)

    served = await serve(app)
    await served.talk(GET)
    await served.talk(GET)
    assert states == [{"pool": [1]}] * 2


async def failed(app: Any) -> StartupFailure:
    with pytest.raises(StartupFailure, check=lambda error: error.cause is APP_STARTUP_FAILED) as caught:
        await asgi_server(app, HttpOptions()).start()
    return caught.value


async def test_start_fails_with_the_reason_that_the_app_gives() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no \x1bdatabase"})

    assert (await failed(app)).sentence == "the app says that its start-up failed: no \\x1bdatabase"


async def test_start_that_fails_with_a_traceback_for_a_reason_has_its_end_and_then_all_of_it() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback:\n  File a\nOSError: no database\n"})

    failure = await failed(app)
    assert failure.sentence == "the app says that its start-up failed: OSError: no database"
    assert (
        failure.detail == "    Traceback:\n  File a\n    OSError: no database\n"
    )  # no line of it looks like one of arun's


async def test_forced_stop_does_not_blame_the_app_whose_shutdown_it_cuts(serve: Serve) -> None:
    stopping = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        stopping.set()
        try:
            await asyncio.Event().wait()
        except BaseException:
            await send({"type": "lifespan.shutdown.failed", "message": "Traceback:\nCancelledError"})
            raise

    served = await serve(app)
    stop = asyncio.create_task(served.engine.stop(30))
    await asyncio.wait_for(stopping.wait(), 10)
    served.engine.abort()
    await asyncio.wait_for(stop, 10)
    assert served.errors == ["the app's shut-down was cut, as the stop was forced\n"]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
async def test_start_fails_with_the_apps_own_traceback_when_its_startup_raises(kind: type[BaseException]) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        raise kind("boom")

    failure = await failed(app)
    assert failure.sentence == f"the app's start-up raised {kind.__name__}: boom"
    assert __file__ in failure.detail
    assert "/arun/apps/" not in failure.detail


async def test_start_fails_when_the_lifespan_ends_without_an_answer() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()

    assert "without saying" in (await failed(app)).sentence


async def raises_at_once(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
    assert scope["type"] == "http"
    await answer(send)


async def answers_every_scope(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
    await receive()
    await answer(send)


async def returns_at_once(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
    if scope["type"] == "http":
        await answer(send)


@pytest.mark.parametrize("app", [raises_at_once, answers_every_scope, returns_at_once])
async def test_app_that_knows_no_lifespan_is_served_without(serve: Serve, app: Any) -> None:
    served = await serve(app)
    assert (await served.talk(GET)).endswith(b"fine")
    await served.stop()
    assert served.errors == []


async def test_start_that_is_cancelled_ends_the_lifespan() -> None:
    waiting, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(asgi_server(app, HttpOptions()).start())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.mark.parametrize(
    ("shutdown", "told"),
    [
        ("raise", "shut-down raised\nTraceback"),
        ("fail", "shut-down failed: tired"),
        ("hang", "took longer than 0.05 s"),
    ],
)
async def test_shutdown_that_goes_wrong_is_reported_and_the_stop_goes_on(
    serve: Serve, shutdown: str, told: str
) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == {"type": "lifespan.shutdown"}
        if shutdown == "raise":
            raise ValueError("tired")
        if shutdown == "hang":
            await asyncio.Event().wait()
        await send({"type": "lifespan.shutdown.failed", "message": "tired"})

    served = await serve(app)
    await served.stop(0.05)
    assert told in served.errors[0]
