"""The aiohttp app of chaos.py."""

from __future__ import annotations

import asyncio

from aiohttp import web
from deployment import PAUSE, answer, pieces


async def at_once(request: web.Request) -> web.Response:
    """Answer in one piece."""
    return web.Response(body=answer(len(await request.read())), content_type="text/plain")


async def slow(request: web.Request) -> web.StreamResponse:
    """Answer in pieces."""
    body = answer(len(await request.read()))
    response = web.StreamResponse(headers={"Content-Type": "text/plain", "Content-Length": str(len(body))})
    await response.prepare(request)
    for piece in pieces(body):
        await asyncio.sleep(PAUSE)
        await response.write(piece)
    await response.write_eof()
    return response


app = web.Application()
app.router.add_route("*", "/", at_once)
app.router.add_route("*", "/slow", slow)
