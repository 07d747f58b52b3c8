"""What an ASGI app gets, how its lifespan decides a start, and what its failures become."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.engines.conftest import asgi_server

from arun.http.options import HttpOptions

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def answer(send: Any, body: bytes = b"fine", *, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Recorder:
    """An app without lifespan that remembers its scopes."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG002
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
        "extensions": {"http.response.early_hint": {}, "http.response.pathsend": {}, "http.response.trailers": {}},
    }


@pytest.mark.parametrize("sent", [b"/api/items", b"/items"])
async def test_path_stands_below_root_path_whether_the_proxy_strips_it_or_not(serve: Serve, sent: bytes) -> None:
    app = Recorder()
    served = await serve(app, root_path="/api")
    await served.talk(GET.replace(b" / ", b" " + sent + b" "))
    assert (app.scopes[0]["root_path"], app.scopes[0]["path"]) == ("/api", "/api/items")


@pytest.mark.parametrize(
    ("root", "sent", "path", "raw_path"),
    [
        ("/café", "/caf%C3%A9/x", "/café/x", "/caf%C3%A9/x"),
        ("/café", "/caf%c3%a9/x", "/café/x", "/caf%c3%a9/x"),
        ("/café", "/x", "/café/x", "/caf%C3%A9/x"),
        ("/my app", "/my%20app/x", "/my app/x", "/my%20app/x"),
        ("/my app", "/x", "/my app/x", "/my%20app/x"),
        ("/api", "/%61pi/x", "/api/x", "/%61pi/x"),
        ("/api", "/api", "/api", "/api"),
        ("/api", "/apix", "/api/apix", "/api/apix"),
        ("/api", "/", "/api/", "/api/"),
        ("/a?b", "/a%3Fb/x", "/a?b/x", "/a%3Fb/x"),
        ("/a?b", "/x", "/a?b/x", "/a%3Fb/x"),
    ],
)
async def test_path_is_compared_decoded_with_the_root_path(
    serve: Serve, root: str, sent: str, path: str, raw_path: str
) -> None:
    app = Recorder()
    served = await serve(app, root_path=root)
    await served.talk(GET.replace(b" / ", f" {sent} ".encode()))
    scope = app.scopes[0]
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (root, path, raw_path.encode())


async def test_asterisk_is_no_path_below_the_root_path(serve: Serve) -> None:
    app = Recorder()
    served = await serve(app, root_path="/api")
    await served.talk(GET.replace(b"GET / ", b"OPTIONS * "))
    assert app.scopes[0]["path"] == "*"


async def test_unix_socket_has_no_client(tmp_path: Any) -> None:
    app = Recorder()
    engine = asgi_server(app, HttpOptions())
    path = str(tmp_path / "s")
    server = await asyncio.get_running_loop().create_unix_server(await engine.start(), path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(GET)
    assert (await reader.read()).endswith(b"fine")
    writer.close()
    server.close()
    await engine.stop(1)
    assert (app.scopes[0]["client"], app.scopes[0]["server"]) == (None, (path, None))


async def test_app_that_returns_without_an_answer_is_answered_for(serve: Serve) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"

    served = await serve(app)
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert served.errors == ["GET / failed (client 127.0.0.1)\nthe app returned without a complete answer\n"]


@pytest.mark.parametrize("status", ["200", None])
async def test_status_that_is_no_number_becomes_500(serve: Serve, status: Any) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    served = await serve(app)
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert len(served.errors) == 1


async def test_answer_is_complete_while_the_app_goes_on_in_the_background(serve: Serve) -> None:
    gate, done = asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await answer(send)
        assert (await receive())["type"] == "http.disconnect"
        await gate.wait()
        done.set()

    served = await serve(app)
    assert (await served.talk(GET)).endswith(b"fine")
    assert not done.is_set()
    stopping = asyncio.create_task(served.stop(10))
    gate.set()
    await stopping
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


async def test_app_gets_a_disconnect_when_the_client_goes(serve: Serve) -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        seen.put_nowait(await receive())
        seen.put_nowait(await receive())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.005)
        except OSError as exc:
            seen.put_nowait(type(exc).__name__)
            raise

    served = await serve(app)
    _, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await seen.get())["type"] == "http.request"
    writer.transport.abort()
    assert await seen.get() == {"type": "http.disconnect"}
    assert await seen.get() == "ClientDisconnected"
    await served.stop()
    assert served.errors == []


async def test_departure_that_a_task_group_wraps_is_no_fault_of_the_app(serve: Serve) -> None:
    """An app streams in a task group and then raises that it failed: neither is reported."""
    ended = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def stream() -> None:
            while True:
                await send({"type": "http.response.body", "body": b"piece", "more_body": True})

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(stream())
        except* OSError as gone:
            raise RuntimeError("the answer was cut") from gone
        finally:
            ended.set()

    served = await serve(app)
    _, writer = await served.connect()
    writer.write(GET)
    await writer.drain()
    writer.transport.abort()
    await asyncio.wait_for(ended.wait(), 10)
    await served.stop()
    assert served.errors == []


@pytest.mark.parametrize(("other", "faults"), [(None, 0), (ValueError("a fault of its own"), 1)])
async def test_group_of_exceptions_is_reported_when_one_of_them_has_another_cause_than_the_departure(
    serve: Serve, other: Exception | None, faults: int
) -> None:
    """``except*`` puts what is raised in it into a group: always before Python 3.11.4, later beside others only."""
    ended = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        wrapped = RuntimeError("the answer was cut")
        try:
            while True:
                await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        except OSError as gone:
            wrapped.__cause__ = gone
            gone.__cause__ = wrapped  # what an app links in a circle ends as well
        finally:
            ended.set()
        raise ExceptionGroup("both", [wrapped, *filter(None, [other])])

    served = await serve(app)
    _, writer = await served.connect()
    writer.write(GET)
    await writer.drain()
    writer.transport.abort()
    await asyncio.wait_for(ended.wait(), 10)
    await served.stop()
    assert len(served.errors) == faults
