"""Context variables (PEP 567): those of a request are never those of another one."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Serve = Any
seen: ContextVar[str] = ContextVar("seen", default="nothing")
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


async def asgi_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    found = seen.get()
    seen.set(scope["path"])
    more = True
    while more:
        more = (await receive()).get("more_body", False)
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-found", found.encode())]})
    await send({"type": "http.response.body", "body": found.encode()})


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    token = seen.set(environ["PATH_INFO"])
    found = token.old_value if token.old_value is not token.MISSING else "nothing"
    environ["wsgi.input"].read()
    start_response("200 OK", [("X-Found", found)])
    for _ in range(300):  # longer than one turn of the loop
        assert seen.get() == environ["PATH_INFO"]
        yield b"x" * 100


async def aiohttp_handler(request: web.Request) -> web.Response:
    found = seen.get()
    seen.set(request.path)
    await request.read()
    return web.Response(headers={"X-Found": found})


@pytest.fixture(params=["asgi", "threads", "inline", "aiohttp"])
def serve_kind(request: pytest.FixtureRequest, serve: Serve, serve_threads: Serve, serve_inline: Serve) -> Any:
    """Serve an app of each kind that tells in X-Found what an earlier request has left to it."""

    async def start() -> Any:
        if request.param == "asgi":
            return await serve(asgi_app)
        if request.param == "threads":
            return await serve_threads(wsgi_app, threads=1)
        if request.param == "inline":
            return await serve_inline(wsgi_app)
        app = web.Application(client_max_size=2_000_000)
        app.router.add_route("*", "/{tail:.*}", aiohttp_handler)
        return await serve(app, aiohttp_server)

    return start


def found(raw: bytes) -> list[bytes]:
    lines = raw.replace(b"X-Found", b"x-found").split(b"\r\n")
    return [line.partition(b": ")[2] for line in lines if line.startswith(b"x-found: ")]


async def test_requests_that_wait_for_each_other_have_context_variables_of_their_own(
    serve_kind: Callable[[], Any],
) -> None:
    served = await serve_kind()
    raw = await served.talk(b"".join(GET % number for number in range(5)) + LAST)
    assert found(raw) == [b"nothing"] * 6


async def test_request_after_an_upload_has_context_variables_of_its_own(serve_kind: Callable[[], Any]) -> None:
    """An app that takes the body lets the loop read on, and reading on goes on when the app has ended."""
    served = await serve_kind()
    reader, writer = await served.connect()
    for request, body in ((UPLOAD, bytes(1_000_000)), (GET % 1, b""), (LAST, b"")):
        writer.write(request)
        for start in range(0, len(body), 100_000):
            await writer.drain()
            writer.write(body[start : start + 100_000])
            await asyncio.sleep(0.002)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert found(head) == [b"nothing"]
        if b"chunked" in head.lower():
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
    writer.close()


async def test_requests_of_several_connections_have_context_variables_of_their_own(
    serve_kind: Callable[[], Any],
) -> None:
    served = await serve_kind()
    answers = await asyncio.gather(*(served.talk(GET % number + LAST) for number in range(10)))
    assert [found(answer) for answer in answers] == [[b"nothing"] * 2] * 10
    assert served.errors == []


async def test_whole_call_of_a_wsgi_app_runs_in_one_context(serve_wsgi: Serve) -> None:
    """``close`` of what it returned can reset what the call has set."""
    ended: list[str] = []

    class Body:
        def __init__(self) -> None:
            self.token = seen.set("call")

        def __iter__(self) -> Iterator[bytes]:
            for _ in range(300):
                yield seen.get().encode() * 1000

        def close(self) -> None:
            seen.reset(self.token)
            ended.append(seen.get())

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/last":
            return Body()
        body = environ["wsgi.file_wrapper"](open(__file__, "rb"))  # noqa: SIM115 - the wrapper closes it
        token, close = seen.set("file"), body.close

        def end() -> None:
            close()
            seen.reset(token)
            ended.append(seen.get())

        body.close = end
        return body

    served = await serve_wsgi(app)
    assert b"call" in await served.talk(GET % 1 + LAST)
    await served.stop(1)
    assert ended == ["nothing", "nothing"]
    assert served.errors == []
