"""The time limit of a request: which ones it ends, what their clients get, and what does not count."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.apps import CONCURRENT, STREAMING, Exchange, Gate, file_of_zeros
from tests.engines.conftest import aiohttp_server, until
from tests.engines.wire import reset, statuses
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from arun.http.access.log import access_log
from arun.http.request_time import RequestTimes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.engines.apps import Handler

Serve = Any
#: Seconds; the clock of the engines then looks every 0.025 s.
LIMIT = 0.1
#: So many seconds are too many for any request.
LONG = 0.3
BIG = 20_000_000


def get(path: str, *more: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *more, "", ""]).encode()


class Watched(Gate):
    """A gate that remembers what the app did before it."""

    def __init__(self) -> None:
        super().__init__()
        #: Paths of the requests, and how often a task was cancelled and did not end.
        self.asked: list[str] = []
        self.swallowed = 0


def app_before(gate: Watched) -> Handler:  # noqa: C901 - as many ways as there are paths
    """Return a handler whose path chooses what it does."""

    async def app(exchange: Exchange) -> None:
        path = exchange.path
        gate.asked.append(path)
        if path == "/file":
            await exchange.send_file(exchange.query)
        elif path in {"/chunked", "/length", "/stream", "/endless", "/background"}:
            await respond_in_pieces(exchange)
        else:
            if path == "/upload":
                await exchange.read()
            await wait(exchange)
            await exchange.respond(b"x" * BIG if path == "/big" else b"fine")

    async def wait(exchange: Exchange) -> None:
        if exchange.path == "/hang":
            await exchange.hold(gate)
        while exchange.path == "/deaf" and not gate.is_open:
            try:
                await exchange.hold(gate)
            except asyncio.CancelledError:
                gate.swallowed += 1

    async def respond_in_pieces(exchange: Exchange) -> None:
        path = exchange.path
        length = {"/length": 100, "/stream": BIG, "/background": 4}.get(path)
        await exchange.begin(*(() if length is None else (("Content-Length", str(length)),)))
        if path == "/background":
            await exchange.end(b"fine")
            await exchange.hold(gate)
            return
        if path == "/stream":
            for _ in range(BIG // 50_000):
                await exchange.write(b"x" * 50_000)
        while path == "/endless" and not gate.is_open:
            await exchange.write(b"x")
        if path in {"/chunked", "/length"}:
            await exchange.write(b"some")
            await exchange.hold(gate)
        await exchange.end()

    return app


@pytest.fixture
async def gate() -> AsyncIterator[Watched]:
    made = Watched()
    yield made
    made.open()


@pytest.fixture(params=CONCURRENT)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def serve_limited(serve_app: Serve, gate: Watched) -> Callable[..., Any]:
    """Serve the app with a limit of 0.1 s."""

    async def start(limit: float = LIMIT, **options: Any) -> Any:
        return await serve_app(app_before(gate), **{"timeout_request": limit, **options})

    return start


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)


# ---- what is ended


@pytest.mark.parametrize("path", ["/hang", "/deaf"])
async def test_request_without_a_head_is_answered_503(serve_limited: Serve, gate: Watched, path: str) -> None:
    served = await serve_limited()
    answer = await served.talk(get(path, "Connection: close"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert re.search(rb"(?i)\r\nretry-after: 1\r\n", head + b"\r\n")
    assert body == b"Service Unavailable\n"
    assert len(served.errors) == 1
    gate.open()


@pytest.mark.parametrize("kind", ["asgi", "threads"])  # aiohttp sends a head as soon as it is prepared
async def test_head_without_a_body_gives_way_to_a_503(serve_app: Serve, gate: Gate) -> None:
    async def begun(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.hold(gate)
        await exchange.end(b"fine")

    served = await serve_app(begun, timeout_request=LIMIT)
    assert statuses(await served.talk(get("/", "Connection: close"))) == [503]
    assert len(served.errors) == 1


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


async def test_error_log_shows_the_request_and_where_the_app_was(serve_limited: Serve, kind: str) -> None:
    served = await serve_limited()
    await served.talk(get("/hang?a=b", "Connection: close"))
    [told] = served.errors
    assert told.startswith("GET /hang?a=b took longer than 0.1 s (client 127.0.0.1)\nThe app was here")
    assert ("in hold_thread\n" if kind == "threads" else "in hold\n") in told
    assert __file__ in told
    assert "/arun/" not in told
    assert "threading.py" not in told.partition("hold_thread")[0]


async def test_request_in_time_is_answered_as_ever(serve_limited: Serve, gate: Watched) -> None:
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


async def test_no_limit_is_the_default(serve_limited: Serve, gate: Watched) -> None:
    served = await serve_limited(timeout_request=0.0, timeout_body=0.04)
    talk = asyncio.ensure_future(served.talk(get("/hang", "Connection: close")))
    await asyncio.wait({talk}, timeout=LONG)
    assert not talk.done()
    gate.open()
    assert (await talk).endswith(b"fine")


async def test_app_that_swallows_its_cancellation_is_cancelled_again_and_again(
    serve_limited: Serve, kind: str, gate: Watched
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


async def test_body_that_an_aiohttp_app_generates_is_covered(serve: Serve) -> None:
    async def generated() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.Event().wait()

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=generated())

    app = web.Application()
    app.router.add_get("/generated", handler)
    served = await serve(app, aiohttp_server, timeout_request=LIMIT)
    assert (await served.talk(get("/generated"))).endswith(b"\r\n\r\n4\r\nsome\r\n")
    (error,) = served.errors
    assert error.startswith("GET /generated took longer than 0.1 s")


async def test_app_whose_client_has_gone_is_ended_and_reported_too(serve_limited: Serve, gate: Watched) -> None:
    served = await serve_limited()
    _, writer = await served.connect()
    writer.write(get("/hang"))
    await until(lambda: gate.asked)
    reset(writer)  # nothing can be sent any more
    await until(lambda: served.errors)
    assert served.errors[0].startswith("GET /hang took longer than 0.1 s")


async def test_head_request_gets_a_503_without_a_body(serve_limited: Serve) -> None:
    served = await serve_limited()
    answer = await served.talk(get("/hang", "Connection: close", method="HEAD"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("path", "status", "sent"), [("/hang", 503, 20), ("/deaf", 503, 20), ("/length", 200, 4)])
async def test_access_log_gets_one_line(serve_limited: Serve, gate: Watched, path: str, status: int, sent: int) -> None:
    lines: list[str] = []
    served = await serve_limited(access=access_log("json", (), lines.append), request_id_header="X-Id")
    answer = await served.talk(get(path, "Connection: close"))
    line = json.loads(lines[0])
    assert (line["path"], line["protocol"], line["status"], line["bytes"]) == (path, "HTTP/1.1", status, sent)
    assert LIMIT <= line["duration_ms"] / 1000 < 5
    assert re.search(rb"(?i)\r\nx-id: " + line["request_id"].encode(), answer)
    gate.open()
    assert (await served.talk(get("/", "Connection: close"))).endswith(b"fine")
    assert [json.loads(one)["path"] for one in lines] == [path, "/"]


# ---- what follows


async def test_requests_behind_a_cut_answer_are_never_begun(serve_limited: Serve, gate: Watched) -> None:
    served = await serve_limited()
    answer = await served.talk(get("/length") + get("/second"))
    assert answer.count(b"HTTP/1.1") == 1
    assert gate.asked == ["/length"]


@pytest.mark.parametrize("path", ["/hang", "/deaf"])
async def test_requests_behind_a_503_are_answered_if_the_connection_goes_on(
    serve_limited: Serve, gate: Watched, path: str
) -> None:
    """Nothing that the first call sends later gets among them."""
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


@pytest.mark.parametrize("kind", STREAMING)
async def test_app_may_work_on_behind_a_complete_response(serve_limited: Serve) -> None:
    served = await serve_limited()
    reader, writer = await served.connect()
    writer.write(get("/background"))
    await head_of(reader)
    assert await reader.readexactly(4) == b"fine"
    await asyncio.sleep(LONG)
    assert served.errors == []
    writer.close()


async def test_close_of_a_wsgi_app_may_take_its_time_behind_a_complete_response(
    serve_threads: Serve, gate: Watched
) -> None:
    class ClosesLate:
        def __iter__(self) -> Iterator[bytes]:
            yield b"fine"

        def close(self) -> None:
            gate.hold_thread()

    def app(_environ: dict[str, Any], start_response: Any) -> ClosesLate:
        start_response("200 OK", [("Content-Length", "4")])
        return ClosesLate()

    served = await serve_threads(app, timeout_request=LIMIT)
    reader, writer = await served.connect()
    writer.write(get("/"))
    assert (await asyncio.wait_for(reader.readuntil(b"fine"), 10)).startswith(b"HTTP/1.1 200 ")
    await gate.reached()
    await asyncio.sleep(LONG)
    assert served.errors == []
    writer.close()


# ---- what does not count


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


@pytest.mark.parametrize("kind", STREAMING)  # a WSGI app is called when the body has come
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
        path += f"?{file_of_zeros(tmp_path / 'big', BIG)}"
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
async def test_time_in_the_queue_does_not_count(serve_limited: Serve, gate: Watched) -> None:
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
async def test_lost_thread_is_reported_and_another_one_has_its_place_until_it_returns(
    serve_limited: Serve, gate: Watched, stuck: list[str]
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
    gate.shut()
    await served.talk(get("/hang", "Connection: close"))
    assert stuck[1] == "a thread is lost to GET /hang, which takes longer than 0.1 s; another one has its place"


@pytest.mark.parametrize("kind", ["threads"])
async def test_no_more_threads_are_replaced_than_there_are(
    serve_limited: Serve, gate: Watched, stuck: list[str]
) -> None:
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
    serve_limited: Serve, gate: Watched
) -> None:
    served = await serve_limited(threads=1)
    hanging = asyncio.ensure_future(served.talk(get("/hang", "Connection: close")))
    await until(lambda: gate.threads)
    waiting = [asyncio.ensure_future(served.talk(get("/", "Connection: close"))) for _ in range(5)]
    assert b" 503 " in await hanging
    assert all(answer.endswith(b"fine") for answer in await asyncio.gather(*waiting))


@pytest.mark.parametrize("kind", ["inline"])
async def test_wsgi_app_in_the_loop_is_left_alone(
    serve_limited: Serve, gate: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing could end it but the end of the process."""
    served = await serve_limited(0.01)
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
