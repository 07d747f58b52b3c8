"""What a chunked body says costs no more than another one: its client chooses how many lines it has."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server, wsgi_server

#: Bytes of a chunk, and chunks of an upload: some 2 MB.
CHUNK, CHUNKS = 65_532, 32
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
KINDS = ("asgi", "wsgi", "aiohttp")


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    size, more = 0, True
    while more:
        event = await receive()
        size, more = size + len(event.get("body", b"")), event.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"%d" % len(environ["wsgi.input"].read())]


async def upload(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


async def start(serve: Any, kind: str) -> Any:
    if kind == "asgi":
        return await serve(asgi)
    if kind == "wsgi":
        return await serve(wsgi, wsgi_server, threads=2)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/", upload)
    return await serve(app, aiohttp_server)


async def seconds(served: Any, line: bytes) -> float:
    """CPU time, the least of three, of an upload that repeats this text."""
    chunk = b"%x\r\n%b\r\n" % (CHUNK, (line * CHUNK)[:CHUNK])
    sent, found = HEAD + chunk * CHUNKS + b"0\r\n\r\n", []
    for _ in range(3):
        began = time.process_time()
        response = await served.talk(sent)
        found.append(time.process_time() - began)
        assert b"%d" % (CHUNK * CHUNKS) in response
    return min(found)


@pytest.mark.parametrize("line", [b"\r\n", b"\n", b"\r\n\r\n", b"  \r\n", b"0\r\n\r\n"], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
async def test_line_ends_in_chunks_cost_no_more_than_letters(serve: Any, kind: str, line: bytes) -> None:
    """It was 45 to 75 times as much: the bound is far from both."""
    served = await start(serve, kind)
    assert await seconds(served, line) < 8 * await seconds(served, b"z") + 0.05
