"""The smallest aiohttp app that answers; run as a program, on aiohttp's own runner at the address of its arguments."""

from __future__ import annotations

import sys

from aiohttp import web


async def hello(_: web.Request) -> web.Response:
    """Answer five bytes."""
    return web.Response(text="hello")


app = web.Application()
app.router.add_get("/", hello)

if __name__ == "__main__":
    web.run_app(app, host=sys.argv[1], port=int(sys.argv[2]), print=None)
