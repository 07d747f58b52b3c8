"""A shop on FastAPI."""

import asyncio
import contextlib
import hashlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Cookie, FastAPI, Form, Request, Response, UploadFile, WebSocket
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

STATIC = Path(__file__).with_name("static")


class Received(BaseModel):
    size: int
    sha256: str


class FormReceived(Received):
    note: str
    name: str


@contextlib.asynccontextmanager
async def shop(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"greeting": "warm", "gates": defaultdict(asyncio.Event)}
    print("the shop is closed", file=sys.stderr, flush=True)


app = FastAPI(lifespan=shop)
app.mount("/files", StaticFiles(directory=STATIC))


@app.get("/", response_class=PlainTextResponse)
def home() -> str:
    return "hello"


@app.get("/json")
async def json(name: str) -> dict[str, str]:
    return {"name": name}


@app.get("/started", response_class=PlainTextResponse)
async def started(request: Request) -> str:
    return request.state.greeting


@app.get("/numbers")
def numbers() -> StreamingResponse:
    lines = ("".join(f"{n}\n" for n in range(first, first + 10_000)) for first in range(0, 200_000, 10_000))
    return StreamingResponse(lines, media_type="text/plain")


@app.get("/gates/{key}")
async def wait(key: str, request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        yield "waiting\n"
        await request.state.gates[key].wait()
        yield "open\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.post("/gates/{key}", status_code=204)
async def open_gate(key: str, request: Request) -> None:
    request.state.gates[key].set()


@app.post("/upload")
async def upload(request: Request) -> Received:
    size, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return Received(size=size, sha256=digest.hexdigest())


@app.post("/form")
async def form(file: UploadFile, note: Annotated[str, Form()]) -> FormReceived:
    content = await file.read()
    digest = hashlib.sha256(content).hexdigest()
    return FormReceived(note=note, name=file.filename or "", size=len(content), sha256=digest)


@app.get("/login")
async def login() -> Response:
    response = RedirectResponse("/whoami", status_code=303)
    response.set_cookie("user", "ann", httponly=True)
    response.set_cookie("theme", "dark")
    return response


@app.get("/whoami", response_class=PlainTextResponse)
async def whoami(user: Annotated[str | None, Cookie()] = None, theme: Annotated[str | None, Cookie()] = None) -> str:
    return f"{user} likes it {theme}"


@app.get("/fail")
def fail() -> None:
    raise RuntimeError("the password is 1729")


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol="chat" if "chat" in offered else None)
    async for text in socket.iter_text():
        if text == "bye":
            await socket.close(code=4001, reason="see you")
            return
        await socket.send_text(text)


@app.websocket("/echo/bytes")
async def echo_bytes(socket: WebSocket) -> None:
    await socket.accept()
    async for data in socket.iter_bytes():
        await socket.send_bytes(data)


@app.websocket("/members")
async def members(socket: WebSocket) -> None:
    await socket.close()
