"""The ASGI app under load."""

from __future__ import annotations

from answers import ANSWERS, CHUNK, CHUNKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

STARTS = {
    path: {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", media.encode()), (b"content-length", b"%d" % len(body))],
    }
    for path, (media, body) in ANSWERS.items()
}
BODIES = {path: {"type": "http.response.body", "body": body} for path, (_, body) in ANSWERS.items()}


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer by path; echo on a websocket; say yes to the lifespan."""
    if scope["type"] == "http":
        path = scope["path"]
        if path in STARTS:
            # Copies: a server may write into what it is sent.
            await send({**STARTS[path]})
            await send({**BODIES[path]})
        elif path == "/echo":
            await echo(receive, send)
        else:
            await stream(send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})


async def echo(receive: Receive, send: Send) -> None:
    """Answer with the body of the request once it is whole."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Send) -> None:
    """Answer in chunks, of a length that is not announced."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def websocket(receive: Receive, send: Send) -> None:
    """Send each message back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
