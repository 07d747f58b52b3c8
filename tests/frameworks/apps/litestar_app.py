"""A shop on Litestar."""

import asyncio
import contextlib
import hashlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.datastructures import State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Stream
from litestar.static_files import create_static_files_router

STATIC = Path(__file__).with_name("static")


@dataclass
class Form:
    note: str
    file: UploadFile


@get("/", media_type=MediaType.TEXT)
async def home() -> str:
    return "hello"


@get("/json")
async def json(name: str) -> dict[str, str]:
    return {"name": name}


@get("/started", media_type=MediaType.TEXT)
async def started(state: State) -> str:
    return state.greeting


@get("/numbers", media_type=MediaType.TEXT)
async def numbers() -> Stream:
    async def lines() -> AsyncIterator[str]:
        for first in range(0, 200_000, 10_000):
            yield "".join(f"{n}\n" for n in range(first, first + 10_000))

    return Stream(lines())


@get("/gates/{key:str}", media_type=MediaType.TEXT)
async def wait(key: str, state: State) -> Stream:
    async def lines() -> AsyncIterator[str]:
        yield "waiting\n"
        await state.gates[key].wait()
        yield "open\n"

    return Stream(lines())


@post("/gates/{key:str}", status_code=204)
async def open_gate(key: str, state: State) -> None:
    state.gates[key].set()


@post("/upload", status_code=200)
async def upload(request: Request[Any, Any, Any]) -> dict[str, int | str]:
    size, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}


@post("/form", status_code=200)
async def form(data: Annotated[Form, Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, int | str]:
    content = await data.file.read()
    return {
        "note": data.note,
        "name": data.file.filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@get("/login", status_code=303)
async def login() -> Redirect:
    response = Redirect("/whoami", status_code=303)
    response.set_cookie("user", "ann", httponly=True)
    response.set_cookie("theme", "dark")
    return response


@get("/whoami", media_type=MediaType.TEXT)
async def whoami(request: Request[Any, Any, Any]) -> str:
    return f"{request.cookies.get('user')} likes it {request.cookies.get('theme')}"


@get("/fail")
async def fail() -> None:
    raise RuntimeError("the password is 1729")


@websocket("/echo")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocols="chat" if "chat" in offered else None)
    async for text in socket.iter_data("text"):
        if text == "bye":
            await socket.close(code=4001, reason="see you")
            return
        await socket.send_text(text)


@websocket("/echo/bytes")
async def echo_bytes(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    async for data in socket.iter_data("binary"):
        await socket.send_bytes(data)


@websocket("/members")
async def members(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.close()


@contextlib.asynccontextmanager
async def shop(app: Litestar) -> AsyncIterator[None]:
    app.state.greeting = "warm"
    app.state.gates = defaultdict(asyncio.Event)
    yield
    print("the shop is closed", file=sys.stderr, flush=True)


app = Litestar(
    route_handlers=[
        *(home, json, started, numbers, wait, open_gate, upload, form, login, whoami, fail, echo, echo_bytes, members),
        create_static_files_router("/files", [STATIC]),
    ],
    lifespan=[shop],
)
