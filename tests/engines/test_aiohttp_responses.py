"""What an aiohttp app responds by aiohttp's own means: its response classes, interim responses, files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server
from tests.engines.wire import HELLO, LAST, bodies

from arun.http.access.log import access_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Serve = Any
PATIENCE = 10


@pytest.fixture
async def serve_handler(serve: Serve) -> Callable[..., Any]:
    """Serve an aiohttp handler for every method and path."""

    async def start(handler: Any, **options: Any) -> Any:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler)
        return await serve(app, aiohttp_server, **options)

    return start


async def echo(request: web.Request) -> web.Response:
    """Respond with the body of the request."""
    return web.Response(body=b"<" + await request.read() + b">")


@pytest.mark.parametrize("returned", [None, "text", object])
async def test_handler_that_returns_no_response_is_answered_500_and_reported(
    serve_handler: Serve, returned: object
) -> None:
    async def nothing(_: web.Request) -> Any:
        return returned

    served = await serve_handler(nothing)
    assert (await served.talk(HELLO)).startswith(b"HTTP/1.1 500 ")
    assert "where aiohttp asks for a web.StreamResponse" in served.errors[0]


async def test_second_response_to_a_request_is_never_sent(serve_handler: Serve) -> None:
    async def twice(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        return web.Response(text="second")

    served = await serve_handler(twice)
    raw = await served.talk(HELLO)
    assert raw.endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert len(served.errors) == 1


@pytest.mark.parametrize("body", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
async def test_last_piece_may_be_anything_like_bytes(serve_handler: Serve, body: Any) -> None:
    async def last(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5"})
        await response.prepare(request)
        await response.write_eof(body)
        return response

    served = await serve_handler(last)
    assert bodies(await served.talk(HELLO + LAST)) == [b"bytes"] * 2


async def test_last_piece_of_wide_items_counts_its_bytes(serve_handler: Serve) -> None:
    async def last(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "8"})
        await response.prepare(request)
        await response.write_eof(memoryview(b"abcdefgh").cast("I"))  # type: ignore[arg-type]
        return response

    served = await serve_handler(last)
    assert bodies(await served.talk(HELLO + LAST)) == [b"abcdefgh"] * 2


# ---- interim responses

EXPECTING = b"POST / HTTP/%b\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("place", ["handler", "expect_handler"])
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((CONTINUE,), id="100"),
        pytest.param((HINTS,), id="103"),
        pytest.param((HINTS, CONTINUE), id="both"),
        pytest.param((HINTS + CONTINUE,), id="both at once"),
        pytest.param((bytearray(HINTS[:3]), HINTS[3:12], memoryview(HINTS[12:40]), HINTS[40:]), id="in pieces"),
    ],
)
async def test_interim_response_that_an_app_writes_is_followed_by_the_final_one(
    serve: Serve, pieces: tuple[Any, ...], place: str
) -> None:
    async def send_interim(request: web.Request) -> None:
        for piece in pieces:
            await request.writer.write(piece)

    async def handler(request: web.Request) -> web.Response:
        if place == "handler":
            await send_interim(request)
        return await echo(request)

    app = web.Application()
    app.router.add_post("/", handler, expect_handler=send_interim if place == "expect_handler" else quietly)
    lines: list[str] = []
    served = await serve(app, aiohttp_server, access=access_log("%s %b", (), lines.append))
    reader, writer = await served.connect()
    writer.write(EXPECTING % b"1.1")
    interim = b"".join(bytes(piece) for piece in pieces)
    assert await asyncio.wait_for(reader.readexactly(len(interim)), PATIENCE) == interim
    writer.write(b"hello")
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n<hello>")
    assert (lines, served.errors) == (["200 7\n"], [])


async def quietly(_request: web.Request) -> None:
    """Expect nothing."""


async def test_client_of_http_1_0_gets_no_interim_response(serve_handler: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.writer.write(CONTINUE + HINTS)
        return await echo(request)

    raw = await (await serve_handler(handler)).talk((EXPECTING % b"1.0") + b"hello")
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert raw.endswith(b"\r\n\r\n<hello>")


async def test_handler_that_raises_after_an_interim_response_is_answered(serve_handler: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.writer.write(HINTS)
        raise ValueError("boom")

    served = await serve_handler(handler)
    assert (await served.talk(LAST)).startswith(HINTS + b"HTTP/1.1 500 ")
    assert len(served.errors) == 1


@pytest.mark.parametrize("unfinished", [HINTS[:-2], b"HTTP", b"HTTP/1.1 100 Continue\n\n"])
async def test_interim_response_without_an_end_is_an_error_of_its_handler(
    serve_handler: Serve, unfinished: bytes
) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.writer.write(unfinished)
        return web.Response(text="fine")

    served = await serve_handler(handler)
    assert (await served.talk(LAST)).startswith(b"HTTP/1.1 500 ")
    assert "is no whole interim response" in served.errors[0]


# ---- files


async def test_file_is_sent_whole_with_ranges_and_without_a_body_for_head(serve_handler: Serve, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    path = tmp_path / "file"
    path.write_bytes(content)

    async def send(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    served = await serve_handler(send, timeout_write=5)
    url = f"http://127.0.0.1:{served.port}/"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert await response.read() == content
        async with session.get(url, headers={"Range": "bytes=10-19"}) as response:
            assert (response.status, await response.read()) == (206, content[10:20])
        async with session.head(url) as response:
            assert (response.content_length, await response.read()) == (len(content), b"")
        tag = response.headers["ETag"]
        async with session.get(url, headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
    assert served.errors == []
