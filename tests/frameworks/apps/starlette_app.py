"""A shop on Starlette."""

import asyncio
import contextlib
import hashlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

STATIC = Path(__file__).with_name("static")


async def home(request: Request) -> Response:
    return PlainTextResponse("hello")


async def json(request: Request) -> Response:
    return JSONResponse({"name": request.query_params["name"]})


async def started(request: Request) -> Response:
    return PlainTextResponse(request.state.greeting)


async def numbers(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for first in range(0, 200_000, 10_000):
            yield "".join(f"{n}\n" for n in range(first, first + 10_000))

    return StreamingResponse(lines(), media_type="text/plain")


async def wait(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        yield "waiting\n"
        await request.state.gates[request.path_params["key"]].wait()
        yield "open\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def open_gate(request: Request) -> Response:
    request.state.gates[request.path_params["key"]].set()
    return Response(status_code=204)


async def upload(request: Request) -> Response:
    size, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def form(request: Request) -> Response:
    async with request.form() as fields:
        file = fields["file"]
        content = await file.read()
        return JSONResponse(
            {
                "note": fields["note"],
                "name": file.filename,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )


async def login(request: Request) -> Response:
    response = RedirectResponse("/whoami", status_code=303)
    response.set_cookie("user", "ann", httponly=True)
    response.set_cookie("theme", "dark")
    return response


async def whoami(request: Request) -> Response:
    return PlainTextResponse(f"{request.cookies.get('user')} likes it {request.cookies.get('theme')}")


async def fail(request: Request) -> Response:
    raise RuntimeError("the password is 1729")


async def echo(socket: WebSocket) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol="chat" if "chat" in offered else None)
    async for text in socket.iter_text():
        if text == "bye":
            await socket.close(code=4001, reason="see you")
            return
        await socket.send_text(text)


async def echo_bytes(socket: WebSocket) -> None:
    await socket.accept()
    async for data in socket.iter_bytes():
        await socket.send_bytes(data)


async def members(socket: WebSocket) -> None:
    await socket.close()


@contextlib.asynccontextmanager
async def shop(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    yield {"greeting": "warm", "gates": defaultdict(asyncio.Event)}
    print("the shop is closed", file=sys.stderr, flush=True)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/json", json),
        Route("/started", started),
        Route("/numbers", numbers),
        Route("/gates/{key}", wait, methods=["GET"]),
        Route("/gates/{key}", open_gate, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/login", login),
        Route("/whoami", whoami),
        Route("/fail", fail),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/echo/bytes", echo_bytes),
        WebSocketRoute("/members", members),
        Mount("/files", StaticFiles(directory=STATIC)),
    ],
    lifespan=shop,
)
