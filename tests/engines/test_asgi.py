"""What an ASGI app is told, how its lifespan decides a start, and what its failures become."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from runner.apps.engines.h1_engine.asgi_engine import AsgiEngine
from runner.apps.engines.options import Options
from runner.failures import AppStartupFailed

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def answer(send: Any, body: bytes = b"fine", *, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Recorder:
    """An app without lifespan that remembers its scopes."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.scopes.append(scope)
        await answer(send)


async def test_scope_is_complete(serve: Serve) -> None:
    app = Recorder()
    served = await serve(app)
    await served.talk(
        b"PUT /a%20b%2Fc%C3%A9%zz?q=%20 HTTP/1.1\r\nHost: a\r\nX-One: \t 1 \t\r\nConnection: close\r\n\r\n"
    )
    scope = app.scopes[0]
    client, server = scope.pop("client"), scope.pop("server")
    assert client[0] == "127.0.0.1"
    assert isinstance(client[1], int)
    assert tuple(server) == ("127.0.0.1", served.port)
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/a b/cé%zz",
        "raw_path": b"/a%20b%2Fc%C3%A9%zz",
        "query_string": b"q=%20",
        "root_path": "",
        "headers": [(b"host", b"a"), (b"x-one", b"1"), (b"connection", b"close")],
        "state": {},
        "extensions": {},
    }


@pytest.mark.parametrize("sent", [b"/api/items", b"/items"])
async def test_path_stands_below_root_path_whether_the_proxy_strips_it_or_not(serve: Serve, sent: bytes) -> None:
    app = Recorder()
    served = await serve(app, root_path="/api")
    await served.talk(GET.replace(b" / ", b" " + sent + b" "))
    assert (app.scopes[0]["root_path"], app.scopes[0]["path"]) == ("/api", "/api/items")


async def test_unix_socket_has_no_client(tmp_path: Any) -> None:
    app = Recorder()
    engine = AsgiEngine(app, Options())
    path = str(tmp_path / "s")
    server = await asyncio.get_running_loop().create_unix_server(await engine.start(), path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(GET)
    assert (await reader.read()).endswith(b"fine")
    writer.close()
    server.close()
    await engine.stop(1)
    assert (app.scopes[0]["client"], app.scopes[0]["server"]) == (None, (path, None))


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


async def failed(app: Any) -> AppStartupFailed:
    with pytest.raises(AppStartupFailed) as caught:
        await AsgiEngine(app, Options()).start()
    return caught.value


async def test_start_fails_with_the_reason_that_the_app_gives() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database\nat all"})

    assert (await failed(app)).sentence == "the app says that its start-up failed: no database\\nat all"


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
async def test_start_fails_with_the_apps_own_traceback_when_its_startup_raises(kind: type[BaseException]) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await receive()
        raise kind("boom")

    failure = await failed(app)
    assert failure.sentence == f"the app's start-up raised {kind.__name__}: boom"
    assert __file__ in failure.detail
    assert "/runner/apps/" not in failure.detail


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

    task = asyncio.create_task(AsgiEngine(app, Options()).start())
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
async def test_shutdown_that_goes_wrong_is_told_and_the_stop_goes_on(serve: Serve, shutdown: str, told: str) -> None:
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


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
async def test_request_that_raises_is_answered_500_and_the_next_one_lives(serve: Serve, kind: Any) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        if scope["path"] == "/bad":
            raise kind("boom")
        await answer(send)

    served = await serve(app)
    raw = await served.talk(b"GET /bad HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    assert raw.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"boom" not in raw
    assert raw.endswith(b"\r\n\r\nfine")
    assert served.errors[0].startswith("GET /bad failed\nTraceback")
    assert len(served.errors) == 1


async def test_answer_that_breaks_off_is_cut(serve: Serve) -> None:
    """Neither form of framing lets the client take a part for the whole."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ValueError("boom")

    served = await serve(app)
    assert (await served.talk(GET)).endswith(b"4\r\npart\r\n")
    with pytest.raises(ConnectionResetError):
        await served.talk(b"GET / HTTP/1.0\r\n\r\n")


async def test_app_that_returns_without_an_answer_is_answered_for(serve: Serve) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"

    served = await serve(app)
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert served.errors == ["GET / failed\nthe app returned without a complete answer\n"]


async def test_traceback_is_shown_to_the_loopback_in_debug_mode_alone(serve: Serve) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        raise ValueError("boom")

    served = await serve(app, debug=True)
    assert b"ValueError: boom" in await served.talk(GET)
    assert b"boom" not in await served.talk(GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"))


async def test_answer_is_complete_while_the_app_goes_on_in_the_background(serve: Serve) -> None:
    done = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await answer(send)
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(0.05)
        done.set()

    served = await serve(app)
    assert (await served.talk(GET)).endswith(b"fine")
    assert not done.is_set()
    await served.stop(1)
    assert done.is_set()


async def test_app_may_wait_for_the_clients_going_while_it_answers(serve: Serve) -> None:
    """The way Django and Starlette do it: one task listens, the other sends."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        assert (await receive())["type"] == "http.request"
        listening = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await answer(send)
        assert await listening == {"type": "http.disconnect"}

    served = await serve(app)
    assert (await served.talk(GET)).endswith(b"fine")
    await served.stop()
    assert served.errors == []


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
    assert b"connection: close" in await loop.sock_recv(late, 4096)
    assert await idle_reader.read() == b""
    fresh.setblocking(False)
    await loop.sock_sendall(fresh, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"connection: close" in await loop.sock_recv(fresh, 4096)
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
