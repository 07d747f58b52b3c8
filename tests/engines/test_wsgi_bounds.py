"""Many WSGI requests at once: each gets its own response, so many may wait, and none waits for a slow client of another."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tempfile
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

from arun.apps.wsgi.pool import ThreadPool
from arun.apps.wsgi.spool import GatheredBody, Room

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Path", environ["PATH_INFO"]), ("Content-Type", "text/plain")])
    return [body]


async def test_each_of_64_connections_gets_its_own_answers(serve_wsgi: Serve) -> None:
    """Ten requests on each, of all sizes up to a megabyte, with a length and in chunks."""
    sizes = (0, 1, 100, 20_000, 70_000, 0, 3, 1_000, 0, 1_000_000)
    served = await serve_wsgi(echo)

    async def client(number: int) -> None:
        reader, writer = await served.connect()
        for turn, size in enumerate(sizes):
            body = bytes((number,)) * (size if size < 1_000_000 or number % 8 == 0 else 5)
            head = b"POST /%d/%d HTTP/1.1\r\nHost: a\r\n" % (number, turn)
            if turn % 2:
                writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
                writer.write((b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n")
            else:
                writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            assert b"X-Path: /%d/%d\r\n" % (number, turn) in answer
            assert b"content-length: %d\r\n" % len(body) in answer
            assert await asyncio.wait_for(reader.readexactly(len(body)), 30) == body
        writer.close()

    await asyncio.gather(*(client(number) for number in range(64)))
    assert served.errors == []


async def test_request_that_finds_the_queue_full_is_refused_for_a_while(serve_threads: Serve) -> None:
    gate, entered = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        entered.set()
        gate.wait(10)
        return echo(environ, start_response)

    served = await serve_threads(app, threads=1, limit_queue=2)
    running = asyncio.ensure_future(served.talk(GET))
    assert await asyncio.to_thread(entered.wait, 5)
    talks = [asyncio.ensure_future(served.talk(GET)) for _ in range(5)]
    refused, waiting = await asyncio.wait(talks, return_when=asyncio.FIRST_COMPLETED)
    while len(refused) < 3:
        more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        refused |= more
    for talk in refused:
        assert talk.result().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nretry-after: 1\r\n" in talk.result().lower()
    gate.set()
    answers = await asyncio.gather(running, *waiting)
    assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 3
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 200 OK")
    assert served.errors == []


async def test_slow_reader_holds_back_its_own_response_alone(serve_wsgi: Serve) -> None:
    made = 0

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        nonlocal made
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/hello":
            yield b"hello"
            return
        for _ in range(20_000):
            made += 1
            yield b"x" * 1000

    served = await serve_wsgi(app, limit_response_buffer=500_000)
    reader, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(GET)
    before = -1
    while made != before or not made:  # it has come to a halt, for want of room
        before = made
        assert (await served.talk(GET.replace(b"/ ", b"/hello "))).endswith(b"5\r\nhello\r\n0\r\n\r\n")
        await asyncio.sleep(0.05)
    assert made < 20_000
    writer.transport.resume_reading()
    size = 0
    while data := await asyncio.wait_for(reader.read(1_000_000), 10):
        size += data.count(b"x")
    assert size == 20_000_000
    writer.close()


async def test_endless_answer_to_a_fast_reader_lets_others_in(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        while environ["PATH_INFO"] != "/hello":
            yield b"x" * 100
        yield b"hello"

    served = await serve_wsgi(app)
    reader, writer = await served.connect()
    writer.write(GET)
    await reader.readexactly(1000)

    async def drain() -> None:
        while await reader.read(1_000_000):
            pass

    draining = asyncio.ensure_future(drain())
    assert (await served.talk(GET.replace(b"/ ", b"/hello "))).endswith(b"5\r\nhello\r\n0\r\n\r\n")
    draining.cancel()
    writer.close()


@pytest.mark.parametrize("pieces", [1, 1000])
async def test_write_and_generator_in_one_answer_keep_their_order(serve_wsgi: Serve, pieces: int) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:  # noqa: ARG001
        write = start_response("200 OK", [("Content-Length", str(8 * pieces))])
        for number in range(pieces):
            write(b"%03d," % number)
            yield b"%03d;" % number

    raw = await (await serve_wsgi(app)).talk(GET)
    assert raw.partition(b"\r\n\r\n")[2] == b"".join(b"%03d,%03d;" % (number, number) for number in range(pieces))


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET,
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["no body", "chunks", "length"],
)
async def test_validator_of_the_standard_library_finds_nothing(serve_wsgi: Serve, request_bytes: bytes) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        file = environ["wsgi.input"]
        body = file.read(1) + file.readline() + b"".join(file.readlines()) + b"".join(file)
        environ["wsgi.errors"].write("")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body, b"."]

    served = await serve_wsgi(validator(app))
    raw = await served.talk(request_bytes)
    assert served.errors in ([], [""])
    body = raw.partition(b"\r\n\r\n")[2].replace(b"3\r\nabc\r\n", b"abc")
    assert body.startswith(b"abc" if b"abc" in request_bytes else b"1\r\n.")


async def test_client_that_waits_for_it_is_asked_at_once_for_the_body_that_the_app_gets_whole(
    serve_wsgi: Serve,
) -> None:
    called = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        called.append(environ["PATH_INFO"])
        return echo(environ, start_response)

    served = await serve_wsgi(app)
    reader, writer = await served.connect()
    writer.write(
        b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ab")
    assert b"X-Path: /\r\n" in await served.talk(GET)
    assert called == ["/"]
    writer.write(b"c")
    assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n\r\nabc")
    writer.close()


async def test_clients_that_send_one_byte_of_their_body_hold_no_thread(serve_wsgi: Serve) -> None:
    served = await serve_wsgi(echo)
    slow = [await served.connect() for _ in range(8)]
    for _, writer in slow:
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\na")
    for _ in range(10):
        assert b"X-Path: /\r\n" in await served.talk(GET)
    for reader, writer in slow:
        writer.write(b"b")
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n\r\nab")
        writer.close()


class Pieces:
    """An answer of pieces of 10,000 bytes that notes how many were asked for, and when it was closed."""

    def __init__(self, number: int) -> None:
        self.number, self.made = number, 0
        self.closed = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/hello":
            return echo(environ, start_response)
        start_response("200 OK", [("Content-Length", str(self.number * 10_000))] if environ["QUERY_STRING"] else [])
        return self

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.number):
            self.made += 1
            yield b"%04d" % (number % 10_000) * 2_500

    def close(self) -> None:
        self.closed.set()

    def body(self) -> bytes:
        return b"".join(b"%04d" % (number % 10_000) * 2_500 for number in range(self.number))


def unchunked(raw: bytes) -> bytes:
    head, _, rest = raw.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return rest
    pieces, place = [], 0
    while place < len(rest):
        end = rest.index(b"\r\n", place)
        begin, size = end + 2, int(rest[place:end], 16)
        pieces.append(rest[begin : begin + size])
        place = begin + size + 2
    return b"".join(pieces)


@pytest.mark.parametrize("target", [b"/", b"/?length"])
async def test_clients_that_read_slowly_hold_no_thread_and_get_all(serve_threads: Serve, target: bytes) -> None:
    """More of them than threads; each answer is larger than what socket and transport take."""
    apps = [Pieces(1000) for _ in range(3)]
    free = iter(apps)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return (apps[0] if environ["PATH_INFO"] == "/hello" else next(free))(environ, start_response)

    served = await serve_threads(app, threads=2)
    slow = [await served.connect() for _ in apps]
    for _, writer in slow:
        writer.transport.pause_reading()
        writer.write(GET.replace(b"/ ", target + b" ", 1))
    for one in apps:
        assert await asyncio.to_thread(one.closed.wait, 10)
    assert (await served.talk(GET.replace(b"/ ", b"/hello ", 1))).startswith(b"HTTP/1.1 200 OK")
    for (reader, writer), one in zip(slow, apps, strict=True):
        writer.transport.resume_reading()
        assert unchunked(await asyncio.wait_for(reader.read(), 20)) == one.body()
        writer.close()
    assert served.errors == []


async def test_what_is_kept_for_a_slow_client_is_bounded_and_room_is_used_again(serve_threads: Serve) -> None:
    app = Pieces(2000)
    served = await serve_threads(app, threads=1, limit_response_buffer=300_000)
    reader, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(GET)
    before = -1
    while app.made != before or not app.made:
        before = app.made
        await asyncio.sleep(0.1)
    assert app.made < 2000
    writer.transport.resume_reading()
    assert unchunked(await asyncio.wait_for(reader.read(), 20)) == app.body()
    writer.close()
    assert served.errors == []


@pytest.mark.parametrize("length", [b"?length", b""])
async def test_client_that_leaves_what_is_kept_for_it_ends_the_answer(serve_threads: Serve, length: bytes) -> None:
    app = Pieces(2000)
    served = await serve_threads(app, threads=1, limit_response_buffer=300_000)
    _, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(GET.replace(b"/ ", b"/" + length + b" ", 1))
    before = -1
    while app.made != before or not app.made:
        before = app.made
        await asyncio.sleep(0.1)
    writer.transport.abort()
    assert await asyncio.to_thread(app.closed.wait, 5)
    assert (await served.talk(GET.replace(b"/ ", b"/hello ", 1))).startswith(b"HTTP/1.1 200 OK")
    assert served.errors == []
    assert not served.engine.running


def unnamed_files() -> set[int]:
    """Descriptors of files that have no name any more."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{entry}").endswith(" (deleted)"):
                found.add(int(entry))
    return found


async def test_nothing_follows_what_is_lost_of_an_answer_that_is_kept(serve_threads: Serve) -> None:
    """The client may not take a later piece for the one that cannot be read: it gets less, and is cut."""
    app, before = Pieces(2000), unnamed_files()
    served = await serve_threads(app, threads=1, limit_response_buffer=300_000)
    reader, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(GET)
    made = -1
    while app.made != made or not app.made:
        made = app.made
        await asyncio.sleep(0.1)
    for descriptor in unnamed_files() - before:
        os.ftruncate(descriptor, 0)
    writer.transport.resume_reading()
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := await asyncio.wait_for(reader.read(65_536), 20):
            got += data
    text, left = b"", bytes(got).partition(b"\r\n\r\n")[2]
    while left:
        size, _, left = left.partition(b"\r\n")
        length = int(size or b"0", 16)
        text, left = text + left[:length], left[length + 2 :]
    assert app.body().startswith(text)
    assert len(text) < len(app.body())
    assert len(served.errors) == 1
    writer.close()


async def test_app_that_fails_after_a_slow_client_has_left_something_is_reported_at_once(serve_threads: Serve) -> None:
    class Fails(Pieces):
        def __iter__(self) -> Iterator[bytes]:
            yield from super().__iter__()
            raise ValueError("enough")

    app = Fails(1000)
    served = await serve_threads(app, threads=1)
    reader, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(GET)
    while not served.errors:  # noqa: ASYNC110 - the log is a list
        await asyncio.sleep(0.01)
    assert "ValueError: enough" in served.errors[0]
    writer.transport.resume_reading()
    with contextlib.suppress(ConnectionError):
        assert not (await asyncio.wait_for(reader.read(), 10)).endswith(b"0\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("size", [0, 1, 20_000, 65_536, 65_537, 1_048_576, 1_048_577])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_input_is_a_buffered_file_whatever_its_size_and_when_it_comes(
    serve_wsgi: Serve, size: int, *, chunked: bool, late: bool
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        file = environ["wsgi.input"]
        assert isinstance(file, io.BufferedIOBase)
        text = io.TextIOWrapper(file, "latin-1", newline="\n")  # type: ignore[type-var] # typeshed wants more than what is asked
        lines = [text.readline(), *text]
        start_response("200 OK", [])
        return ["".join(lines).encode("latin-1")]

    served = await serve_wsgi(app)
    body = (b"line\xe9\n" * (size // 6 + 1))[:size]
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    if chunked:
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        sent = (b"%x\r\n%b\r\n" % (size, body) if size else b"") + b"0\r\n\r\n"
    else:
        head += b"Content-Length: %d\r\n\r\n" % size
        sent = body
    reader, writer = await served.connect()
    half = len(sent) // 2
    writer.write(head + sent[:half])
    if late:
        await asyncio.sleep(0.02)
    writer.write(sent[half:])
    assert (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")[2] == body
    writer.close()
    assert served.errors == []


def test_bodies_that_fill_the_memory_they_share_go_to_files_until_one_ends() -> None:
    room, before = Room(100_000), unnamed_files()
    bodies = [GatheredBody(room) for _ in range(66)]
    for body in bodies:
        for _ in range(10):
            body.write(bytes(10_000))
    assert len(unnamed_files() - before) == 2
    assert [len(body.open().read()) for body in bodies] == [100_000] * 66
    for body in bodies:
        body.close()
    assert not unnamed_files() - before
    with contextlib.closing(GatheredBody(room)) as body:
        body.write(bytes(100_000))
        assert not unnamed_files() - before


async def test_request_whose_body_has_no_room_is_refused_and_reported(
    serve_wsgi: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk that is full, or a folder that is gone, for one: the next request that needs neither is answered."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    served = await serve_wsgi(echo)
    raw = await served.talk(
        b"POST /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1500000\r\n\r\n" + bytes(1_500_000)
    )
    assert raw.startswith(b"HTTP/1.1 503 ")
    told = (
        "POST /up was refused (client 127.0.0.1)\nits body cannot be kept in a temporary file: [Errno 2] No such file"
    )
    assert [error[: len(told)] for error in served.errors] == [told]
    assert b"X-Path: /\r\n" in await served.talk(GET)
    assert not served.engine.running


async def test_threads_that_block_are_joined_by_others(serve_threads: Serve) -> None:
    """Requests that arrive in one packet's time all run at once, though the first calls never return alone."""
    barrier = threading.Barrier(8)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        barrier.wait(10)
        return echo(environ, start_response)

    served = await serve_threads(app, threads=8)
    for _ in range(5):
        answers = await asyncio.gather(*(served.talk(GET) for _ in range(16)))
        assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in answers)
    assert served.errors == []


async def test_body_is_complete_before_the_app_is_called(serve_wsgi: Serve) -> None:
    """Even a long one that comes slowly; others are served in between."""
    served = await serve_wsgi(echo)
    body = bytes(range(256)) * 12_000
    reader, writer = await served.connect()
    writer.write(b"POST /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(body[:2_000_000])
    assert b"X-Path: /\r\n" in await served.talk(GET)
    writer.write(body[2_000_000:])
    assert (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")[2] == body
    writer.close()


async def test_app_is_not_called_for_a_client_that_goes_before_its_body_is_complete(serve_wsgi: Serve) -> None:
    called = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        called.append(environ["PATH_INFO"])
        return echo(environ, start_response)

    served = await serve_wsgi(app)
    raw = await served.talk(b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", half_close=True)
    assert not raw.startswith(b"HTTP/1.1 200")
    _, writer = await served.connect()
    writer.write(b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    await writer.drain()
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await served.talk(GET)
    assert called == ["/"]
    await served.stop(1)
    assert served.errors == []


def test_what_ends_something_runs_before_the_calls_that_wait_however_many_they_are() -> None:
    threads = ThreadPool(1, 1)
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def blocks() -> None:
        begun.set()
        gate.wait(30)

    def waits() -> None:
        order.append("waits")
        done.set()

    assert threads.run(blocks)
    assert begun.wait(10)
    assert threads.run(waits)
    assert not threads.run(waits)
    assert threads.run(lambda: order.append("ends"), ahead=True)
    gate.set()
    assert done.wait(10)
    threads.close()
    assert order == ["ends", "waits"]
