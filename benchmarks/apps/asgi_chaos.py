"""The ASGI app of chaos.py."""

from __future__ import annotations

import asyncio

from deployment import PAUSE, answer, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer at once, or in pieces; take websockets; say yes to the lifespan."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            continue
        return
    if scope["path"] == "/poll":
        await poll(receive, send, int(scope["query_string"]))
        return
    received, more = 0, True
    while more:
        message = await receive()
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = answer(received, scope["path"])
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] != "/slow":
        await send({"type": "http.response.body", "body": body})
        return
    for piece in pieces(body):
        await asyncio.sleep(PAUSE)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def poll(
    receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]], times: int
) -> None:
    """Look so often whether the client has gone, as frameworks do: ask, and take the question back. Then wait for it."""
    await receive()
    for _ in range(times):
        asked = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b".", "more_body": True})
    await receive()
