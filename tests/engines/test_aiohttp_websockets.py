"""Websockets of aiohttp's own: they talk past every time-out, ping, and are pinged."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp import web
from tests.engines.conftest import aiohttp_server

Serve = Any
PATIENCE = 10
#: Seconds that no websocket notices.
SOON = 0.05


def app_of(handler: Any) -> web.Application:
    app = web.Application()
    app.router.add_get("/", handler)
    return app


def url(served: Any) -> str:
    return f"http://127.0.0.1:{served.port}/"


async def test_websocket_talks_past_every_time_out(serve: Serve) -> None:
    async def talk(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(f"{message.data}!")
        return websocket

    times = dict.fromkeys(("timeout_header", "timeout_body", "timeout_write", "timeout_keep_alive"), SOON)
    served = await serve(app_of(talk), aiohttp_server, **times)
    async with aiohttp.ClientSession() as session, session.ws_connect(url(served)) as websocket:
        for _ in range(2):
            await websocket.send_str("hello")
            assert await websocket.receive_str() == "hello!"
            await asyncio.sleep(SOON * 4)
        await websocket.send_bytes(bytes(100_000))
        assert len(await websocket.receive_str()) > 100_000
    assert served.errors == []


async def test_websocket_with_a_heartbeat_pings_and_is_pinged(serve: Serve) -> None:
    async def talk(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(heartbeat=0.05)
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        return websocket

    served = await serve(app_of(talk), aiohttp_server)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url(served), autoping=False, compress=15) as websocket,
    ):
        message = await asyncio.wait_for(websocket.receive(), PATIENCE)
        assert message.type is aiohttp.WSMsgType.PING
        await websocket.pong(message.data)
        await websocket.send_str("x" * 10_000)
        while (message := await websocket.receive()).type is aiohttp.WSMsgType.PING:
            await websocket.pong(message.data)
        assert message.data == "x" * 10_000
    assert served.errors == []
