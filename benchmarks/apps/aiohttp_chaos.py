"""The aiohttp app of chaos.py."""

from __future__ import annotations

import asyncio

from aiohttp import web
from deployment import PAUSE, REPEATED, answer, pieces


async def at_once(request: web.Request) -> web.StreamResponse:
    """Answer in one piece, or take a websocket."""
    if "Upgrade" in request.headers:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            continue
        return socket
    return web.Response(body=answer(len(await request.read()), request.path), content_type="text/plain")


async def slow(request: web.Request) -> web.StreamResponse:
    """Answer in pieces."""
    body = answer(len(await request.read()), request.path)
    response = web.StreamResponse(headers={"Content-Type": "text/plain", "Content-Length": str(len(body))})
    await response.prepare(request)
    for piece in pieces(body):
        await asyncio.sleep(PAUSE)
        await response.write(piece)
    await response.write_eof()
    return response


app = web.Application()
for path in ("/", *REPEATED):
    app.router.add_route("*", path, at_once)
app.router.add_route("*", "/slow", slow)
