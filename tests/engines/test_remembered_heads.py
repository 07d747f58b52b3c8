"""What is remembered of a head never shows in another request: its version, and the fields of an aiohttp request."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.apps import PATIENCE
from tests.engines.conftest import aiohttp_server

if TYPE_CHECKING:
    from collections.abc import Sequence

Serve = Any
OLD, NEW = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def version(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    body = b"<%b>" % scope["http_version"].encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("pieces", "versions"),
    [
        pytest.param((OLD + NEW + OLD,), ["1.0", "1.1", "1.0"], id="pipelined"),
        pytest.param((NEW + OLD,), ["1.1", "1.0"], id="the first is newer"),
        pytest.param((b"\r\n" + OLD, NEW), ["1.0", "1.1"], id="behind an empty line"),
        pytest.param(
            (b"GET / HTTP/1.0\r\n", b"X: y HTTP/1.1\r\nX:y HTTP/1.1\r\nHost: a\r\n\r\n"), ["1.0"], id="a field"
        ),
        pytest.param((b"G", b"ET / HTTP/1.0\r\nHost: a\r\n\r\n"), ["1.0"], id="in the method"),
    ],
)
async def test_version_is_that_of_each_request(serve: Serve, pieces: Sequence[bytes], versions: list[str]) -> None:
    served = await serve(version)
    reader, writer = await served.connect()
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.02)  # each is a packet of its own
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert [part.split(b">")[0].decode() for part in answer.split(b"<")[1:]] == versions


async def test_aiohttp_request_has_the_fields_that_were_sent_with_it(serve: Serve) -> None:
    async def fields(request: web.Request) -> web.Response:
        raw = [value.decode("utf-8", "replace") for name, value in request.raw_headers if name == b"x"]
        return web.Response(text=json.dumps([request.headers.getall("X", []), raw]) + "|")

    app = web.Application()
    app.router.add_get("/", fields)
    served = await serve(app, aiohttp_server)
    values = [b"1", b"1", b"", b"2", b"2", b"1", b"\xc3\xa9", b"\xff", b"3", b"3", b"4", b"4"]
    reader, writer = await served.connect()
    for value in values:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: %b\r\n" % value if value else b"") + b"\r\n")
        text = await asyncio.wait_for(reader.readuntil(b"|"), PATIENCE)
        decoded, raw = json.loads(text.partition(b"\r\n\r\n")[2][:-1])
        assert decoded == ([value.decode("utf-8", "surrogateescape")] if value else [])
        assert raw == ([value.decode("utf-8", "replace")] if value else [])
    writer.close()


async def test_long_fields_are_not_kept_for_the_next_request(serve: Serve) -> None:
    seen = []

    async def fields(request: web.Request) -> web.Response:
        seen.append(len(request.headers["X"]))
        return web.Response(text="|")

    app = web.Application()
    app.router.add_get("/", fields)
    served = await serve(app, aiohttp_server)
    reader, writer = await served.connect()
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5000 + b"\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"|"), PATIENCE)
    writer.close()
    assert seen == [5000, 5000]
    (protocol,) = [connection.common for connection in served.engine.connections]
    assert protocol.messages._fields is None
