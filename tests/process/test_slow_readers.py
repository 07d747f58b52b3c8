"""Clients that take a large answer slowly: all of it reaches them as long as they take something, with TLS and without."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest
from tests.engines.test_websocket_wire import HEAD, closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process.conftest import Authority, Instance, Starter

    Serve = Callable[..., socket.socket]

NAME = "shop.test"
SIZE = 16_000_000
#: Seconds in which a client may take nothing, here; a whole answer takes four times as long.
PATIENCE = 0.5
SECONDS = 2
APPS = {
    "asgi": f"""
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({{"type": "websocket.accept"}})
        await send({{"type": "websocket.send", "bytes": bytes({SIZE})}})
        await send({{"type": "websocket.close"}})
    elif scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": bytes({SIZE})}})
""",
    "wsgi": f"""
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [bytes({SIZE})]
""",
    "aiohttp": f"""
from aiohttp import web
async def large(request):
    return web.Response(body=bytes({SIZE}))
app = web.Application()
app.router.add_get("/", large)
""",
}
GET = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"


@pytest.fixture
def serve(arun: Starter, authority: Authority) -> Iterator[Serve]:
    """Start an instance of a kind on a loop, with TLS or without, and connect clients whose own buffers are small."""
    with contextlib.ExitStack() as stack:

        def start(kind: str, loop: str, *more: str, tls: bool) -> socket.socket:
            arun.write("app.py", APPS[kind])
            options = ["app.py", "--bind", "{address}", "--loop", loop, "--timeout-write", str(PATIENCE), *more]
            if tls:
                certificate, key = authority.issue(NAME)
                options += ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
            instance: Instance = arun(*options)
            instance.ready()
            own = stack.enter_context(socket.socket())
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            own.settimeout(20)
            host, _, port = instance.address.rpartition(":")
            own.connect((host, int(port)))
            if not tls:
                return own
            return stack.enter_context(authority.client().wrap_socket(own, server_hostname=NAME))

        yield start


def read_slowly(client: socket.socket, size: int, seconds: float) -> int:
    """Read so many bytes without a pause, evenly over the seconds; return how many came."""
    began, came = time.monotonic(), 0
    while came < size:
        ahead = came / size * seconds - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(min(ahead, 0.05))
        try:
            data = client.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            break
        if not data:
            break
        came += len(data)
    return came


@pytest.mark.parametrize("kind", APPS)
@pytest.mark.parametrize(("way", "loop"), [("tls", "uvloop"), ("tls", "asyncio"), ("plain", "uvloop")])
def test_steady_reader_gets_all_of_a_large_answer(serve: Serve, kind: str, way: str, loop: str) -> None:
    client = serve(kind, loop, "--timeout-keep-alive", str(PATIENCE), tls=way == "tls")
    client.sendall(GET)
    assert read_slowly(client, SIZE, SECONDS) >= SIZE
    client.sendall(CLOSE)  # it was not idle while it read
    assert read_slowly(client, SIZE, SECONDS) >= SIZE


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("kind", APPS)
@pytest.mark.parametrize("request_", [GET, CLOSE], ids=["kept", "closed"])
def test_reader_that_stops_is_cut(serve: Serve, kind: str, loop: str, request_: bytes) -> None:
    client = serve(kind, loop, "--timeout-keep-alive", str(PATIENCE), tls=True)
    client.sendall(request_)
    assert read_slowly(client, SIZE // 8, 0) >= SIZE // 8
    time.sleep(PATIENCE * 3)  # what is tested is that nothing is taken meanwhile
    assert read_slowly(client, SIZE, 0) < SIZE


@pytest.mark.parametrize("way", ["tls", "plain"])
def test_last_message_before_a_websocket_closes_is_taken_slowly(serve: Serve, way: str) -> None:
    """The client answers the close frame when it comes to it, later than a close frame is waited for."""
    client = serve("asgi", "uvloop", tls=way == "tls")
    client.sendall(HEAD + b"\r\n")
    assert read_slowly(client, SIZE, 7) >= SIZE
    client.sendall(closing(1000))
