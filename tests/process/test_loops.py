"""The event loop: what serves where uvloop cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Answers with the package that the running loop comes from.
APPS = {
    "asgi": """
import asyncio
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    name = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    await send({"type": "http.response.body", "body": name.encode()})
""",
    "wsgi": """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"asyncio"]
""",
    "aiohttp": """
import asyncio
from aiohttp import web
async def tell(request):
    return web.Response(text=type(asyncio.get_running_loop()).__module__.partition(".")[0])
app = web.Application()
app.router.add_get("/", tell)
""",
}
#: What lies in the place of uvloop, and a word of the line.
BROKEN = {
    "not installed": (
        {"uvloop.py": "raise ModuleNotFoundError('No module named uvloop', name='uvloop')\n"},
        "No module",
    ),
    "broken file": (
        {"uvloop/__init__.py": "from .loop import new_event_loop\n", "uvloop/loop.abi3.so": "junk"},
        "loop",
    ),
    "symbol that libc lacks": (
        {"uvloop.py": "import ctypes\nctypes.CDLL(None).no_such_symbol\n"},
        "undefined symbol: no_such_symbol",
    ),
    "library that is gone": ({"uvloop.py": "import ctypes\nctypes.CDLL('libgone.so')\n"}, "libgone.so"),
    "other version of Python": ({"uvloop.py": "raise SystemError('initialization failed')\n"}, "SystemError"),
    "loop that cannot be made": (
        {"uvloop.py": "def new_event_loop(): raise PermissionError(1, 'Operation not permitted')\n"},
        "Operation not permitted",
    ),
}


def break_uvloop(arun: Any, files: dict[str, str]) -> dict[str, str]:
    for name, content in files.items():
        arun.write(f"broken/{name}", content)
    return {"PYTHONPATH": str(arun.folder / "broken")}


@pytest.mark.parametrize(("files", "words"), BROKEN.values(), ids=BROKEN)
def test_asyncio_serves_where_uvloop_cannot_be_used_and_one_line_states_the_cause(
    arun: Any, files: dict[str, str], words: str
) -> None:
    arun.write("shop.py", APPS["asgi"])
    instance = arun("shop.py", "--bind", "{address}", env=break_uvloop(arun, files)).ready()
    assert instance.get().text == "asyncio"
    (line,) = [line for line in instance.said.splitlines() if "uvloop" in line]
    assert line.startswith("arun: warning: uvloop cannot be used: ")
    assert words in line
    assert instance.stop() == 0


@pytest.mark.parametrize(
    "way", [(), ("--workers", "2"), ("--workers", "2", "--preload")], ids=["one", "two", "preload"]
)
@pytest.mark.parametrize("kind", APPS)
def test_it_does_so_for_every_kind_and_in_workers(arun: Any, kind: str, way: Sequence[str]) -> None:
    arun.write("shop.py", APPS[kind])
    arun.write("json.py", "raise SystemError('a name of Python: what serving needs is imported before')\n")
    instance = arun("shop.py", "--bind", "{address}", *way, env=break_uvloop(arun, BROKEN["broken file"][0])).ready()
    assert instance.get().text == "asyncio"
    assert instance.failures() == []
    assert instance.stop() == 0


@pytest.mark.parametrize("way", [(), ("--workers", "2")], ids=["one", "two"])
@pytest.mark.parametrize(("files", "words"), BROKEN.values(), ids=BROKEN)
def test_uvloop_that_is_asked_for_and_cannot_be_used_is_a_named_failure(
    arun: Any, assert_welcomes: Callable[..., None], files: dict[str, str], words: str, way: Sequence[str]
) -> None:
    arun.write("shop.py", APPS["asgi"])
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    command = ["shop.py", "--bind", "{address}", "--loop", "uvloop", *way, "--fallback-config", "safe.ini"]
    instance = arun(*command, env=break_uvloop(arun, files))
    assert_welcomes(instance)
    assert instance.failures() == ["loop-unavailable"]
    assert words in instance.said
    assert "(from --loop)" in instance.said
