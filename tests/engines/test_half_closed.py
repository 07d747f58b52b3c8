"""A client that has closed its sending side still gets its response; the app hears of one that has gone, though both look alike.

Frameworks listen for ``http.disconnect`` while they answer, and give up when it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.conftest import asgi_server, until

from arun.http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from arun.http.server import HttpServer

Serve = Any
LARGE = 6_000_000


class Listener:
    """An app that answers in a task, and cancels that when the client goes, as Quart and Django do."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer
        self.told: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        while (await receive())["more_body"]:
            pass

        async def listen() -> None:
            self.told.append((await receive())["type"])

        listening, answering = asyncio.ensure_future(listen()), asyncio.ensure_future(self._answer(send))
        await asyncio.wait({listening, answering}, return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, answering):
            if not task.done():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def begin(send: Any, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def late(send: Any) -> None:
    await asyncio.sleep(0.1)
    await begin(send)
    await send({"type": "http.response.body", "body": b"fine"})


async def in_chunks(send: Any) -> None:
    await begin(send)
    for piece in (b"f", b"in", b"e"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body"})


async def with_length(send: Any) -> None:
    await begin(send, (b"content-length", b"4"))
    await send({"type": "http.response.body", "body": b"fi", "more_body": True})
    await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"ne"})


async def with_hints(send: Any) -> None:
    await asyncio.sleep(0.05)
    await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
    await late(send)


async def large(send: Any) -> None:
    await asyncio.sleep(0.05)
    await begin(send)
    for _ in range(3):
        await send({"type": "http.response.body", "body": bytes(LARGE // 3), "more_body": True})
    await send({"type": "http.response.body", "body": b"fine"})


async def never(_send: Any) -> None:
    await asyncio.sleep(60)


async def never_ending(send: Any) -> None:
    await begin(send)
    await send({"type": "http.response.body", "body": b"fi", "more_body": True})
    await asyncio.sleep(60)


ANSWERS = (late, in_chunks, with_length, with_hints, large)
HEAD = b"GET / HTTP/%b\r\nHost: a\r\n\r\n"


def body_of(raw: bytes) -> bytes:
    """Take the body out of its framing, of the last answer there is."""
    while raw.startswith(b"HTTP/1.1 103"):
        raw = raw.partition(b"\r\n\r\n")[2]
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), raw[:100]
    if b"transfer-encoding" not in head:
        return rest
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            assert rest == b"\r\n"
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_half_closed_client_is_answered_by_an_app_that_listens(serve: Serve, answer: Any, version: bytes) -> None:
    app = Listener(answer)
    served = await serve(app)
    body = body_of(await served.talk(HEAD % version, half_close=True))
    assert body.endswith(b"fine")
    assert len(body) == (LARGE + 4 if answer is large else 4)
    assert served.errors == []
    await until(lambda: not served.engine.connections)


async def test_requests_of_a_half_closed_client_are_all_answered(serve: Serve) -> None:
    served = await serve(Listener(late))
    raw = await served.talk(HEAD % b"1.1" * 3, half_close=True)
    assert raw.count(b"HTTP/1.1 200 OK\r\n") == raw.count(b"fine") == 3


@pytest.mark.parametrize("answer", [never, never_ending], ids=["before the answer", "within it"])
async def test_app_hears_soon_of_a_client_that_has_gone(serve: Serve, answer: Any) -> None:
    app = Listener(answer)
    served = await serve(app)
    reader, writer = await served.connect()
    writer.write(HEAD % b"1.1")
    if answer is never_ending:
        await asyncio.wait_for(reader.readuntil(b"fi\r\n"), 10)
    else:
        await until(lambda: served.engine.running)
    writer.close()
    async with asyncio.timeout(3):
        await until(lambda: app.told)
    assert app.told == ["http.disconnect"]
    await until(lambda: not (served.engine.running or served.engine.connections))


async def test_half_closed_client_that_waits_is_not_taken_for_one_that_has_gone(serve: Serve) -> None:
    app = Listener(never)
    served = await serve(app)
    reader, writer = await served.connect()
    writer.write(HEAD % b"1.1")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(9), 10) == b"HTTP/1.1 "
    await asyncio.sleep(1.2)  # more than two looks at the connections
    assert app.told == []
    writer.close()


async def test_app_is_reported_a_client_that_has_gone_behind_what_is_not_read_yet(serve: Serve) -> None:
    app = Listener(never)
    served = await serve(app)
    _, writer = await served.connect()
    writer.write(HEAD % b"1.1" * 4_000)
    await until(lambda: served.engine.running)
    writer.close()
    async with asyncio.timeout(5):
        await until(lambda: app.told)


async def test_answer_that_breaks_off_behind_a_probe_is_reset(serve: Serve) -> None:
    """The zero that was sent ahead of a chunk must not pass for the last chunk."""

    async def broken(send: Any) -> None:
        await never_to_end(send)
        raise RuntimeError("it breaks")

    async def never_to_end(send: Any) -> None:
        await begin(send)
        await send({"type": "http.response.body", "body": b"fi", "more_body": True})
        await asyncio.sleep(0.3)

    served = await serve(Listener(broken))
    with pytest.raises(ConnectionResetError):
        await served.talk(HEAD % b"1.1", half_close=True)


@pytest.fixture
async def on_unix(tmp_path: Path) -> AsyncIterator[Callable[[Any], Any]]:
    """Serve an app on a unix socket, whose clients cannot be reset."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(app: Any) -> tuple[HttpServer, asyncio.StreamReader, asyncio.StreamWriter]:
            engine = asgi_server(app, HttpOptions())
            path = str(tmp_path / "socket")
            server = await asyncio.get_running_loop().create_unix_server(await engine.start(), path)
            stack.push_async_callback(engine.stop, 0.1)
            stack.callback(server.close)
            return engine, *await asyncio.open_unix_connection(path)

        yield start


@pytest.mark.parametrize("end", ["half-closed", "closed"])
async def test_both_are_distinguished_on_a_unix_socket(on_unix: Any, end: str) -> None:
    app = Listener(late if end == "half-closed" else never)
    engine, reader, writer = await on_unix(app)
    writer.write(HEAD % b"1.1")
    await until(lambda: engine.running)
    if end == "half-closed":
        writer.write_eof()
        assert body_of(await asyncio.wait_for(reader.read(), 10)) == b"fine"
        writer.close()
        return
    writer.close()
    async with asyncio.timeout(3):
        await until(lambda: app.told)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="the system does not let this be set")
async def test_kernel_asks_a_half_closed_client_whether_it_is_there(serve: Serve) -> None:
    served = await serve(Listener(never))
    reader, writer = await served.connect()
    writer.write(HEAD % b"1.1")
    writer.write_eof()
    await asyncio.wait_for(reader.readexactly(9), 10)
    (connection,) = served.engine.connections
    own = connection.transport.get_extra_info("socket")
    await until(lambda: own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    writer.close()
