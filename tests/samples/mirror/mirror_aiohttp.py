"""An aiohttp app that answers with what it was given."""

import asyncio
import json
import os

from aiohttp import web
from answers import ANSWERS

smuggled = 0
released = None


@web.middleware
async def mirror(request, handler):
    global smuggled, released
    path = request.path
    if "smuggled" in path:
        smuggled += 1
    if path.startswith("/answer/"):
        return await answer(request, *ANSWERS[path.removeprefix("/answer/")])
    if path == "/ignore":
        return web.Response(body=b"ignored")
    if path == "/pulse":
        return web.json_response({"pid": os.getpid(), "smuggled": smuggled})
    if path == "/big":
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query_string)):
            await response.write(b"x" * 65_536)
        await response.write_eof()
        return response
    if path in {"/hold", "/release"}:
        released = released or asyncio.Event()
        if path == "/release":
            released.set()
            released = None
        else:
            await released.wait()
        return web.Response(body=b"released")
    body = await request.read()
    seen = {
        "method": request.method,
        "path": path,
        "raw_path": request.rel_url.raw_path,
        "query": request.rel_url.raw_query_string,
        "fields": [[name.lower(), value] for name, value in request.headers.items()],
        "body": body.decode("latin-1"),
    }
    return web.json_response(seen)


async def answer(request, status, fields, pieces):
    if status is None:
        raise RuntimeError("the app raised at once")
    response = web.StreamResponse(status=status, headers=fields)
    await response.prepare(request)
    for piece in pieces:
        if piece is None:
            raise RuntimeError("the app raised in the middle")
        await response.write(piece)
    await response.write_eof()
    return response


app = web.Application(client_max_size=2**30, middlewares=[mirror])
