"""Apps on a unix socket, by a file or in the abstract namespace: the server has a name, the client no address."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server, asgi_server, wsgi_server

from arun.http.access.log import access_log
from arun.http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PATIENCE = 10


@pytest.fixture(params=["file", "abstract"])
def own_name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "s") if request.param == "file" else f"\0arun-test-{os.getpid()}-{tmp_path.name}"


@pytest.fixture(params=["", "a file", "abstract"])
def clients_name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name that the client's own socket is bound to."""
    names = {"": "", "a file": str(tmp_path / "c"), "abstract": f"\0arun-client-{os.getpid()}-{tmp_path.name}"}
    return names[request.param]


@pytest.fixture
async def ask(own_name: str, clients_name: str) -> AsyncIterator[Callable[..., Any]]:
    """Serve an engine there, ask it once, and return the body of its answer."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(own_name)
    running: list[Any] = []

    async def ask(engine: Any, app: Any, *fields: bytes, version: bytes = b"1.1", **options: Any) -> str:
        made = engine(app, HttpOptions(**options))
        server = await asyncio.get_running_loop().create_unix_server(await made.start(), sock=listener)
        running.append((made, server))
        client = socket.socket(socket.AF_UNIX)
        if clients_name:
            client.bind(clients_name)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, own_name)
        reader, writer = await asyncio.open_unix_connection(sock=client)
        writer.write(b"\r\n".join((b"GET / HTTP/%b" % version, *fields, b"Connection: close", b"", b"")))
        raw = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        return raw.partition(b"\r\n\r\n")[2].decode()

    yield ask
    for made, server in running:
        server.close()
        await made.stop(1)
    listener.close()


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "200")])
    names = ("wsgi.url_scheme", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR")
    return [" ".join(environ[name] for name in names).encode("latin-1").ljust(200)]


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize(
    ("version", "fields", "seen"),
    [
        (b"1.1", (b"Host: shop.test",), "http shop.test 80"),
        (b"1.1", (b"Host: shop.test:8080",), "http shop.test 8080"),
        (b"1.1", (b"Host: [2001:db8::1]:8080",), "http 2001:db8::1 8080"),
        (b"1.1", (b"Host: [2001:db8::1]",), "http 2001:db8::1 80"),
        (b"1.1", (b"Host: shop.test:",), "http shop.test 80"),
        (b"1.1", (b"Host: shop.test", b"X-Forwarded-Proto: https"), "https shop.test 443"),
        (b"1.1", (b"Host:",), "http localhost 80"),
        (b"1.0", (), "http localhost 80"),
    ],
)
async def test_server_name_and_port_come_from_host_and_are_never_empty(
    ask: Any, version: bytes, fields: tuple[bytes, ...], seen: str, threads: int
) -> None:
    """PEP 3333: they "can never be empty strings, and so are always required"."""
    told = await ask(wsgi_server, wsgi, *fields, version=version, threads=threads, forwarded_allow_ips=("127.0.0.1",))
    assert told.strip() == seen


async def test_asgi_app_gets_the_name_of_the_socket_as_text(ask: Any, own_name: str) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"200")]})
        body = f"{scope['server']!r} {scope['client']!r}".encode().ljust(200)
        await send({"type": "http.response.body", "body": body})

    lines: list[str] = []
    access = access_log("json", (), lines.append)
    shown = own_name.replace("\0", "@")
    assert (await ask(asgi_server, app, b"Host: a", access=access)).strip() == f"({shown!r}, None) None"
    assert [json.loads(line)["client"] for line in lines] == [None]


async def test_aiohttp_app_has_no_client_whatever_its_socket_is_called(ask: Any) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.remote} {request.scheme}")

    app = web.Application()
    app.router.add_get("/", hello)
    lines: list[str] = []
    access = access_log("json", (), lines.append)
    told = await ask(
        aiohttp_server, app, b"Host: a", b"X-Forwarded-Proto: https", access=access, forwarded_allow_ips=("127.0.0.1",)
    )
    assert told == "None https"
    assert [json.loads(line)["client"] for line in lines] == [None]
