"""Calls that wait for a client: each returns when it may go on, and when the client has gone; none leaves a trace."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.conftest import until
from tests.engines.wire import HELLO, LAST, reset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Serve = Any
SIZE = 8_000_000
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def start_of_answer(send: Any, length: int | None = None) -> None:
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def slow_client(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with a small receive buffer, so that most of an answer waits with the server."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    own.setblocking(False)
    await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=own, limit=65_536)


class Large:
    """An app whose whole response is one large piece; it counts the calls that have returned."""

    def __init__(self) -> None:
        self.began = self.ended = 0

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.began += 1
        try:
            await start_of_answer(send)
            await send({"type": "http.response.body", "body": bytes(SIZE)})
        finally:
            self.ended += 1


@pytest.mark.parametrize("end", ["read, kept", "read, closed", "reset", "closed", "next request"])
async def test_large_last_piece_leaves_no_call_behind(serve: Serve, end: str) -> None:
    app = Large()
    served = await serve(app)
    reader, writer = await slow_client(served.port)
    writer.write(LAST if end == "read, closed" else HELLO * 2 if end == "next request" else HELLO)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert b"content-length: 8000000\r\n" in head
    if end == "reset":
        reset(writer)
    elif end != "closed":
        await asyncio.wait_for(reader.readexactly(SIZE), 20)
        if end == "next request":
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            await asyncio.wait_for(reader.readexactly(SIZE), 20)
    if end != "read, kept":
        writer.close()
        await until(lambda: not served.engine.connections)
    await until(lambda: not served.engine.running)
    assert app.ended == app.began == (2 if end == "next request" else 1)
    writer.close()


async def test_slots_of_large_answers_are_free_again(serve: Serve) -> None:
    served = await serve(Large(), limit_concurrency=2)
    for _ in range(4):
        reader, writer = await slow_client(served.port)
        writer.write(LAST)
        raw = await asyncio.wait_for(reader.read(), 20)
        assert raw.startswith(b"HTTP/1.1 200 ")
        assert len(raw) > SIZE
        writer.close()


async def test_stop_waits_for_the_client_of_a_large_answer_and_no_longer(serve: Serve) -> None:
    served = await serve(Large())
    reader, writer = await slow_client(served.port)
    writer.write(HELLO)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    stop = asyncio.ensure_future(served.stop(8))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert len(await asyncio.wait_for(reader.read(), 10)) == SIZE
    await stop
    assert loop.time() - began < 4
    writer.close()


@pytest.mark.parametrize("end", ["answered", "reset", "cut"])
async def test_sender_that_waits_is_woken_whatever_ends_its_request(serve: Serve, end: str) -> None:
    """One task of the app waits in send while another one completes the answer, or the client goes."""
    woken = asyncio.Event()
    waiting = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start_of_answer(send)

        async def produce() -> None:
            with contextlib.suppress(OSError, RuntimeError):
                waiting.set()
                while True:
                    await send({"type": "http.response.body", "body": bytes(SIZE), "more_body": True})
            woken.set()

        task = asyncio.ensure_future(produce())
        await receive()
        if end == "answered":
            await asyncio.sleep(0.1)
            await send({"type": "http.response.body"})
        elif end == "cut":
            await asyncio.sleep(0.1)
            raise RuntimeError("the other half fails")
        await asyncio.wait_for(task, 10)

    served = await serve(app)
    reader, writer = await slow_client(served.port)
    writer.write(HELLO)
    await asyncio.wait_for(waiting.wait(), 10)
    if end == "reset":
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        reset(writer)
    await asyncio.wait_for(woken.wait(), 10)
    writer.close()


async def test_thread_whose_app_sends_too_much_is_not_lost_to_a_slow_client(serve_threads: Serve) -> None:
    """The response is complete when its length is reached, so nothing resumes it; its thread serves the next one."""
    closed = []

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(SIZE))])

        def pieces() -> Iterator[bytes]:
            try:
                for _ in range(4):
                    yield bytes(SIZE // 2 + 1)
            finally:
                closed.append(True)

        return pieces()

    served = await serve_threads(app, threads=1)
    for turn in range(1, 3):
        reader, writer = await slow_client(served.port)
        writer.write(HELLO)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        await asyncio.wait_for(reader.readexactly(SIZE), 20)
        await until(lambda turn=turn: len(closed) == turn)  # type: ignore[misc]
        writer.close()


# ---- polls


@pytest.mark.parametrize("kind", ["http", "body", "websocket", "handshake"])
async def test_polls_of_receive_leave_nothing(serve: Serve, kind: str) -> None:
    """``is_disconnected()`` of Starlette is a receive that is cancelled at once; so is each end of a ``wait_for``."""
    grown: list[int] = []
    done = asyncio.Event()

    async def poll(receive: Any, times: int) -> None:
        for _ in range(times):
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] != "lifespan"
        if kind != "body":
            await receive()
        if kind == "websocket":
            await send({"type": "websocket.accept"})
        await poll(receive, 100)
        tracemalloc.start()
        try:
            await poll(receive, 1_000)
            before = tracemalloc.get_traced_memory()[0]
            await poll(receive, 3_000)
            grown.append(tracemalloc.get_traced_memory()[0] - before)
        finally:
            tracemalloc.stop()
        done.set()

    served = await serve(app)
    _, writer = await served.connect()
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    writer.write({"http": HELLO, "body": post}.get(kind, UPGRADE))
    await asyncio.wait_for(done.wait(), 20)
    writer.close()
    assert grown[0] < 30_000  # a future each would be 500,000
