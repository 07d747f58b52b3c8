"""What an aiohttp app reads of a request by aiohttp's own means: its task, its body, its form, its expectation."""

from __future__ import annotations

import asyncio
import gzip
import io
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server
from tests.engines.wire import CHUNKED, HELLO, LAST, bodies, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

Serve = Any


@pytest.fixture
async def serve_handler(serve: Serve) -> Callable[..., Any]:
    """Serve an aiohttp handler for every method and path."""

    async def start(handler: Any, **options: Any) -> Any:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", handler)
        return await serve(app, aiohttp_server, **options)

    return start


async def test_each_request_has_a_task_of_its_own(serve_handler: Serve) -> None:
    tasks: list[Any] = []

    async def note(request: web.Request) -> web.Response:
        assert request.task is asyncio.current_task()
        tasks.append(request.task)
        async with asyncio.timeout(5):  # which needs a task
            await asyncio.sleep(0)
        return web.Response(text="ok")

    served = await serve_handler(note)
    assert len(bodies(await served.talk(HELLO * 3 + LAST))) == 4
    assert len({id(task) for task in tasks}) == 4
    assert served.errors == []


async def test_handler_sees_where_a_chunk_of_the_body_ends(serve_handler: Serve) -> None:
    async def ends(request: web.Request) -> web.Response:
        pieces, piece = [], b""
        async for data, ended in request.content.iter_chunks():
            piece += data
            if ended:
                pieces.append(piece)
                piece = b""
        return web.Response(body=b"|".join(pieces))

    served = await serve_handler(ends)
    assert bodies(await served.talk(CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n" + LAST)) == [b"ab|c", b""]
    assert bodies(await served.talk(CHUNKED + b"3\r\na", b"bc\r\n1\r", b"\nd\r\n0\r\n\r\n" + LAST)) == [b"abc|d", b""]
    # aiohttp shares one reader of nothing, which shows its end to the first request and keeps the loop busy with the next
    assert bodies(await served.talk(HELLO * 3 + LAST)) == [b""] * 4


async def test_body_that_unpacks_to_more_than_the_limit_is_refused(serve_handler: Serve) -> None:
    async def size(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    served = await serve_handler(size, limit_request_body=100_000)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    for unpacked, status in ((100_000, 200), (100_001, 413), (1_000_000, 413)):
        packed = gzip.compress(bytes(unpacked))
        assert statuses(await served.talk(head % len(packed) + packed, half_close=True)) == [status]  # in one piece
        assert statuses(await served.talk(head % len(packed), packed, half_close=True)) == [status]
    assert statuses(await served.talk(head % 3 + b"abc", half_close=True)) == [400]
    assert served.errors == []


async def test_upload_download_and_form_go_through(serve_handler: Serve) -> None:
    async def receive(request: web.Request) -> web.StreamResponse:
        if request.content_type.startswith("multipart/"):
            field = await (await request.multipart()).next()
            assert isinstance(field, aiohttp.BodyPartReader)
            return web.Response(text=f"{field.filename} {len(await field.read())}")
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    served = await serve_handler(receive, timeout_body=5, timeout_write=5)

    async def pieces() -> Any:
        for _ in range(50):
            yield bytes(40_000)

    async with aiohttp.ClientSession() as session:
        for data in (pieces(), io.BytesIO(bytes(2_000_000))):
            async with session.post(f"http://127.0.0.1:{served.port}/", data=data) as response:
                assert await response.read() == bytes(2_000_000)
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(bytes(300_000)), filename="a.bin")
        async with session.post(f"http://127.0.0.1:{served.port}/", data=form) as response:
            assert await response.text() == "a.bin 300000"
    assert served.errors == []


async def unread(_request: web.Request) -> web.Response:
    return web.Response(text="enough")


async def test_client_that_holds_its_body_back_is_not_waited_for(serve: Serve) -> None:
    async def forbid(_request: web.Request) -> web.Response:
        raise web.HTTPForbidden

    app = web.Application()
    app.router.add_post("/", unread, expect_handler=forbid)
    served = await serve(app, aiohttp_server)
    raw = await served.talk(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 403 ")
    assert b"\r\nconnection: close\r\n" in raw
