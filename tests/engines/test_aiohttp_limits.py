"""Each limit and time-out of an aiohttp app attacked, and what aiohttp serves by itself still served."""

from __future__ import annotations

import asyncio
import io
import re
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Serve = Any
PATIENCE = 10
HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
#: A time-out that a test waits for, and one that it never sees.
SOON, LATE = 0.05, 1000.0
NO_LIMITS = {"timeout_header": LATE, "timeout_body": LATE, "timeout_write": LATE}


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@pytest.fixture
async def serve_app(serve: Serve) -> Callable[..., Any]:
    """Serve a handler for every method and path; limits by name."""

    async def start(handler: Any = echo, *, limits: dict[str, Any] | None = None, **options: Any) -> Any:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler)
        return await serve(app, aiohttp_server, **{**NO_LIMITS, **(limits or {})}, **options)

    return start


def statuses(raw: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]


async def connections(served: Any, number: int) -> None:
    """Wait until the server has so many connections."""
    async with asyncio.timeout(PATIENCE):
        while len(served.engine.connections) != number:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


# ---- time-outs


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r"])
@pytest.mark.parametrize("before", [b"", HELLO])
async def test_head_that_does_not_come_is_answered_408(serve_app: Serve, before: bytes, begun: bytes) -> None:
    served = await serve_app(limits={"timeout_header": SOON}, timeout_keep_alive=LATE)
    raw = await served.talk(before + begun)
    assert statuses(raw) == [200] * bool(before) + [408]
    assert raw.endswith(b"\r\n\r\nRequest Timeout\n")


async def test_head_that_comes_byte_by_byte_has_no_more_time(serve_app: Serve) -> None:
    served = await serve_app(limits={"timeout_header": 0.2}, timeout_keep_alive=LATE)
    reader, writer = await served.connect()

    async def drip() -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        while not reader.at_eof():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    raw = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    await dripping
    assert statuses(raw) == [408]


async def test_silent_client_is_left_after_the_time_for_a_head(serve_app: Serve) -> None:
    served = await serve_app(limits={"timeout_header": SOON}, timeout_keep_alive=LATE)
    assert await served.talk() == b""


async def test_idle_client_is_left_after_the_time_between_requests(serve_app: Serve) -> None:
    served = await serve_app(timeout_keep_alive=SOON)
    assert statuses(await served.talk(HELLO)) == [200]


async def test_head_is_not_cut_by_the_time_between_requests(serve_app: Serve) -> None:
    served = await serve_app(timeout_keep_alive=SOON)
    reader, writer = await served.connect()
    writer.write(HELLO + LAST[:10])
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(SOON * 4)
    writer.write(LAST[10:])
    assert statuses(await reader.read()) == [200]
    writer.close()


async def test_connection_is_closed_after_each_answer_when_none_is_kept(serve_app: Serve) -> None:
    served = await serve_app(timeout_keep_alive=0)
    raw = await served.talk(HELLO + HELLO)
    assert statuses(raw) == [200, 200]
    assert raw.count(b"connection: close") == 1


async def test_body_that_stalls_is_answered_408(serve_app: Serve) -> None:
    served = await serve_app(limits={"timeout_body": SOON})
    for head in (POST, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"):
        assert statuses(await served.talk(head, b"abc")) == [408]
    assert served.errors == []


async def test_answer_that_waits_for_a_stalled_body_is_cut(serve_app: Serve) -> None:
    async def mirror(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    served = await serve_app(mirror, limits={"timeout_body": SOON})
    assert (await served.talk(POST, b"abc")).endswith(b"3\r\nabc\r\n")


async def test_body_may_stall_while_the_app_does_not_wait_for_it(serve_app: Serve) -> None:
    gate = asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response(body=await request.read())

    served = await serve_app(late, limits={"timeout_body": SOON})
    reader, writer = await served.connect()
    writer.write(POST + b"abc")
    await asyncio.sleep(SOON * 4)
    writer.write(b"de")
    gate.set()
    assert (await reader.readuntil(b"abcde")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(65_536))


async def big(_request: web.Request) -> web.Response:
    return web.Response(body=bytes(20_000_000))


@pytest.mark.parametrize("handler", [flood, big])
async def test_client_that_takes_nothing_is_cut(serve_app: Serve, handler: Any) -> None:
    served = await serve_app(handler, limits={"timeout_write": SOON}, timeout_keep_alive=LATE)
    client = socket.create_connection(("127.0.0.1", served.port))
    client.sendall(LAST)
    await connections(served, 1)
    await connections(served, 0)
    client.close()
    assert served.errors == []


async def test_client_that_takes_little_by_little_gets_everything(serve_app: Serve) -> None:
    served = await serve_app(big, limits={"timeout_write": 2})
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.setblocking(False)
        await loop.sock_sendall(client, LAST)
        taken = 0
        while piece := await loop.sock_recv(client, 1_000_000):
            taken += len(piece)
            await asyncio.sleep(0.01)
    assert taken > 20_000_000


# ---- numbers


async def test_connections_beyond_the_limit_are_answered_503(serve_app: Serve) -> None:
    served = await serve_app(limits={"limit_connections": 2}, timeout_keep_alive=LATE)
    kept = [await served.connect() for _ in range(2)]
    for reader, writer in kept:
        writer.write(HELLO)
        await reader.readuntil(b"\r\n\r\n")
    raw = await served.talk(HELLO)
    assert statuses(raw) == [503]
    assert b"\r\nretry-after: 1\r\n" in raw
    assert b"\r\nconnection: close\r\n" in raw
    for _, writer in kept:
        writer.close()
    await connections(served, 0)
    assert statuses(await served.talk(LAST)) == [200]


async def test_requests_beyond_the_limit_are_answered_503_and_may_come_again(serve_app: Serve) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        started.set()
        await gate.wait()
        return web.Response()

    served = await serve_app(slow, limits={"limit_concurrency": 1})
    busy_reader, busy = await served.connect()
    busy.write(LAST)
    await started.wait()
    reader, writer = await served.connect()
    writer.write(HELLO)
    raw = await reader.readuntil(b"\r\n\r\n")
    assert statuses(raw) == [503]
    assert b"\r\nretry-after: 1\r\n" in raw
    gate.set()
    assert statuses(await busy_reader.read()) == [200]
    writer.write(LAST)
    assert statuses(await reader.read()) == [200]
    busy.close()
    writer.close()


async def test_connection_is_closed_after_as_many_requests_as_it_may_have(serve_app: Serve) -> None:
    served = await serve_app(limits={"keep_alive_requests": 3})
    raw = await served.talk(HELLO * 5)
    assert statuses(raw) == [200, 200, 200]
    assert raw.count(b"connection: close") == 1


async def test_sizes_of_a_request_are_limited_as_the_options_say(serve_app: Serve) -> None:
    limits = {
        "limit_request_line": 30,
        "limit_request_fields": 3,
        "limit_request_field_size": 20,
        "limit_request_head": 1024,
    }
    served = await serve_app(limits=limits)
    for line, fields, status in (
        (b"GET /123456789012345 HTTP/1.1", b"", 200),
        (b"GET /12345678901234567 HTTP/1.1", b"", 414),
        (b"GET / HTTP/1.1", b"A: b\r\nX: 1234567890123456789\r\n", 200),
        (b"GET / HTTP/1.1", b"A: b\r\nX: 12345678901234567890\r\n", 431),
        (b"GET / HTTP/1.1", b"A: b\r\nX: 1\r\nX: 2\r\n", 431),
    ):
        raw = await served.talk(line + b"\r\nHost: a\r\n" + fields + b"\r\n", half_close=True)
        assert statuses(raw) == [status], (line, fields)
    unlimited = await serve_app(
        limits=dict.fromkeys(limits, 0) | {"limit_request_head": 30_000, "limit_request_body": 0}
    )
    wide = b"".join(b"X%d: %b\r\n" % (number, b"x" * 50) for number in range(300))
    raw = await unlimited.talk(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n" + wide + b"\r\n", half_close=True)
    assert statuses(raw) == [200]


async def test_garbage_and_slow_clients_leave_it_serving(serve_app: Serve) -> None:
    served = await serve_app(limits={"timeout_header": 0.5}, timeout_keep_alive=LATE)
    slow = [await served.connect() for _ in range(100)]
    for number, (_, writer) in enumerate(slow):
        writer.write((b"GET / HT", POST + b"a", HELLO[:-1], b"")[number % 4])
    for number in range(200):
        _, writer = await served.connect()
        writer.write(bytes((number * 7 + place * 13) % 256 for place in range(200)))
        if number % 2:
            writer.transport.abort()
        else:
            writer.close()
    assert statuses(await served.talk(LAST)) == [200]
    assert served.errors == []
    for _, writer in slow:
        writer.close()


# ---- what aiohttp serves by itself


def url(served: Any) -> str:
    return f"http://127.0.0.1:{served.port}/"


async def test_websocket_talks_past_every_time_out(serve_app: Serve) -> None:
    async def talk(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(f"{message.data}!")
        return websocket

    times = dict.fromkeys(("timeout_header", "timeout_body", "timeout_write"), SOON)
    served = await serve_app(talk, limits=times, timeout_keep_alive=SOON)
    async with aiohttp.ClientSession() as session, session.ws_connect(url(served)) as websocket:
        for _ in range(2):
            await websocket.send_str("hello")
            assert await websocket.receive_str() == "hello!"
            await asyncio.sleep(SOON * 4)
        await websocket.send_bytes(bytes(100_000))
        assert len(await websocket.receive_str()) > 100_000
    assert served.errors == []


async def test_websocket_that_the_app_declines_leaves_the_connection_usable(serve_app: Serve) -> None:
    served = await serve_app()
    upgrade = HELLO[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    assert statuses(await served.talk(upgrade + HELLO + b"GET / HTTP/2.0\r\nHost: a\r\n\r\n")) == [200, 200, 505]


async def test_upgrade_to_what_we_do_not_know_is_a_plain_request(serve_app: Serve) -> None:
    served = await serve_app()
    upgrade = b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    raw = await served.talk(HELLO[:-4] + upgrade + POST[:-4] + upgrade + b"abcde" + LAST)
    assert statuses(raw) == [200, 200, 200]
    assert b"abcde" in raw


async def test_upload_download_and_form_go_through(serve_app: Serve) -> None:
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

    served = await serve_app(receive, limits={"timeout_body": 5, "timeout_write": 5})

    async def pieces() -> Any:
        for _ in range(50):
            yield bytes(40_000)

    async with aiohttp.ClientSession() as session:
        for data in (pieces(), io.BytesIO(bytes(2_000_000))):
            async with session.post(url(served), data=data) as response:
                assert await response.read() == bytes(2_000_000)
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(bytes(300_000)), filename="a.bin")
        async with session.post(url(served), data=form) as response:
            assert await response.text() == "a.bin 300000"
    assert served.errors == []


async def test_file_is_sent_whole_with_ranges_and_without_a_body_for_head(serve_app: Serve, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    path = tmp_path / "file"
    path.write_bytes(content)

    async def send(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    served = await serve_app(send, limits={"timeout_write": 5})
    async with aiohttp.ClientSession() as session:
        async with session.get(url(served)) as response:
            assert await response.read() == content
        async with session.get(url(served), headers={"Range": "bytes=10-19"}) as response:
            assert (response.status, await response.read()) == (206, content[10:20])
        async with session.head(url(served)) as response:
            assert (response.content_length, await response.read()) == (len(content), b"")
        tag = response.headers["ETag"]
        async with session.get(url(served), headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
    assert served.errors == []


async def test_client_that_takes_nothing_of_a_file_is_cut(serve_app: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(100_000_000)

    async def send(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    served = await serve_app(send, limits={"timeout_write": SOON}, timeout_keep_alive=LATE)
    client = socket.create_connection(("127.0.0.1", served.port))
    client.sendall(LAST)
    await connections(served, 1)
    await connections(served, 0)
    client.close()
    assert served.errors == []
