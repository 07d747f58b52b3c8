"""A shop on Quart."""

import asyncio
import hashlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

from quart import Quart, Response, redirect, request, send_from_directory, websocket
from werkzeug import Response as BaseResponse

STATIC = Path(__file__).with_name("static")
app = Quart(__name__)
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@app.before_serving
async def open_shop() -> None:
    app.config["GREETING"] = "warm"


@app.after_serving
async def close_shop() -> None:
    print("the shop is closed", file=sys.stderr, flush=True)


@app.get("/")
async def home() -> Response:
    return Response("hello", mimetype="text/plain")


@app.get("/json")
async def json() -> dict[str, str]:
    return {"name": request.args["name"]}


@app.get("/started")
async def started() -> Response:
    return Response(app.config["GREETING"], mimetype="text/plain")


@app.get("/numbers")
async def numbers() -> Response:
    async def lines() -> AsyncIterator[str]:
        for first in range(0, 200_000, 10_000):
            yield "".join(f"{n}\n" for n in range(first, first + 10_000))

    return Response(lines(), mimetype="text/plain")


@app.get("/gates/<key>")
async def wait(key: str) -> Response:
    async def lines() -> AsyncIterator[str]:
        yield "waiting\n"
        await gates[key].wait()
        yield "open\n"

    return Response(lines(), mimetype="text/plain")


@app.post("/gates/<key>")
async def open_gate(key: str) -> tuple[str, int]:
    gates[key].set()
    return "", 204


@app.post("/upload")
async def upload() -> dict[str, int | str]:
    size, digest = 0, hashlib.sha256()
    async for piece in request.body:
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}


@app.post("/form")
async def form() -> dict[str, int | str | None]:
    fields, files = await request.form, await request.files
    content = files["file"].read()
    return {
        "note": fields["note"],
        "name": files["file"].filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@app.get("/login")
async def login() -> BaseResponse:
    response = redirect("/whoami", 303)
    response.set_cookie("user", "ann", httponly=True)
    response.set_cookie("theme", "dark")
    return response


@app.get("/whoami")
async def whoami() -> Response:
    return Response(f"{request.cookies.get('user')} likes it {request.cookies.get('theme')}", mimetype="text/plain")


@app.get("/fail")
async def fail() -> str:
    raise RuntimeError("the password is 1729")


@app.get("/files/<path:name>")
async def files(name: str) -> Response:
    return await send_from_directory(STATIC, name, conditional=True)


@app.websocket("/echo")
async def echo() -> None:
    await websocket.accept(subprotocol="chat" if "chat" in websocket.requested_subprotocols else None)
    while True:
        message = await websocket.receive()
        if message == "bye":
            await websocket.close(4001, "see you")
            return
        await websocket.send(message)


@app.websocket("/echo/bytes")
async def echo_bytes() -> None:
    while True:
        await websocket.send(await websocket.receive())


@app.websocket("/members")
async def members() -> tuple[str, int]:
    return "", 403
