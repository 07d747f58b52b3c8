"""``wsgi.file_wrapper``: files as answers, whichever way they take to the client."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
BODY = bytes(range(256)) * 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    return path


class Kept:
    """Opens files for an app and remembers when they are closed."""

    def __init__(self, path: Path) -> None:
        self.path, self.closed = path, threading.Event()

    def open(self, offset: int = 0) -> io.BufferedReader:
        opened = self.path.open("rb")
        opened.seek(offset)
        return opened

    def watched(self, wrapper: Any) -> Any:
        close = wrapper.close

        def note() -> None:
            close()
            self.closed.set()

        wrapper.close = note
        return wrapper


def app_of(make: Callable[[], Any], *headers: tuple[str, str], kept: Kept | None = None) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(headers))
        wrapper = environ["wsgi.file_wrapper"](make(), 4096)
        body: Iterable[bytes] = kept.watched(wrapper) if kept else wrapper
        return body

    return app


async def test_file_is_sent_whole_with_its_length_and_closed(serve_wsgi: Serve, file: Path) -> None:
    kept = Kept(file)
    served = await serve_wsgi(app_of(kept.open, kept=kept))
    head, _, body = (await served.talk(GET)).partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(BODY) in head
    assert body == BODY
    assert await asyncio.to_thread(kept.closed.wait, 5)
    assert served.errors == []


async def test_kernel_sends_what_the_app_never_reads(serve_wsgi: Serve, file: Path) -> None:
    """The app's own file object stays where it was."""
    opened = file.open("rb")
    opened.seek(1000)
    places: list[int] = []
    kept = Kept(file)

    def make() -> Any:
        return opened

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        body = app_of(make, kept=kept)(environ, start_response)
        close = body.close

        def note() -> None:
            places.append(opened.tell())
            close()

        body.close = note
        return body

    served = await serve_wsgi(app)
    assert (await served.talk(GET)).endswith(b"\r\n\r\n" + BODY[1000:])
    assert await asyncio.to_thread(kept.closed.wait, 5)
    assert places == [1000]


async def test_rest_of_a_file_from_where_it_stands_up_to_content_length(serve_wsgi: Serve, file: Path) -> None:
    served = await serve_wsgi(app_of(lambda: Kept(file).open(300), ("Content-Length", "5000")))
    assert (await served.talk(GET)).partition(b"\r\n\r\n")[2] == BODY[300:5300]
    assert served.errors == []


async def test_connection_goes_on_after_a_file(serve_wsgi: Serve, file: Path) -> None:
    """Two files in a row on one connection, asked for at once, then the head of one."""
    served = await serve_wsgi(app_of(lambda: file.open("rb")))
    raw = await served.talk(
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    first, second, third = raw.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first.partition(b"\r\n\r\n")[2] == second.partition(b"\r\n\r\n")[2] == BODY
    assert b"content-length: %d\r\n" % len(BODY) in third
    assert third.endswith(b"\r\n\r\n")


async def test_file_that_is_shorter_than_its_content_length_ends_the_connection(serve_wsgi: Serve, file: Path) -> None:
    served = await serve_wsgi(app_of(lambda: file.open("rb"), ("Content-Length", str(len(BODY) + 7))))
    raw = await served.talk(GET.replace(b"Connection: close\r\n", b""))
    assert raw.partition(b"\r\n\r\n")[2] == BODY
    await served.stop()  # the file is closed after the client has gone, and then it is told
    assert "7 bytes shorter than its Content-Length" in served.errors[0]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_status_without_a_body_sends_no_file(serve_wsgi: Serve, file: Path, status: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [])
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](file.open("rb"))
        return body

    served = await serve_wsgi(app)
    assert (await served.talk(GET)).endswith(b"\r\n\r\n")
    assert served.errors == []


@pytest.mark.parametrize("kind", ["memory", "gzip", "pipe", "written before"])
async def test_what_is_no_plain_file_is_read(serve_wsgi: Serve, tmp_path: Path, kind: str) -> None:
    """A gzip file has a descriptor, but its bytes are others; a pipe cannot be sent from a place."""
    text = b"some text, " * 20_000

    def make() -> Any:
        if kind == "memory":
            return io.BytesIO(text)
        if kind == "gzip":
            (tmp_path / "packed").write_bytes(gzip.compress(text))
            return gzip.open(tmp_path / "packed")
        if kind == "pipe":
            ours, theirs = os.pipe()
            os.write(theirs, text[:60_000])
            os.close(theirs)
            return open(ours, "rb")
        opened = (tmp_path / "fresh").open("w+b")
        opened.write(text)
        opened.seek(0)
        return opened

    served = await serve_wsgi(app_of(make))
    reader, writer = await served.connect()
    writer.write(GET.replace(b"1.1", b"1.0"))  # no chunks: the end of the connection ends the body
    raw = await asyncio.wait_for(reader.read(), 10)
    assert raw.partition(b"\r\n\r\n")[2] == (text[:60_000] if kind == "pipe" else text)
    assert served.errors == []
    writer.close()


async def test_file_wrapper_passes_the_validator_of_the_standard_library(serve_wsgi: Serve, file: Path) -> None:
    served = await serve_wsgi(validator(app_of(lambda: file.open("rb"), ("Content-Type", "text/plain"))))
    raw = await served.talk(GET.replace(b"1.1", b"1.0"))
    assert raw.partition(b"\r\n\r\n")[2] == BODY
    assert served.errors == []


async def test_closed_file_is_a_failure_of_the_app(serve_wsgi: Serve, file: Path) -> None:
    def make() -> Any:
        opened = file.open("rb")
        opened.close()
        return opened

    served = await serve_wsgi(app_of(make))
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert "closed file" in served.errors[0]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than the buffers of two sockets hold."""
    path = tmp_path / "large"
    with path.open("wb") as out:
        out.truncate(24_000_000)
    return path


async def read_all(reader: asyncio.StreamReader) -> int:
    size = 0
    while data := await asyncio.wait_for(reader.read(1_000_000), 10):
        size += len(data)
    return size


async def test_slow_readers_hold_no_thread_and_not_the_loop(serve_wsgi: Serve, large: Path) -> None:
    """More downloads than threads wait for their clients, and another request is answered at once."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/hello":
            start_response("200 OK", [])
            return [b"hello"]
        return app_of(lambda: large.open("rb"))(environ, start_response)  # type: ignore[no-any-return]

    served = await serve_wsgi(app)
    slow = []
    for _ in range(10):
        reader, writer = await served.connect()
        writer.transport.pause_reading()
        writer.write(GET)
        slow.append((reader, writer))
    assert (await served.talk(GET.replace(b"/ ", b"/hello "))).endswith(b"hello")
    reader, writer = slow[0]
    writer.transport.resume_reading()
    await reader.readuntil(b"\r\n\r\n")
    assert await read_all(reader) == 24_000_000
    for _, writer in slow:
        writer.close()


async def test_client_that_goes_lets_the_file_be_closed(serve_wsgi: Serve, large: Path) -> None:
    kept = Kept(large)
    served = await serve_wsgi(app_of(kept.open, kept=kept))
    reader, writer = await served.connect()
    writer.write(GET)
    await reader.readexactly(1000)
    assert not kept.closed.is_set()
    writer.transport.abort()
    assert await asyncio.to_thread(kept.closed.wait, 5)
    await served.stop()
    assert served.errors == []


async def test_client_that_takes_nothing_is_cut_off(serve_wsgi: Serve, large: Path) -> None:
    kept = Kept(large)
    served = await serve_wsgi(app_of(kept.open, kept=kept), timeout_write=0.2)
    reader, writer = await served.connect()
    writer.transport.pause_reading()
    writer.write(GET)
    assert await asyncio.to_thread(kept.closed.wait, 5)
    writer.transport.resume_reading()
    with pytest.raises(ConnectionResetError):
        await read_all(reader)
    assert served.errors == []
    writer.close()


async def test_stop_cuts_a_file_that_takes_longer_than_its_grace(serve_wsgi: Serve, large: Path) -> None:
    kept = Kept(large)
    served = await serve_wsgi(app_of(kept.open, kept=kept))
    reader, writer = await served.connect()
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    async with asyncio.timeout(20):
        await served.stop(0.05)
    assert await asyncio.to_thread(kept.closed.wait, 5)
    writer.transport.resume_reading()
    with pytest.raises(ConnectionResetError):
        await read_all(reader)
    writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("path", ["/proc/version", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled"])
async def test_file_that_has_no_known_size_is_read_to_its_end(serve_wsgi: Serve, path: str) -> None:
    kept = Kept(Path(path))
    served = await serve_wsgi(app_of(kept.open, kept=kept))
    head, _, rest = (await served.talk(GET)).partition(b"\r\n\r\n")
    assert b"chunked" in head
    wanted = Path(path).read_bytes()  # noqa: ASYNC240 - of the kernel's memory
    assert rest.startswith(b"%x\r\n%b" % (min(len(wanted), 4096), wanted[:40]))
    assert rest.endswith(b"\r\n0\r\n\r\n")
    assert await asyncio.to_thread(kept.closed.wait, 5)
    assert served.errors == []
