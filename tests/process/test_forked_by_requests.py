"""A child that a request forks and that ends by sys.exit ends: it is no second server behind arun's back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.process.conftest import Starter

APPS = {
    "asgi": """
import os, sys
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/fork" and os.fork() == 0:
        sys.exit(7)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
""",
    "wsgi": """
import os, sys
def app(environ, start_response):
    if environ["PATH_INFO"] == "/fork" and os.fork() == 0:
        sys.exit(7)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""",
    "aiohttp": """
import os, sys
from aiohttp import web
async def tell(request):
    if request.path == "/fork" and os.fork() == 0:
        sys.exit(7)
    return web.Response(text=str(os.getpid()))
app = web.Application()
app.router.add_get("/{any:.*}", tell)
""",
}


@pytest.mark.parametrize(
    ("kind", "options"), [("asgi", ()), ("wsgi", ()), ("wsgi", ("--threads", "0")), ("aiohttp", ())], ids=str
)
def test_a_child_that_a_request_forks_ends_by_sys_exit(arun: Starter, kind: str, options: tuple[str, ...]) -> None:
    arun.write("shop.py", APPS[kind] + "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n")
    instance = arun("shop.py", "--bind", "{address}", "--loop", "asyncio", *options).ready()
    for _ in range(3):
        assert instance.get("/fork").text == str(instance.pid)
    assert {instance.get("/").text for _ in range(20)} == {str(instance.pid)}
    instance.process.terminate()
    assert instance.wait() == 0
    assert instance.failures() == []
