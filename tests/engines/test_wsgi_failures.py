"""What happens when a WSGI app, its client or its threads go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"he", b"llo"]


class Closing:
    """An iterable that remembers whether it was closed."""

    def __init__(self, *pieces: bytes, then: BaseException | None = None) -> None:
        self.pieces, self.then, self.closed = pieces, then, threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.then is not None:
            raise self.then

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
async def test_iterable_is_closed_when_it_raises_and_the_request_is_answered_500(serve_wsgi: Serve, kind: Any) -> None:
    body = Closing(then=kind("boom"))

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
        start_response("200 OK", [])
        return body

    served = await serve_wsgi(app)
    for _ in range(10):  # each thread lives on, and the loop
        assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert body.closed.is_set()
    assert f"{kind.__name__}: boom" in served.errors[0]
    assert "/arun/apps/" not in served.errors[0]


async def test_client_that_goes_ends_the_iteration(serve_wsgi: Serve) -> None:
    body = Closing(*(b"x" * 100_000 for _ in range(3)))
    endless = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:  # noqa: ARG001
        start_response("200 OK", [])
        with contextlib.closing(body):
            while not endless.is_set():
                yield b"x" * 100_000

    served = await serve_wsgi(app)
    reader, writer = await served.connect()
    writer.write(GET)
    await reader.readexactly(1000)
    writer.transport.abort()
    assert await asyncio.to_thread(body.closed.wait, 5)
    endless.set()
    await served.stop()
    assert served.errors == []


@pytest.mark.parametrize("how", ["abort", "close"])
@pytest.mark.parametrize("begun", [False, True], ids=["nothing sent", "begun"])
async def test_answer_that_waits_for_something_is_closed_soon_after_its_client_has_left(
    serve_wsgi: Serve, how: str, *, begun: bool
) -> None:
    """An empty piece means that there is nothing yet: nothing is sent that would show that the client has gone."""
    asked, closed = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/hello":
            yield b"hello"
            return
        try:
            if begun:
                yield b"some"
            while True:
                asked.set()
                time.sleep(0.01)
                yield b""
        finally:
            closed.set()

    served = await serve_wsgi(app)
    _, writer = await served.connect()
    writer.write(GET)
    assert await asyncio.to_thread(asked.wait, 5)
    if how == "abort":
        writer.transport.abort()
    else:
        writer.close()
    assert await asyncio.to_thread(closed.wait, 3)
    assert (await served.talk(GET.replace(b"/ ", b"/hello ", 1))).endswith(b"hello\r\n0\r\n\r\n")
    assert served.errors == []


async def test_client_that_closes_its_side_gets_what_the_app_waited_for_a_moment(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:  # noqa: ARG001
        start_response("200 OK", [])
        for _ in range(10):
            time.sleep(0.01)
            yield b""
        yield b"late"

    served = await serve_wsgi(app)
    assert (await served.talk(GET, half_close=True)).endswith(b"4\r\nlate\r\n0\r\n\r\n")


async def test_error_handler_replaces_a_head_that_was_not_sent(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
        start_response("200 OK", [])
        try:
            raise ValueError("boom")  # noqa: TRY301 - an error handler needs an error
        except ValueError as exc:
            start_response("503 Later", [("Retry-After", "1")], (type(exc), exc, exc.__traceback__))
        return [b"sorry"]

    raw = await (await serve_wsgi(app)).talk(GET)
    assert raw.startswith(b"HTTP/1.1 503 Later\r\nRetry-After: 1\r\n")
    assert raw.endswith(b"\r\n\r\nsorry")


async def test_error_handler_after_the_head_raises_the_error_again(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:  # noqa: ARG001
        start_response("200 OK", [])
        yield b"part"
        try:
            raise ValueError("boom")  # noqa: TRY301 - an error handler needs an error
        except ValueError as exc:
            start_response("500 No", [], (type(exc), exc, exc.__traceback__))
        yield b"never"

    served = await serve_wsgi(app)
    assert (await served.talk(GET)).endswith(b"4\r\npart\r\n")
    assert "ValueError: boom" in served.errors[0]


@pytest.mark.parametrize(
    ("status", "headers"),
    [("OK", []), ("20 OK", []), ("200 O\r\nK", []), ("200 OK", [("X", "a\r\nb")]), ("200 OK", [("X", "\u20ac")])],
)
async def test_head_that_breaks_http_becomes_500(serve_wsgi: Serve, status: str, headers: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
        start_response(status, headers)
        return [b"x"]

    assert (await (await serve_wsgi(app)).talk(GET)).startswith(b"HTTP/1.1 500 ")


async def test_app_without_start_response_is_answered_for(serve_wsgi: Serve) -> None:
    served = await serve_wsgi(lambda _environ, _start_response: [b"x"])
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert "did not call start_response" in served.errors[0]


async def test_requests_run_in_as_many_threads_as_allowed(serve_threads: Serve) -> None:
    """Three calls meet in a barrier, a fourth would break the bound."""
    barrier, running, most = threading.Barrier(3), 0, 0
    lock = threading.Lock()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait(5)
        with lock:
            running -= 1
        return hello(environ, start_response)

    served = await serve_threads(app, threads=3)
    raws = await asyncio.gather(*(served.talk(GET) for _ in range(9)))
    assert all(raw.endswith(b"hello") for raw in raws)
    assert most == 3


async def test_stuck_thread_holds_no_stop(serve_threads: Serve) -> None:
    entered, gate = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        entered.set()
        gate.wait(60)
        return hello(environ, start_response)

    served = await serve_threads(app)
    _, writer = await served.connect()
    writer.write(GET)
    assert await asyncio.to_thread(entered.wait, 10)
    async with asyncio.timeout(20):
        await served.stop(0.05)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("arun-wsgi"))
    gate.set()
    writer.close()


async def test_text_for_wsgi_errors_reaches_the_error_log(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        print("noted", file=environ["wsgi.errors"], flush=True)
        return hello(environ, start_response)

    served = await serve_wsgi(app)
    await served.talk(GET)
    assert "".join(served.errors) == "noted\n"
