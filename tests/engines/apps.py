"""One app for every kind: a handler is written once against ``Exchange`` and runs as an ASGI, a WSGI or an aiohttp app."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator

    Handler = Callable[["Exchange"], Awaitable[None]]

#: The ways to run an app: ASGI, WSGI in threads, WSGI in the loop's own thread, aiohttp.
KINDS = ("asgi", "threads", "inline", "aiohttp")
#: Those whose app may wait without holding the loop, and those whose app is called before the body has come.
CONCURRENT = ("asgi", "threads", "aiohttp")
STREAMING = ("asgi", "aiohttp")
PATIENCE = 10


class Gate:
    """Where an app of any kind waits for the test, and where the test sees that the app has come so far."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reached, self._open, self._open_for_threads = asyncio.Event(), asyncio.Event(), threading.Event()
        #: Threads that have waited.
        self.threads: list[threading.Thread] = []

    @property
    def is_open(self) -> bool:
        return self._open_for_threads.is_set()

    def open(self) -> None:
        self._open.set()
        self._open_for_threads.set()

    def shut(self) -> None:
        self._open.clear()
        self._open_for_threads.clear()

    async def reached(self) -> None:
        """Wait until an app waits here."""
        await asyncio.wait_for(self._reached.wait(), PATIENCE)

    async def hold(self) -> None:
        """Wait in a task."""
        self._reached.set()
        await self._open.wait()

    def hold_thread(self) -> None:
        """Wait in a thread."""
        self.threads.append(threading.current_thread())
        self._loop.call_soon_threadsafe(self._reached.set)
        self._open_for_threads.wait(2 * PATIENCE)


class Exchange(ABC):
    """A request and its response, alike for every kind of app."""

    method: str
    path: str
    query: str
    scheme: str
    #: Address of the client; names of fields in lower case.
    client: str
    fields: dict[str, str]

    @abstractmethod
    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body as it comes."""

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self.pieces()])

    @abstractmethod
    async def respond(self, body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> None:
        """Send a whole response."""

    @abstractmethod
    async def begin(self, *fields: tuple[str, str], status: int = 200) -> None:
        """Begin a response that comes in pieces."""

    @abstractmethod
    async def write(self, piece: bytes) -> None:
        """Send a piece of the body, with another one to come."""

    @abstractmethod
    async def end(self, piece: bytes = b"") -> None:
        """Send the last piece of the body."""

    @abstractmethod
    async def send_file(self, path: str) -> None:
        """Send a file as a whole response."""

    async def hold(self, gate: Gate) -> None:
        """Wait until the test opens the gate."""
        await gate.hold()

    async def pause(self, seconds: float = 0) -> None:
        """Let others run."""
        await asyncio.sleep(seconds)


async def echo(exchange: Exchange) -> None:
    """Respond with what was understood of the request, and its body."""
    body = await exchange.read()
    await exchange.respond(f"{exchange.method} {exchange.path}?{exchange.query} ".encode() + body)


async def unread(exchange: Exchange) -> None:
    """Respond without a look at the body."""
    await exchange.respond(b"ignored")


# ---- ASGI


class ClientGoneError(Exception):
    """The client went before its body was complete."""


class AsgiExchange(Exchange):
    """A request of an ASGI app."""

    def __init__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.method, self.path, self.query = scope["method"], scope["path"], scope["query_string"].decode()
        self.scheme, self.client = scope["scheme"], scope["client"][0]
        self.fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self._receive, self._send = receive, send

    async def pieces(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientGoneError
            yield event["body"]
            more = event["more_body"]

    async def respond(self, body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> None:
        await self.begin(*fields, status=status)
        await self.end(body)

    async def begin(self, *fields: tuple[str, str], status: int = 200) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in fields]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": piece})

    async def send_file(self, path: str) -> None:
        await self.begin()
        await self._send({"type": "http.response.pathsend", "path": path})


def asgi_app(handler: Handler) -> Callable[..., Any]:
    """Return the handler as an ASGI app without lifespan."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        try:
            await handler(AsgiExchange(scope, receive, send))
        except ClientGoneError:
            return

    return app


# ---- WSGI


class Piece:
    """A piece of a WSGI response: the handler awaits it, and so the iterable yields it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __await__(self) -> Generator[bytes, None, None]:
        yield self.data


class WsgiExchange(Exchange):
    """A request of a WSGI app; nothing but a piece of the response suspends its handler."""

    def __init__(self, environ: dict[str, Any], start_response: Any) -> None:
        self.method, self.query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        self.path = environ["PATH_INFO"].encode("latin-1").decode()
        self.scheme, self.client = environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]
        self.fields = {
            name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        self._environ, self._start_response = environ, start_response
        #: What the app returns where the handler responds with one whole.
        self.whole: Iterable[bytes] | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        while piece := self._environ["wsgi.input"].read(65_536):
            yield piece

    async def respond(self, body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> None:
        await self.begin(*fields, status=status)
        self.whole = [body]

    async def begin(self, *fields: tuple[str, str], status: int = 200) -> None:
        self._start_response(f"{status} OK", list(fields))

    async def write(self, piece: bytes) -> None:
        await Piece(piece)

    async def end(self, piece: bytes = b"") -> None:
        await Piece(piece)

    async def send_file(self, path: str) -> None:
        await self.begin()
        self.whole = self._environ["wsgi.file_wrapper"](open(path, "rb"))  # noqa: SIM115, ASYNC230 - arun closes it

    async def hold(self, gate: Gate) -> None:
        gate.hold_thread()

    async def pause(self, seconds: float = 0) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - it runs in a thread


class Steps:
    """The iterable of a WSGI response: the handler up to each of its pieces."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        #: The call of the app runs the handler to its first piece; None where it has ended without one.
        self._first = self._step()

    def _step(self) -> bytes | None:
        try:
            piece: bytes = self._handler.send(None)
        except StopIteration:
            return None
        return piece

    def __iter__(self) -> Iterator[bytes]:
        piece = self._first
        while piece is not None:
            yield piece
            piece = self._step()

    def close(self) -> None:
        self._handler.close()


def wsgi_app(handler: Handler) -> Callable[..., Any]:
    """Return the handler as a WSGI app."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        exchange = WsgiExchange(environ, start_response)
        steps = Steps(handler(exchange))
        return steps if exchange.whole is None else exchange.whole

    return app


# ---- aiohttp


class AiohttpExchange(Exchange):
    """A request of an aiohttp app."""

    response: web.StreamResponse

    def __init__(self, request: web.Request) -> None:
        self.method, self.path, self.query = request.method, request.path, request.query_string
        self.scheme, self.client = request.scheme, request.remote or ""
        self.fields = {name.lower(): value for name, value in request.headers.items()}
        self._request = request

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._request.content.iter_any():
            yield piece

    async def read(self) -> bytes:
        return await self._request.read()

    async def respond(self, body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> None:
        self.response = web.Response(body=body, status=status, headers=fields)

    async def begin(self, *fields: tuple[str, str], status: int = 200) -> None:
        self.response = web.StreamResponse(status=status, headers=fields)
        await self.response.prepare(self._request)

    async def write(self, piece: bytes) -> None:
        await self.response.write(piece)

    async def end(self, piece: bytes = b"") -> None:
        await self.response.write_eof(piece)

    async def send_file(self, path: str) -> None:
        self.response = web.FileResponse(path)


def aiohttp_app(handler: Handler) -> web.Application:
    """Return the handler as an aiohttp app, for every method and path."""

    async def handle(request: web.Request) -> web.StreamResponse:
        exchange = AiohttpExchange(request)
        await handler(exchange)
        return exchange.response

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", handle)
    return app


def file_of_zeros(path: os.PathLike[str], size: int) -> str:
    """Make a file that takes no room and return its path."""
    with open(path, "wb") as file:
        file.truncate(size)
    return os.fspath(path)
