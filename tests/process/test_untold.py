"""Requests whose failure is hard to format: each gets its response first, is reported as far as possible, and frees its place."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING

import pytest
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from tests.process.conftest import Instance, Starter

#: What an app raises; each of them made Python's own traceback raise, or the log.
RAISED = {
    "a syntax error of bytes": "raise SyntaxError('bad', ('f.py', 3, 5, b'text'))",
    "no notes": "raise type('E', (ValueError,), {'__notes__': property(lambda self: 1 / 0)})('x')",
    "no text": "raise type('E', (ValueError,), {'__str__': lambda self: exit(3)})('x')",
    "a chain that bites its tail": "e = ValueError('x'); f = KeyError('y'); e.__cause__ = f; f.__cause__ = e; raise e",
    "a group that cannot be split": "raise type('E', (ExceptionGroup,), {'derive': lambda *a: 1 / 0})('x', [ValueError('y')])",
    "no class name": "raise type('E', (ValueError,), {'__module__': None})('x')",
    "traceback is broken": "import traceback; traceback.TracebackException = None; raise ValueError('x')",
    "no source can be read": "import tokenize, linecache; linecache.updatecache = tokenize.open = None; raise ValueError('x')",
    "no memory": "raise MemoryError",
}
#: An app of each kind, whose root fails and whose other paths do not.
KINDS = {
    "asgi": """
async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/":
        fail()
    if scope["type"] != "lifespan":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
""",
    "wsgi": """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/":
        fail()
    start_response("200 OK", [])
    return []
""",
    "aiohttp": """
from aiohttp import web
async def root(request):
    fail()
async def other(request):
    return web.Response()
app = web.Application()
app.add_routes([web.get("/", root), web.get("/other", other)])
""",
}


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["", "debug"])
@pytest.mark.parametrize("kind", [*KINDS, "wsgi inline"])
def test_a_request_whose_failure_cannot_be_reported_is_answered_500_and_frees_its_place(
    arun: Starter, kind: str, debug: tuple[str, ...]
) -> None:
    for name, code in RAISED.items():
        lines = "\n".join(f"    {line}" for line in code.split("; "))
        arun.write(f"shop_{kind[0]}.py", f"def fail():\n{lines}\n{KINDS[kind.partition(' ')[0]]}")
        inline = ("--threads", "0") if "inline" in kind else ()
        instance = arun(
            f"shop_{kind[0]}.py", "--bind", "{address}", "--limit-concurrency", "1", *inline, *debug
        ).ready()
        for times in (1, 2):
            assert (name, instance.get().status) == (name, 500)
            instance.wait_for("GET / failed (client ", times=times)
            assert (name, instance.get("/other").status) == (name, 200)
        assert instance.stop() == 0


@pytest.mark.parametrize("code", RAISED.values(), ids=RAISED)
def test_a_start_up_whose_failure_cannot_be_reported_is_answered_for(arun: Starter, code: str) -> None:
    lines = "\n".join(f"        {line}" for line in code.split("; "))
    arun.write("shop.py", f"async def app(scope, receive, send):\n    if (await receive())['type']:\n{lines}\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome").ready()
    assert instance.get().status == 503
    assert instance.failures() == ["app-startup-failed"]
    assert instance.stop() == 0


#: A guard against calls that block in the loop, as blockbuster is one: it does not know ours from the app's.
GUARD = """
import builtins, io, os, time, tokenize, linecache
def refuse(*arguments, **more):
    raise RuntimeError("this blocks")
async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/":
        builtins.open = io.open = tokenize.open = linecache.updatecache = os.stat = os.write = time.sleep = refuse
        1 / 0
    if scope["type"] != "lifespan":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
"""


def test_a_guard_against_blocking_calls_takes_no_answer_away(arun: Starter) -> None:
    arun.write("shop.py", GUARD)
    instance = arun("shop.py", "--bind", "{address}", "--limit-concurrency", "1").ready()
    for times in (1, 2):
        assert instance.get().status == 500
        instance.wait_for("ZeroDivisionError: division by zero", times=times)
        assert instance.get("/other").status == 200
    assert instance.stop() == 0


#: What an app of any kind may call: it takes every descriptor that is left, or gives them back.
TAKES = """
import os
held = []
def fail():
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    1 / 0
def release():
    while held:
        os.close(held.pop())
"""
RELEASES = {
    "asgi": ('    if scope["type"] != "lifespan":', '    release()\n    if scope["type"] != "lifespan":'),
    "wsgi": ('    start_response("200', '    release()\n    start_response("200'),
    "aiohttp": ("    return web.Response()", "    release()\n    return web.Response()"),
}


@pytest.mark.parametrize("kind", [*KINDS, "wsgi inline"])
def test_an_app_that_takes_the_last_descriptor_and_fails_is_answered_and_its_clients_are_timed(
    arun: Starter, kind: str
) -> None:
    """On the connection that there is already; when descriptors are back, time goes on for the others too."""
    name = kind.partition(" ")[0]
    arun.write("shop.py", TAKES + KINDS[name].replace(*RELEASES[name]))
    options = (
        "--limit-concurrency",
        "1",
        "--timeout-keep-alive",
        "2",
        *(("--threads", "0") if "inline" in kind else ()),
    )
    instance = arun("shop.py", "--bind", "{address}", *options).ready()
    with connected(instance) as failing, connected(instance) as other:
        assert ask(other, "/other")[0] == 200
        assert ask(failing, "/")[0] == 500
        status, date = ask(other, "/other")
        assert status == 200
        assert other.sock.recv(1) == b""  # the idle connection is ended
    assert instance.get("/other").headers["date"] != date
    instance.wait_for("ZeroDivisionError: division by zero")
    assert instance.stop() == 0


def connected(instance: Instance) -> contextlib.closing[http.client.HTTPConnection]:
    host, _, port = instance.address.rpartition(":")
    return contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=PATIENCE))


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, str | None]:
    """Ask on a connection that is kept, and return status and date."""
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers["date"]
