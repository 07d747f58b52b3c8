"""A real listening socket in front of a server, and a client that speaks bytes; each test runs on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from tests.engines.apps import KINDS, PATIENCE, Gate, aiohttp_app, asgi_app, echo, wsgi_app

from arun.http.options import HttpOptions
from arun.lifecycle.build import http_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from arun.http.server import HttpServer


def asgi_server(app: Any, options: HttpOptions) -> HttpServer:
    """Return the server of an ASGI app."""
    return http_server("asgi", app, options)


def aiohttp_server(app: Any, options: HttpOptions) -> HttpServer:
    """Return the server of an aiohttp app."""
    return http_server("aiohttp", app, options)


def wsgi_server(app: Any, options: HttpOptions) -> HttpServer:
    """Return the server of a WSGI app, in threads or inline as the options say."""
    return http_server("wsgi", app, options)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Served:
    """A server that serves on a port of the loopback."""

    def __init__(self, engine: HttpServer, errors: list[str]) -> None:
        self.engine = engine
        self.errors = errors
        self.stopped = False

    async def listen(self) -> None:
        factory = await self.engine.start()
        self.server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, *pieces: bytes, half_close: bool = False) -> bytes:
        """Send the pieces as packets of their own and return all that comes until the server closes."""
        reader, writer = await self.connect()
        with contextlib.closing(writer):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            if half_close:
                writer.write_eof()
            return undated(await asyncio.wait_for(reader.read(), PATIENCE))

    async def stop(self, grace: float = 1.0) -> None:
        self.stopped = True
        self.server.close()
        await asyncio.wait_for(self.engine.stop(grace), PATIENCE)


def undated(answer: bytes) -> bytes:
    return re.sub(rb"(?i:date): \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", b"", answer)


async def until(holds: Callable[[], object]) -> None:
    """Let the loop run until something holds of which the server makes no event."""
    async with asyncio.timeout(2 * PATIENCE):
        while not holds():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Return where the app of a test waits; it is open when the test has ended."""
    made = Gate()
    yield made
    made.open()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return the way to run the app; a test names those that it is about where they are not all."""
    name: str = request.param
    return name


@pytest.fixture
def serve_app(kind: str, serve: Callable[..., Any]) -> Callable[..., Any]:
    """Serve a handler as an app of each kind, with options by name."""

    async def start(handler: Any = echo, **options: Any) -> Served:
        served: Served
        if kind == "asgi":
            served = await serve(asgi_app(handler), **options)
        elif kind == "aiohttp":
            served = await serve(aiohttp_app(handler), aiohttp_server, **options)
        else:
            options.setdefault("threads", 8 if kind == "threads" else 0)
            served = await serve(wsgi_app(handler), wsgi_server, **options)
        return served

    return start


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Serve an app by the server of its kind, with options by name."""
    running: list[Served] = []

    async def start(app: Any, engine: Callable[..., HttpServer] = asgi_server, **options: Any) -> Served:
        errors: list[str] = []
        served = Served(engine(app, HttpOptions(on_error=errors.append, **options)), errors)
        await served.listen()
        running.append(served)
        return served

    yield start
    for served in running:
        if not served.stopped:
            await served.stop(0.5)


@pytest.fixture
async def serve_threads(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Serve a WSGI app by a pool of threads."""

    async def start(app: Any, **options: Any) -> Served:
        served: Served = await serve(app, wsgi_server, **options)
        return served

    return start


@pytest.fixture
async def serve_inline(serve_threads: Callable[..., Any]) -> Callable[..., Any]:
    """Serve a WSGI app in the loop's own thread."""

    async def start(app: Any, **options: Any) -> Served:
        served: Served = await serve_threads(app, threads=0, **options)
        return served

    return start


@pytest.fixture(params=["threads", "inline"])
def serve_wsgi(request: pytest.FixtureRequest, serve_threads: Any, serve_inline: Any) -> Callable[..., Any]:
    """Serve a WSGI app in each of the two ways: what the client sees is the same."""
    start: Callable[..., Any] = serve_threads if request.param == "threads" else serve_inline
    return start
