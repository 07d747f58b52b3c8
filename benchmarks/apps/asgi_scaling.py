"""The ASGI app of scaling.py: it says hello and counts; ``/block`` holds the loop of its worker up, as a bad app does."""

from __future__ import annotations

import time

from counting import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

#: Seconds.
BLOCKED = 0.1
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"5")]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer five bytes, and say yes to the lifespan."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/block":
        time.sleep(BLOCKED)  # noqa: ASYNC251 - that is the point
    else:
        count()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS.copy()})
    await send({"type": "http.response.body", "body": b"hello"})
