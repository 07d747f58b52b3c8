"""Requests of aiohttp apps, each in a task of its own: what they share, what they do not, and how they end."""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import re
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server

if TYPE_CHECKING:
    from collections.abc import Callable

Serve = Any
PATIENCE = 10
HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
seen: contextvars.ContextVar[int] = contextvars.ContextVar("seen", default=0)


@pytest.fixture
async def serve_app(serve: Serve) -> Callable[..., Any]:
    """Serve a handler for every method and path; limits by name."""

    async def start(handler: Any, *, limits: dict[str, Any] | None = None, **options: Any) -> Any:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", handler)
        return await serve(app, aiohttp_server, **(limits or {}), **options)

    return start


def bodies(raw: bytes) -> list[bytes]:
    """Bodies of the answers in a conversation, each with a Content-Length."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        told = re.search(rb"\r\ncontent-length: (\d+)", head)
        assert told, head
        found.append(raw[: int(told[1])])
        raw = raw[int(told[1]) :]
    return found


async def echo(request: web.Request) -> web.Response:
    """Answer with the body of the request."""
    return web.Response(body=b"<" + await request.read() + b">")


async def test_no_request_sees_the_context_variables_of_another(serve_app: Serve) -> None:
    async def count(_: web.Request) -> web.Response:
        seen.set(seen.get() + 1)
        return web.Response(text=str(seen.get()))

    served = await serve_app(count)
    pipelined = bodies(await served.talk(HELLO * 20 + LAST))
    assert pipelined == [b"1"] * 21
    assert bodies(await served.talk(HELLO, HELLO, LAST)) == [b"1"] * 3


async def test_each_request_has_a_task_of_its_own(serve_app: Serve) -> None:
    tasks: list[Any] = []

    async def note(request: web.Request) -> web.Response:
        assert request.task is asyncio.current_task()
        tasks.append(request.task)
        async with asyncio.timeout(5):  # which needs a task
            await asyncio.sleep(0)
        return web.Response(text="ok")

    served = await serve_app(note)
    assert len(bodies(await served.talk(HELLO * 3 + LAST))) == 4
    assert len({id(task) for task in tasks}) == 4
    assert served.errors == []


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length", b"CONTENT-length"])
@pytest.mark.parametrize("behind", [b"", LAST[:20], b"\r\n"])
async def test_request_in_one_piece_with_its_body_ends_where_its_length_says(
    serve_app: Serve, name: bytes, behind: bytes
) -> None:
    served = await serve_app(echo)
    post = b"POST / HTTP/1.1\r\nHost: a\r\n%b: 5\r\n\r\nhello" % name
    rest = LAST[20:] if behind == LAST[:20] else LAST
    assert bodies(await served.talk(post + behind, rest)) == [b"<hello>", b"<>"]
    assert bodies(await served.talk(post + post + LAST)) == [b"<hello>", b"<hello>", b"<>"]


async def test_length_in_a_value_is_no_length(serve_app: Serve) -> None:
    """The body of the first is what looks like a second request."""
    served = await serve_app(echo)
    line = b"POST / HTTP/1.1\r\nHost: a\r\nX: Content-Length: 5\r\nContent-Length: 0\r\n\r\n"
    assert bodies(await served.talk(line + LAST)) == [b"<>", b"<>"]
    both = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    assert (await served.talk(both)).startswith(b"HTTP/1.1 400 ")


async def test_body_in_one_piece_is_held_to_the_limit(serve_app: Serve) -> None:
    served = await serve_app(echo, limits={"limit_request_body": 4})
    raw = await served.talk(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert raw.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("returned", [None, "text", object])
async def test_handler_that_returns_no_response_is_answered_500_and_told(serve_app: Serve, returned: object) -> None:
    async def nothing(_: web.Request) -> Any:
        return returned

    served = await serve_app(nothing)
    assert (await served.talk(HELLO)).startswith(b"HTTP/1.1 500 ")
    assert "where aiohttp asks for a web.StreamResponse" in served.errors[0]


@pytest.mark.parametrize("body", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
async def test_last_piece_may_be_anything_like_bytes(serve_app: Serve, body: Any) -> None:
    async def last(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5"})
        await response.prepare(request)
        await response.write_eof(body)
        return response

    served = await serve_app(last)
    assert bodies(await served.talk(HELLO + LAST)) == [b"bytes"] * 2


async def test_last_piece_of_wide_items_counts_its_bytes(serve_app: Serve) -> None:
    async def last(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "2"})
        await response.prepare(request)
        await response.write_eof(memoryview(b"abcdefgh").cast("I"))  # type: ignore[arg-type]
        return response

    served = await serve_app(last)
    assert bodies(await served.talk(HELLO + LAST)) == [b"ab"] * 2


async def test_client_that_leaves_at_once_costs_nothing(serve_app: Serve) -> None:
    served = await serve_app(echo)
    for resets in (True, False) * 25:
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            if resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4))
            client.sendall(HELLO * 3)
        await asyncio.sleep(0)
    assert bodies(await served.talk(LAST)) == [b"<>"]
    async with asyncio.timeout(PATIENCE):
        while served.engine.connections:  # noqa: ASYNC110 - nothing tells that the last one has gone
            await asyncio.sleep(0)
    assert served.errors == []


async def test_stop_lets_an_upload_under_way_come_to_its_end(serve_app: Serve) -> None:
    async def measure(request: web.Request) -> web.Response:
        began.set()
        return web.Response(text=str(len(await request.read())))

    began = asyncio.Event()
    served = await serve_app(measure)
    reader, writer = await served.connect()
    half = bytes(1_500_000)
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
    await began.wait()
    stop = asyncio.create_task(served.stop(PATIENCE))
    while not served.engine.stopping:  # noqa: ASYNC110 - nothing tells that the stop waits for the handler
        await asyncio.sleep(0)
    writer.write(half + half)
    raw = await asyncio.wait_for(reader.read(), PATIENCE)
    assert (raw.split(b"\r\n")[0], bodies(raw)) == (b"HTTP/1.1 200 OK", [b"3000000"])
    await stop
    assert served.errors == []
    writer.close()


async def test_requests_behind_a_chunked_body_are_answered_whatever_their_number(serve_app: Serve) -> None:
    served = await serve_app(echo)
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    assert bodies(await served.talk(chunked + HELLO * 40 + LAST)) == [b"<x>", *[b"<>"] * 41]


async def test_handler_is_told_where_a_chunk_of_the_body_ends(serve_app: Serve) -> None:
    async def ends(request: web.Request) -> web.Response:
        pieces, piece = [], b""
        async for data, ended in request.content.iter_chunks():
            piece += data
            if ended:
                pieces.append(piece)
                piece = b""
        return web.Response(body=b"|".join(pieces))

    served = await serve_app(ends)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert bodies(await served.talk(head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n" + LAST)) == [b"ab|c", b""]
    assert bodies(await served.talk(head + b"3\r\na", b"bc\r\n1\r", b"\nd\r\n0\r\n\r\n" + LAST)) == [b"abc|d", b""]
    # aiohttp's one reader of nothing says the end to the first that asks, and would keep the loop busy for ever
    assert bodies(await served.talk(HELLO * 3 + LAST)) == [b""] * 4


async def test_websocket_with_a_heartbeat_pings_and_is_pinged(serve_app: Serve) -> None:
    async def talk(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(heartbeat=0.05)
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        return websocket

    served = await serve_app(talk)
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{served.port}/"
        async with session.ws_connect(url, autoping=False, compress=15) as websocket:
            message = await asyncio.wait_for(websocket.receive(), PATIENCE)
            assert message.type is aiohttp.WSMsgType.PING
            await websocket.pong(message.data)
            await websocket.send_str("x" * 10_000)
            while (message := await websocket.receive()).type is aiohttp.WSMsgType.PING:
                await websocket.pong(message.data)
            assert message.data == "x" * 10_000
    assert served.errors == []


async def test_body_that_unpacks_to_more_than_the_limit_is_refused_in_one_piece_too(serve_app: Serve) -> None:
    served = await serve_app(echo, limits={"limit_request_body": 100_000})
    packed = gzip.compress(bytes(400_000))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert (await served.talk(head + packed)).startswith(b"HTTP/1.1 413 ")


async def test_body_that_made_its_client_wait_leaves_no_context_variable_behind(serve_app: Serve) -> None:
    async def count(request: web.Request) -> web.Response:
        seen.set(seen.get() + 1)
        while request.content_length and not next(iter(served.engine.connections)).parser.paused:  # noqa: ASYNC110 - the buffer fills
            await asyncio.sleep(0)
        await request.read()
        return web.Response(text=str(seen.get()))

    served = await serve_app(count)
    size = 3_000_000
    big = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    reader, writer = await served.connect()
    for sent in (big, LAST):
        writer.write(sent)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(1) == b"1"
    writer.close()


async def test_upgrade_whose_body_comes_after_its_answer_leaves_the_connection_usable(serve_app: Serve) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(text="no")

    served = await serve_app(refuse)
    reader, writer = await served.connect()
    fields = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n"
    writer.write(b"POST / HTTP/1.1\r\n" + fields)
    answered = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nno"), PATIENCE)
    writer.write(b"hello" + LAST)
    assert bodies(answered + await asyncio.wait_for(reader.read(), PATIENCE)) == [b"no", b"no"]
    writer.close()


async def test_first_packet_of_three_bytes_begins_a_head(serve_app: Serve) -> None:
    served = await serve_app(echo, limits={"timeout_header": 0.3})
    assert (await served.talk(b"GET")).startswith(b"HTTP/1.1 408 ")
    assert (await served.talk(b"GET", b"\r\n / HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert bodies(await served.talk(b"GET", LAST[3:])) == [b"<>"]


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
    async def tell(request: web.Request) -> None:
        for piece in pieces:
            await request.writer.write(piece)

    async def handler(request: web.Request) -> web.Response:
        if place == "handler":
            await tell(request)
        return await echo(request)

    app = web.Application()
    app.router.add_post("/", handler, expect_handler=tell if place == "expect_handler" else quietly)
    lines: list[Any] = []
    served = await serve(app, aiohttp_server, access=lambda *told: lines.append(told))
    reader, writer = await served.connect()
    writer.write(EXPECTING % b"1.1")
    told = b"".join(bytes(piece) for piece in pieces)
    assert await asyncio.wait_for(reader.readexactly(len(told)), PATIENCE) == told
    writer.write(b"hello")
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n<hello>")
    assert (lines[0][4], lines[0][5], served.errors) == (200, 7, [])


async def quietly(_request: web.Request) -> None:
    """Expect nothing."""


async def test_client_of_http_1_0_gets_no_interim_response(serve_app: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.writer.write(CONTINUE + HINTS)
        return await echo(request)

    raw = await (await serve_app(handler)).talk((EXPECTING % b"1.0") + b"hello")
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert raw.endswith(b"\r\n\r\n<hello>")


async def test_handler_that_raises_after_an_interim_response_is_answered(serve_app: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.writer.write(HINTS)
        raise ValueError("boom")

    served = await serve_app(handler)
    assert (await served.talk(LAST)).startswith(HINTS + b"HTTP/1.1 500 ")
    assert len(served.errors) == 1


@pytest.mark.parametrize("unfinished", [HINTS[:-2], b"HTTP", b"HTTP/1.1 100 Continue\n\n"])
async def test_interim_response_without_an_end_is_an_error_of_its_handler(serve_app: Serve, unfinished: bytes) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.writer.write(unfinished)
        return web.Response(text="fine")

    served = await serve_app(handler)
    assert (await served.talk(LAST)).startswith(b"HTTP/1.1 500 ")
    assert "is no whole interim response" in served.errors[0]


async def test_traceback_is_shown_to_the_loopback_in_debug_mode_alone(serve_app: Serve) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise ValueError("secret")

    served = await serve_app(handler, debug=True)
    asked = LAST.replace(b"Host: a", b"Host: localhost:8000")
    shown = await served.talk(asked)
    assert shown.startswith(b"HTTP/1.1 500 ")
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in shown
    assert b"test_aiohttp_exchanges.py" in shown
    assert shown.rstrip().endswith(b"ValueError: secret")
    assert b"/arun/" not in shown
    fields = (b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=127.0.0.1", b"X-Real-IP: 127.0.0.1", b"Via: 1.1 a", b"")
    for field in fields:
        host = b"localhost\r\n" + field if field else b"shop.example"
        hidden = await served.talk(LAST.replace(b"Host: a", b"Host: " + host))
        assert hidden.startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in hidden
    assert b"secret" not in await (await serve_app(handler)).talk(asked)
