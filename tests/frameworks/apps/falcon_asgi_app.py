"""A shop on Falcon, with async responders."""

import asyncio
import hashlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi

STATIC = Path(__file__).with_name("static")
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


class Shop:
    greeting = "cold"

    async def process_startup(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        self.greeting = "warm"

    async def process_shutdown(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        print("the shop is closed", file=sys.stderr, flush=True)


shop = Shop()


class Home:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "hello"

    async def on_get_json(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.media = {"name": req.get_param("name", required=True)}

    async def on_get_started(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = shop.greeting

    async def on_get_fail(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        raise RuntimeError("the password is 1729")


class Streams:
    async def on_get_numbers(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        async def lines() -> AsyncIterator[bytes]:
            for first in range(0, 200_000, 10_000):
                yield "".join(f"{n}\n" for n in range(first, first + 10_000)).encode()

        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = lines()

    async def on_get_gate(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, key: str) -> None:
        async def lines() -> AsyncIterator[bytes]:
            yield b"waiting\n"
            await gates[key].wait()
            yield b"open\n"

        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = lines()

    async def on_post_gate(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, key: str) -> None:
        gates[key].set()
        resp.status = falcon.HTTP_204


class Uploads:
    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        size, digest = 0, hashlib.sha256()
        async for piece in req.stream:
            size += len(piece)
            digest.update(piece)
        resp.media = {"size": size, "sha256": digest.hexdigest()}

    async def on_post_form(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        received: dict[str, Any] = {}
        async for part in await req.get_media():
            if part.name == "file":
                size, digest = 0, hashlib.sha256()
                async for piece in part.stream:
                    size += len(piece)
                    digest.update(piece)
                received |= {"name": part.filename, "size": size, "sha256": digest.hexdigest()}
            else:
                received[part.name] = await part.text
        resp.media = received


class Visitors:
    async def on_get_login(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.set_cookie("user", "ann", secure=False)
        resp.set_cookie("theme", "dark", secure=False, http_only=False)
        raise falcon.HTTPSeeOther("/whoami")

    async def on_get_whoami(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"{req.cookies.get('user')} likes it {req.cookies.get('theme')}"


class Sockets:
    async def on_websocket_echo(self, req: falcon.asgi.Request, socket: falcon.asgi.WebSocket) -> None:
        await socket.accept(subprotocol="chat" if "chat" in socket.subprotocols else None)
        while (text := await socket.receive_text()) != "bye":
            await socket.send_text(text)
        await socket.close(4001, "see you")

    async def on_websocket_bytes(self, req: falcon.asgi.Request, socket: falcon.asgi.WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_data(await socket.receive_data())

    async def on_websocket_members(self, req: falcon.asgi.Request, socket: falcon.asgi.WebSocket) -> None:
        await socket.close()


app = falcon.asgi.App(middleware=[shop])
home, streams, uploads, visitors, sockets = Home(), Streams(), Uploads(), Visitors(), Sockets()
app.add_route("/", home)
app.add_route("/json", home, suffix="json")
app.add_route("/started", home, suffix="started")
app.add_route("/fail", home, suffix="fail")
app.add_route("/numbers", streams, suffix="numbers")
app.add_route("/gates/{key}", streams, suffix="gate")
app.add_route("/upload", uploads)
app.add_route("/form", uploads, suffix="form")
app.add_route("/login", visitors, suffix="login")
app.add_route("/whoami", visitors, suffix="whoami")
app.add_route("/echo", sockets, suffix="echo")
app.add_route("/echo/bytes", sockets, suffix="bytes")
app.add_route("/members", sockets, suffix="members")
app.add_static_route("/files", STATIC)
