"""A shop on aiohttp."""

import asyncio
import hashlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).with_name("static")
greeting = web.AppKey("greeting", str)
gates = web.AppKey("gates", defaultdict[str, asyncio.Event])
routes = web.RouteTableDef()


@routes.get("/")
async def home(request: web.Request) -> web.Response:
    return web.Response(text="hello")


@routes.get("/json")
async def json(request: web.Request) -> web.Response:
    return web.json_response({"name": request.query["name"]})


@routes.get("/started")
async def started(request: web.Request) -> web.Response:
    return web.Response(text=request.app[greeting])


@routes.get("/numbers")
async def numbers(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    for first in range(0, 200_000, 10_000):
        await response.write("".join(f"{n}\n" for n in range(first, first + 10_000)).encode())
    return response


@routes.get("/gates/{key}")
async def wait(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    await response.write(b"waiting\n")
    await request.app[gates][request.match_info["key"]].wait()
    await response.write(b"open\n")
    return response


@routes.post("/gates/{key}")
async def open_gate(request: web.Request) -> web.Response:
    request.app[gates][request.match_info["key"]].set()
    return web.Response(status=204)


@routes.post("/upload")
async def upload(request: web.Request) -> web.Response:
    size, digest = 0, hashlib.sha256()
    async for piece in request.content.iter_any():
        size += len(piece)
        digest.update(piece)
    return web.json_response({"size": size, "sha256": digest.hexdigest()})


@routes.post("/form")
async def form(request: web.Request) -> web.Response:
    fields = await request.post()
    file = fields["file"]
    content = file.file.read()
    return web.json_response(
        {
            "note": fields["note"],
            "name": file.filename,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    )


@routes.get("/login")
async def login(request: web.Request) -> web.Response:
    response = web.HTTPSeeOther("/whoami")
    response.set_cookie("user", "ann", httponly=True)
    response.set_cookie("theme", "dark")
    raise response


@routes.get("/whoami")
async def whoami(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.cookies.get('user')} likes it {request.cookies.get('theme')}")


@routes.get("/fail")
async def fail(request: web.Request) -> web.Response:
    raise RuntimeError("the password is 1729")


@routes.get("/echo")
async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("chat",))
    await socket.prepare(request)
    async for message in socket:
        if message.data == "bye":
            await socket.close(code=4001, message=b"see you")
        else:
            await socket.send_str(message.data)
    return socket


@routes.get("/echo/bytes")
async def echo_bytes(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket


@routes.get("/members")
async def members(request: web.Request) -> web.WebSocketResponse:
    raise web.HTTPForbidden


async def shop(app: web.Application) -> AsyncIterator[None]:
    app[greeting] = "warm"
    app[gates] = defaultdict(asyncio.Event)
    yield
    print("the shop is closed", file=sys.stderr, flush=True)


app = web.Application(client_max_size=16 * 2**20)
app.cleanup_ctx.append(shop)
app.add_routes(routes)
app.router.add_static("/files", STATIC)
