"""The shops that the tests of workers serve, in all their versions, and how many processes serve them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Instance

__all__ = ("BIND", "SHOP", "SHOPS", "STUCK", "STUCK_IN_C", "WAITS", "WAYS", "reload", "start_up", "version")

#: An app that tells its version and the process that it is served by.
SHOP = """
import os
VERSION = "one"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = f"{VERSION} {os.getpid()}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
BIND = ("--bind", "{address}")
#: How workers come to be, and the processes that there are then.
WAYS = {
    "one": (("--supervise",), 1),
    "two": (("--workers", "2"), 2),
    "preload": (("--workers", "2", "--preload"), 3),
}
STUCK = "import os, time\nos.write(2, b'stuck\\n')\ntime.sleep(1e6)\n"
STUCK_IN_C = "import ctypes, os\nos.write(2, b'stuck\\n')\nwhile True: ctypes.PyDLL(None).pause()\n"
#: The same shop as a WSGI app, and as one of aiohttp.
SHOPS = {
    "asgi": SHOP,
    "wsgi": """
import os
VERSION = "one"
def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{VERSION} {os.getpid()}".encode()]
""",
    "aiohttp": """
import os
from aiohttp import web
VERSION = "one"
async def tell(request):
    return web.Response(text=f"{VERSION} {os.getpid()}")
app = web.Application()
app.router.add_get("/", tell)
""",
}


def version(name: str, shop: str = SHOP) -> str:
    """The shop in another version; names differ in length, for Python takes compiled code of the same second and size."""
    return shop.replace('"one"', f'"{name}"')


WAITS = SHOP.replace(
    "    body =",
    "    if scope['path'] == '/wait':\n        import asyncio\n        os.write(2, b'here\\n')\n"
    "        while not os.path.exists('go'): await asyncio.sleep(0.01)\n    body =",
)


def start_up(code: str) -> str:
    """The shop with a line of code in its start-up."""
    return SHOP.replace("            await send(", f"            {code}\n            await send(", 1)


def reload(instance: Instance, *, times: int = 1) -> None:
    """Ask for a reload, and wait until it has come about."""
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded, ", times=times)
