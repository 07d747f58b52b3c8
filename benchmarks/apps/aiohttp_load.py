"""The aiohttp app under load; run as a program, on aiohttp's own runner: ``HOST PORT [--uvloop] [--keep-alive SECONDS]``."""

from __future__ import annotations

import argparse

from aiohttp import WSMsgType, web
from answers import ANSWERS, CHUNK, CHUNKS


async def at_once(request: web.Request) -> web.Response:
    """Answer what stands for the path."""
    media, body = ANSWERS[request.path]
    return web.Response(body=body, content_type=media)


async def echo(request: web.Request) -> web.Response:
    """Answer with the body of the request once it is whole."""
    return web.Response(body=await request.read())


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer in chunks, of a length that is not announced."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    for _ in range(CHUNKS):
        await response.write(CHUNK)
    await response.write_eof()
    return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Send each message back."""
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    async for message in connection:
        if message.type is WSMsgType.TEXT:
            await connection.send_str(message.data)
    return connection


app = web.Application()
app.router.add_get("/", at_once)
app.router.add_get("/json", at_once)
app.router.add_post("/echo", echo)
app.router.add_get("/stream", stream)
app.router.add_get("/websocket", websocket)


def main() -> None:
    """Serve as the command line says, without an access log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--keep-alive", type=float, default=75.0)
    options = parser.parse_args()
    loop = None
    if options.uvloop:
        import uvloop

        loop = uvloop.new_event_loop()
    web.run_app(
        app,
        host=options.host,
        port=options.port,
        keepalive_timeout=options.keep_alive,
        access_log=None,
        print=None,
        loop=loop,
    )


if __name__ == "__main__":
    main()
