"""The time limit of a request: who is ended, what the client is told, and whose time it is not."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server, wsgi_server
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from arun.http.request_time import RequestTimes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

Serve = Any
#: Seconds; the clock of the engines then looks every 0.025 s.
LIMIT = 0.1
#: So many seconds are too many for any request.
LONG = 0.3
BIG = 20_000_000


def get(path: str, *more: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *more, "", ""]).encode()


class Gate:
    """What an app waits for, whatever kind it is of; the test opens it at its end."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open_for_threads = threading.Event()
        #: Threads that have waited, and how often a task was told to end and did not.
        self.threads: list[threading.Thread] = []
        self.swallowed = 0
        self.asked: list[str] = []

    def open(self) -> None:
        self.is_open.set()
        self.is_open_for_threads.set()

    def block_thread(self) -> None:
        self.threads.append(threading.current_thread())
        self.is_open_for_threads.wait(20)

    async def hold(self) -> None:
        await self.is_open.wait()

    async def hold_whatever_is_said(self) -> None:
        while not self.is_open.is_set():
            try:
                await self.is_open.wait()
            except asyncio.CancelledError:
                self.swallowed += 1


def asgi_app(gate: Gate) -> Callable[..., Any]:  # noqa: C901 - as many ways as there are paths
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: C901 - as many ways as there are paths
        assert scope["type"] == "http"
        path = scope["path"]
        gate.asked.append(path)
        if path == "/file":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.pathsend", "path": scope["query_string"].decode()})
            return
        if path == "/upload":
            while (await receive())["more_body"]:
                pass
        headers = [(b"content-length", b"100")] if path == "/length" else []
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        if path in {"/chunked", "/length"}:
            await send(start)
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
        if path == "/begun":
            await send(start)
        if path in {"/hang", "/chunked", "/length", "/begun"}:
            await gate.hold()
        if path == "/deaf":
            await gate.hold_whatever_is_said()
        if path == "/stream":
            await send(start)
            for _ in range(BIG // 50_000):
                await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
            await send({"type": "http.response.body"})
            return
        await send(start)
        await send({"type": "http.response.body", "body": b"x" * BIG if path == "/big" else b"fine"})
        if path == "/background":
            await gate.hold()

    return app


def wsgi_app(gate: Gate) -> Callable[..., Any]:  # noqa: C901 - as many ways as there are paths
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        gate.asked.append(path)
        if path == "/file":
            start_response("200 OK", [])
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))  # noqa: SIM115 - arun closes it
            return wrapped
        if path == "/upload":
            environ["wsgi.input"].read()
        if path in {"/chunked", "/length", "/stream", "/endless"}:
            return pieces(path, start_response)
        if path == "/background":
            start_response("200 OK", [("Content-Length", "4")])
            return ClosesLate(gate)
        if path == "/begun":
            start_response("200 OK", [])
        if path in {"/hang", "/deaf", "/begun"}:
            gate.block_thread()
        if path != "/begun":
            start_response("200 OK", [])
        return [b"x" * BIG if path == "/big" else b"fine"]

    def pieces(path: str, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "100")] if path == "/length" else [])
        if path == "/stream":
            yield from (b"x" * 50_000 for _ in range(BIG // 50_000))
            return
        while path == "/endless" and not gate.is_open_for_threads.is_set():
            yield b"x"
        if path == "/endless":
            return
        yield b"some"
        gate.block_thread()
        yield b"more"

    return app


class ClosesLate:
    """A WSGI answer that is complete before it is closed."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __iter__(self) -> Iterator[bytes]:
        yield b"fine"

    def close(self) -> None:
        self.gate.block_thread()


def aiohttp_app(gate: Gate) -> web.Application:  # noqa: C901 - as many ways as there are paths
    async def handler(request: web.Request) -> web.StreamResponse:
        path = request.path
        gate.asked.append(path)
        if path == "/file":
            return web.FileResponse(request.query_string)
        if path == "/upload":
            await request.read()
        if path in {"/hang", "/begun"}:  # aiohttp sends a head as soon as it is prepared
            await gate.hold()
        if path == "/deaf":
            await gate.hold_whatever_is_said()
        if path in {"/chunked", "/length", "/stream"}:
            return await stream(path, request)
        if path == "/generated":
            return web.Response(body=generated())
        return web.Response(body=b"x" * BIG if path == "/big" else b"fine")

    async def stream(path: str, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if path != "/chunked":
            response.content_length = BIG if path == "/stream" else 100
        await response.prepare(request)
        if path == "/stream":
            for _ in range(BIG // 50_000):
                await response.write(b"x" * 50_000)
            return response
        await response.write(b"some")
        await gate.hold()
        return response

    async def generated() -> AsyncIterator[bytes]:
        yield b"some"
        await gate.hold()

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    return app


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    made = Gate()
    yield made
    made.open()


@pytest.fixture(params=["asgi", "threads", "aiohttp"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def serve_limited(kind: str, serve: Serve, gate: Gate) -> Callable[..., Any]:
    """Serve the app of a kind, with a limit of 0.1 s."""

    async def start(limit: float = LIMIT, *, threads: int = 8, **options: Any) -> Any:
        options.setdefault("timeout_request", limit)
        if kind == "asgi":
            return await serve(asgi_app(gate), **options)
        if kind == "aiohttp":
            return await serve(aiohttp_app(gate), aiohttp_server, **options)
        return await serve(wsgi_app(gate), wsgi_server, threads=threads, **options)

    return start


async def until(holds: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for is in the engine, or in a thread
            await asyncio.sleep(0.005)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)


# ---- who is ended


@pytest.mark.parametrize("path", ["/hang", "/begun", "/deaf"])
async def test_request_without_a_head_is_answered_503(serve_limited: Serve, gate: Gate, path: str) -> None:
    served = await serve_limited()
    answer = await served.talk(get(path, "Connection: close"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert re.search(rb"(?i)\r\nretry-after: 1\r\n", head + b"\r\n")
    assert body == b"Service Unavailable\n"
    assert len(served.errors) == 1
    gate.open()


async def test_limit_never_strikes_before_its_time(serve_limited: Serve) -> None:
    served = await serve_limited()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await served.talk(get("/hang", "Connection: close"))
    assert loop.time() - began >= LIMIT


@pytest.mark.parametrize("path", ["/chunked", "/length"])
async def test_answer_that_has_begun_is_cut_so_that_it_is_not_complete(serve_limited: Serve, path: str) -> None:
    served = await serve_limited()
    answer = await served.talk(get(path))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == (b"4\r\nsome\r\n" if path == "/chunked" else b"some")
    assert len(served.errors) == 1


async def test_answer_whose_end_is_that_of_the_connection_is_reset(serve_limited: Serve) -> None:
    served = await serve_limited()
    reader, writer = await served.connect()
    writer.write(b"GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n")
    assert b"200 OK" in await head_of(reader)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def test_error_log_tells_the_request_and_where_the_app_was(serve_limited: Serve, kind: str) -> None:
    served = await serve_limited()
    await served.talk(get("/hang?a=b", "Connection: close"))
    [told] = served.errors
    assert told.startswith("GET /hang?a=b took longer than 0.1 s (client 127.0.0.1)\nThe app was here")
    assert "in block_thread" if kind == "threads" else "in hold\n" in told
    assert __file__ in told
    assert "/arun/" not in told
    assert "threading.py" not in told.partition("block_thread")[0]


async def test_request_in_time_is_answered_as_ever(serve_limited: Serve, gate: Gate) -> None:
    served = await serve_limited(timeout_request=5.0, timeout_body=0.04)  # a look every 0.01 s
    talk = asyncio.ensure_future(served.talk(get("/hang", "Connection: close")))
    await asyncio.wait({talk}, timeout=0.3)
    gate.open()
    assert (await talk).endswith(b"fine")
    assert served.errors == []


async def test_each_request_of_a_connection_has_its_own_time(serve_limited: Serve) -> None:
    served = await serve_limited()
    reader, writer = await served.connect()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 2 * LIMIT:
        writer.write(get("/"))
        assert b"200 OK" in await head_of(reader)
        await reader.readuntil(b"fine")
        await asyncio.sleep(0.01)
    assert served.errors == []
    writer.close()


async def test_no_limit_is_the_default(serve_limited: Serve, gate: Gate) -> None:
    served = await serve_limited(timeout_request=0.0, timeout_body=0.04)
    talk = asyncio.ensure_future(served.talk(get("/hang", "Connection: close")))
    await asyncio.wait({talk}, timeout=LONG)
    assert not talk.done()
    gate.open()
    assert (await talk).endswith(b"fine")


async def test_app_that_swallows_its_cancellation_is_cancelled_again_and_again(
    serve_limited: Serve, kind: str, gate: Gate
) -> None:
    served = await serve_limited()
    reader, writer = await served.connect()
    writer.write(get("/deaf"))
    assert b"503 Service Unavailable" in await head_of(reader)
    if kind != "threads":
        await until(lambda: gate.swallowed >= 3)
    gate.open()
    writer.close()
    assert (await served.talk(get("/", "Connection: close"))).endswith(b"fine")
    assert len(served.errors) == 1


@pytest.mark.parametrize("kind", ["aiohttp"])
async def test_body_that_an_aiohttp_app_generates_is_covered(serve_limited: Serve) -> None:
    served = await serve_limited()
    assert (await served.talk(get("/generated"))).endswith(b"\r\n\r\n4\r\nsome\r\n")
    [told] = served.errors
    assert told.startswith("GET /generated took longer than 0.1 s")


async def test_app_whose_client_has_gone_is_ended_and_told_of_too(serve_limited: Serve, gate: Gate) -> None:
    served = await serve_limited()
    _, writer = await served.connect()
    writer.write(get("/hang"))
    await until(lambda: gate.asked)
    own = writer.get_extra_info("socket")
    own.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )  # a reset: nothing can be sent any more
    writer.transport.abort()
    await until(lambda: served.errors)
    assert served.errors[0].startswith("GET /hang took longer than 0.1 s")


async def test_head_request_gets_a_503_without_a_body(serve_limited: Serve) -> None:
    served = await serve_limited()
    answer = await served.talk(get("/hang", "Connection: close", method="HEAD"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("path", "status", "sent"), [("/hang", 503, 20), ("/deaf", 503, 20), ("/length", 200, 4)])
async def test_access_log_gets_one_line(serve_limited: Serve, gate: Gate, path: str, status: int, sent: int) -> None:
    entries: list[Any] = []
    served = await serve_limited(access=lambda *entry: entries.append(entry), request_id_header="X-Id")
    answer = await served.talk(get(path, "Connection: close"))
    assert entries[0][2:6] == (path.encode(), "1.1", status, sent)
    assert LIMIT <= entries[0][6] < 5
    assert re.search(rb"(?i)\r\nx-id: " + entries[0][10].encode(), answer)
    gate.open()
    assert (await served.talk(get("/", "Connection: close"))).endswith(b"fine")
    assert [entry[2] for entry in entries] == [path.encode(), b"/"]


# ---- what follows


async def test_requests_behind_a_cut_answer_are_never_begun(serve_limited: Serve, gate: Gate) -> None:
    served = await serve_limited()
    answer = await served.talk(get("/length") + get("/second"))
    assert answer.count(b"HTTP/1.1") == 1
    assert gate.asked == ["/length"]


@pytest.mark.parametrize("path", ["/hang", "/deaf"])
async def test_requests_behind_a_503_are_answered_if_the_connection_goes_on(
    serve_limited: Serve, gate: Gate, path: str
) -> None:
    """Nothing that the first app says later gets among them."""
    served = await serve_limited()
    reader, writer = await served.connect()
    writer.write(get(path) + get("/second"))
    head = await head_of(reader)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert await reader.readexactly(20) == b"Service Unavailable\n"
    assert b"200 OK" in await head_of(reader)
    assert await reader.readexactly(4) == b"fine"
    gate.open()
    for thread in gate.threads:
        await asyncio.to_thread(thread.join, 10)
    writer.write(get("/third"))
    assert b"200 OK" in await head_of(reader)
    assert await reader.readexactly(4) == b"fine"
    writer.close()


async def test_stop_does_not_wait_for_what_was_ended(serve_limited: Serve) -> None:
    served = await serve_limited()
    await served.talk(get("/hang", "Connection: close"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await served.stop(8)
    assert loop.time() - began < 4


async def test_app_may_work_on_behind_a_complete_answer(serve_limited: Serve, kind: str) -> None:
    if kind == "aiohttp":
        pytest.skip("an answer of aiohttp is complete when its handler has returned")
    served = await serve_limited()
    reader, writer = await served.connect()
    writer.write(get("/background"))
    await head_of(reader)
    assert await reader.readexactly(4) == b"fine"
    await asyncio.sleep(LONG)
    assert served.errors == []
    writer.close()


# ---- whose time it is not


async def test_body_that_comes_slowly_is_not_the_apps_fault(serve_limited: Serve) -> None:
    served = await serve_limited()
    reader, writer = await served.connect()
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(get("/upload", "Content-Length: 1000", method="POST"))
    sent = 0
    while loop.time() - began < LONG:
        writer.write(b"x")
        sent += 1
        await asyncio.sleep(0.01)
    writer.write(b"x" * (1000 - sent))
    assert b"200 OK" in await head_of(reader)
    assert served.errors == []
    writer.close()


@pytest.mark.parametrize("kind", ["asgi", "aiohttp"])  # a WSGI app is called when the body has come
async def test_app_that_hangs_while_a_body_comes_is_ended(serve_limited: Serve) -> None:
    served = await serve_limited()
    reader, writer = await served.connect()
    writer.write(get("/hang", "Content-Length: 100000", method="POST") + b"x" * 70_000)
    assert b"503 Service Unavailable" in await head_of(reader)
    assert await reader.readexactly(20) == b"Service Unavailable\n"
    writer.close()


@pytest.mark.parametrize("path", ["/big", "/stream", "/file"])
async def test_client_that_reads_slowly_gets_all_of_a_long_answer(
    serve_limited: Serve, path: str, tmp_path: Path
) -> None:
    served = await serve_limited(0.25)  # the rest of it is made and taken in less
    if path == "/file":
        with (tmp_path / "big").open("wb") as file:
            file.truncate(BIG)
        path += f"?{tmp_path / 'big'}"
    reader, writer = await served.connect()
    writer.write(get(path, "Connection: close"))
    await head_of(reader)
    writer.transport.pause_reading()
    await asyncio.sleep(0.6)
    writer.transport.resume_reading()
    size = 0
    while data := await asyncio.wait_for(reader.read(1_000_000), 10):
        size += data.count(b"x") + data.count(b"\0")
    assert size == BIG
    assert served.errors == []
    writer.close()


@pytest.mark.parametrize("kind", ["threads"])
async def test_time_in_the_queue_does_not_count(serve_limited: Serve, gate: Gate) -> None:
    served = await serve_limited(threads=1, timeout_request=LIMIT, limit_response_buffer=0)
    reader, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(get("/stream", "Connection: close"))  # it holds the only thread, and waits for its client
    await until(lambda: gate.asked)
    waiting = asyncio.ensure_future(served.talk(get("/second", "Connection: close")))
    await asyncio.wait({waiting}, timeout=LONG)
    assert not waiting.done()
    writer.transport.resume_reading()
    assert (await asyncio.wait_for(reader.read(), 10)).count(b"x") == BIG
    assert (await waiting).endswith(b"fine")
    assert served.errors == []
    writer.close()


# ---- threads that are lost


@pytest.fixture
def stuck() -> list[str]:
    return []


@pytest.mark.parametrize("kind", ["threads"])
async def test_lost_thread_is_told_and_another_one_has_its_place_until_it_returns(
    serve_limited: Serve, gate: Gate, stuck: list[str]
) -> None:
    served = await serve_limited(threads=1, thread_lost=stuck.append)
    await served.talk(get("/hang?a=b", "Connection: close"))
    assert stuck == ["a thread is lost to GET /hang?a=b, which takes longer than 0.1 s; another one has its place"]
    assert (await served.talk(get("/", "Connection: close"))).endswith(b"fine")
    gate.open()
    [lost] = gate.threads
    await asyncio.to_thread(lost.join, 10)
    assert not lost.is_alive()
    assert (await served.talk(get("/", "Connection: close"))).endswith(b"fine")
    gate.is_open_for_threads.clear()
    await served.talk(get("/hang", "Connection: close"))
    assert stuck[1] == "a thread is lost to GET /hang, which takes longer than 0.1 s; another one has its place"


@pytest.mark.parametrize("kind", ["threads"])
async def test_no_more_threads_are_replaced_than_there_are(serve_limited: Serve, gate: Gate, stuck: list[str]) -> None:
    served = await serve_limited(threads=2, thread_lost=stuck.append)
    for _ in range(4):
        assert b" 503 " in await served.talk(get("/hang", "Connection: close"))
    assert [sentence.partition("; ")[2] for sentence in stuck] == [
        "another one has its place",
        "another one has its place",
        "as many are already, and none has its place",
        "as many are already, and none has its place",
    ]
    assert len(set(gate.threads)) == 4
    waiting = asyncio.ensure_future(served.talk(get("/", "Connection: close")))
    await asyncio.wait({waiting}, timeout=LONG)
    assert not waiting.done()
    gate.open()
    assert (await waiting).endswith(b"fine")
    for _ in range(2):
        assert (await served.talk(get("/", "Connection: close"))).endswith(b"fine")
    for lost in gate.threads[:2]:
        await asyncio.to_thread(lost.join, 10)
        assert not lost.is_alive()
    assert all(thread.is_alive() for thread in gate.threads[2:])


@pytest.mark.parametrize("kind", ["threads"])
async def test_requests_that_waited_for_a_lost_thread_are_answered_by_the_next(
    serve_limited: Serve, gate: Gate
) -> None:
    served = await serve_limited(threads=1)
    hanging = asyncio.ensure_future(served.talk(get("/hang", "Connection: close")))
    await until(lambda: gate.threads)
    waiting = [asyncio.ensure_future(served.talk(get("/", "Connection: close"))) for _ in range(5)]
    assert b" 503 " in await hanging
    assert all(answer.endswith(b"fine") for answer in await asyncio.gather(*waiting))


async def test_wsgi_app_in_the_loop_is_left_alone(
    serve_inline: Serve, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing could end it: that is the work of whoever watches the process."""
    served = await serve_inline(wsgi_app(gate), timeout_request=0.01)
    answer = asyncio.ensure_future(served.talk(get("/endless", "Connection: close")))
    await asyncio.sleep(LONG)
    gate.open()
    assert (await answer).endswith(b"\r\n0\r\n\r\n")
    assert served.errors == []
    assert caplog.records == []


# ---- websockets


@pytest.mark.parametrize("engine", ["asgi", "aiohttp"])
async def test_websocket_may_last_and_its_handshake_may_not(serve: Serve, engine: str) -> None:
    async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        if scope["path"] == "/hang":
            await asyncio.Event().wait()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": "late"})

    async def handler(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        if request.path == "/hang":
            await asyncio.Event().wait()
        await websocket.prepare(request)
        await websocket.receive()
        await websocket.send_str("late")
        return websocket

    if engine == "asgi":
        served = await serve(asgi, timeout_request=LIMIT)
    else:
        app = web.Application()
        app.router.add_get("/{rest:.*}", handler)
        served = await serve(app, aiohttp_server, timeout_request=LIMIT)
    async with connect(f"ws://127.0.0.1:{served.port}/", proxy=None) as websocket:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(websocket.recv(), LONG)
        await websocket.send("go")
        assert await websocket.recv() == "late"
    assert served.errors == []
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{served.port}/hang", proxy=None)
    assert refused.value.response.status_code == 503
    assert len(served.errors) == 1


# ---- the reckoning


def test_time_counts_from_the_first_look_on_and_only_while_the_app_works() -> None:
    times: RequestTimes[str] = RequestTimes(10.0)
    working = {"a": True}

    def look(now: float) -> list[tuple[str, bool]]:
        return times.look(now, working, lambda key: working[key])

    assert look(100.0) == []
    assert look(104.0) == []
    working["a"] = False
    assert look(108.0) == []
    working["a"] = True
    assert look(112.0) == []
    assert look(116.0) == []
    working["b"] = True
    assert look(117.0) == []
    assert look(118.0) == [("a", False)]
    assert look(119.0) == [("a", True)]
    del working["a"]
    assert look(120.0) == []


def test_a_loop_that_was_held_up_costs_those_that_wait_no_more_than_half_of_their_time() -> None:
    times: RequestTimes[str] = RequestTimes(10.0)
    assert times.look(0.0, ["a"], lambda _: True) == []
    assert times.look(60.0, ["a"], lambda _: True) == []
    assert times.look(120.0, ["a"], lambda _: True) == [("a", False)]
