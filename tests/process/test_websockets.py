"""Websockets of an installed instance: how they end with it, and who is offered none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import websockets

if TYPE_CHECKING:
    from tests.process.conftest import Instance, Starter

APPS = {
    "asgi": """
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
""",
    "aiohttp": """
from aiohttp import web
async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket
app = web.Application()
app.router.add_get("/", echo)
""",
    "aiohttp that closes its own": """
import weakref
from aiohttp import WSCloseCode, web
async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    request.app[OPEN].add(socket)
    async for message in socket:
        await socket.send_str(message.data)
    return socket
async def leave(app):
    for socket in set(app[OPEN]):
        await socket.close(code=WSCloseCode.SERVICE_RESTART)
OPEN = web.AppKey("open", weakref.WeakSet)
app = web.Application()
app[OPEN] = weakref.WeakSet()
app.on_shutdown.append(leave)
app.router.add_get("/", echo)
""",
}
MANY = 64


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("kind", APPS)
async def test_many_clients_learn_of_a_stop_with_1012_and_it_ends_in_time(arun: Starter, kind: str, loop: str) -> None:
    arun.write("app.py", APPS[kind])
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, "--timeout-graceful-shutdown", "8").ready()
    clients: list[Any] = await asyncio.gather(
        *(websockets.connect(f"ws://{instance.address}/", open_timeout=30) for _ in range(MANY))
    )
    await asyncio.gather(*(client.send(f"{number}") for number, client in enumerate(clients)))
    assert await asyncio.gather(*(client.recv() for client in clients)) == [str(number) for number in range(MANY)]
    status = await asyncio.to_thread(instance.stop)
    await asyncio.gather(*(client.wait_closed() for client in clients))
    assert {client.close_code for client in clients} == {1012}
    assert status == 0
    assert "Traceback" not in instance.said


async def test_fallback_page_answers_a_handshake_of_a_websocket(arun: Starter) -> None:
    arun.write("app.py", "raise RuntimeError('broken')\n")
    instance: Instance = arun("app.py", "--bind", "{address}", "--fallback-config", "welcome")
    answer = instance.eventually(
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
    )
    assert answer.status == 503
    instance.ready()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"ws://{instance.address}/")
    assert refused.value.response.status_code == 503
    assert instance.get().status == 503
    assert instance.stop() == 0
