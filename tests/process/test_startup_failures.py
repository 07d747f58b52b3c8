"""Apps that load and do not start, and starts that would never end: each becomes a named failure, in time."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

SAFE = "[arun]\nbind = {address}\n"

LIFESPAN = """
import asyncio, sys
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    {}
"""
AIOHTTP = """
import asyncio, sys, time
from aiohttp import web
async def start(app):
    {}
app = web.Application()
app.on_startup.append(start)
"""
#: App, and the words that tell why it did not start.
STARTUPS = {
    "lifespan failed": (
        LIFESPAN.format("await send({'type': 'lifespan.startup.failed', 'message': 'no database'})"),
        "no database",
    ),
    "lifespan failed without a word": (LIFESPAN.format("await send({'type': 'lifespan.startup.failed'})"), ""),
    "aiohttp on_startup raising": (AIOHTTP.format("raise OSError('no database')"), "no database"),
    "aiohttp on_startup exiting": (AIOHTTP.format("sys.exit(0)"), ""),
    "lifespan exiting": (LIFESPAN.format("sys.exit(0)"), ""),
}


@pytest.mark.parametrize(("app", "words"), STARTUPS.values(), ids=STARTUPS)
def test_app_whose_start_up_fails(arun: Any, assert_welcomes: Any, app: str, words: str) -> None:
    arun.write("shop.py", app)
    arun.write("safe.ini", SAFE)
    alone = arun("shop.py", "--bind", "{address}")
    assert alone.wait() == 1
    assert alone.fallbacks() == []
    saved = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_welcomes(saved)
    for instance in (alone, saved):
        assert instance.failures() == ["app-startup-failed"]
        assert instance.hints() == 1
        assert words in instance.said
        assert instance.own_frames() == []


def test_app_that_raises_in_lifespan_once_it_has_begun_has_failed(arun: Any, assert_welcomes: Any) -> None:
    """An app that received the start-up event knows lifespan: what it raises then is a failure, not ignorance."""
    arun.write("shop.py", LIFESPAN.format("raise OSError('no database')"))
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    assert_welcomes(instance)
    assert instance.failures() == ["app-startup-failed"]
    assert "OSError: no database" in instance.said


def test_app_that_does_not_know_lifespan_is_served(arun: Any) -> None:
    """ASGI lifespan spec: an exception before any answer means that the app does not take part."""
    arun.write("shop.py", KNOWS_HTTP_ONLY)
    assert arun("shop.py", "--bind", "{address}").ready().get().text == "http only"


KNOWS_HTTP_ONLY = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"http only"})
"""

SERVER = "import asyncio\nasync def main():\n    await asyncio.Event().wait()\n"
#: Code that never comes back, and whether it is deaf to interruption as well.
ENDLESS = {
    "sleep": "import time\ntime.sleep(1e6)\n",
    "busy loop": "while True: pass\n",
    "read from a pipe": "import os\nos.read(os.pipe()[0], 1)\n",
    "recv on a socket": "import socket\na, b = socket.socketpair()\na.recv(1)\n",
    "lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n",
    "child": "import subprocess\nsubprocess.run(['sleep', '1000'])\n",
    "asyncio.run": SERVER + "asyncio.run(main())\n",
    "uvloop.run": SERVER + "import uvloop\nuvloop.run(main())\n",
    "web.run_app": "from aiohttp import web\nweb.run_app(web.Application(), port=0, host='127.0.0.1', print=None)\n",
    "http.server": (
        "import http.server\n"
        "http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler).serve_forever()\n"
    ),
    "factory": "import time\ndef make_app():\n    time.sleep(1e6)\n",
    "async factory": "import asyncio\nasync def make_app():\n    await asyncio.Event().wait()\n",
    "lifespan without an answer": LIFESPAN.format("await asyncio.Event().wait()"),
    "lifespan blocking": LIFESPAN.format("import time; time.sleep(1e6)"),
    "aiohttp on_startup without an answer": AIOHTTP.format("await asyncio.Event().wait()"),
    "aiohttp on_startup blocking": AIOHTTP.format("time.sleep(1e6)"),
}
#: These have to be interrupted more than once, or not at all: the thread of the watch acts in their place.
STUBBORN = {
    "sleep that catches everything": (
        "import time\nwhile True:\n    try: time.sleep(1e6)\n    except BaseException: pass\n"
    ),
    "mutex in C": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nmutex = ctypes.create_string_buffer(64)\n"
        "libc.pthread_mutex_lock(mutex)\nlibc.pthread_mutex_lock(mutex)\n"
    ),
    "alarms ignored": "import signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ntime.sleep(1e6)\n",
    "signals blocked": (
        "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\ntime.sleep(1e6)\n"
    ),
}
TIMEOUT = 0.6
#: Seconds beyond the time-out that two starts and a slow machine may take.
MARGIN = 15.0


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_start_that_never_ends_fails_when_its_time_is_up(arun: Any, assert_welcomes: Any, code: str) -> None:
    assert_times_out(arun, assert_welcomes, code, TIMEOUT + MARGIN)


@pytest.mark.parametrize("code", STUBBORN.values(), ids=STUBBORN)
def test_start_that_cannot_be_interrupted_fails_two_seconds_later(arun: Any, assert_welcomes: Any, code: str) -> None:
    assert_times_out(arun, assert_welcomes, code, TIMEOUT + 2 + MARGIN)


def assert_times_out(arun: Any, assert_welcomes: Any, code: str, within: float) -> None:
    arun.write("shop.py", code)
    arun.write("safe.ini", SAFE)
    began = time.monotonic()
    limits = ["--bind", "{address}", "--start-timeout", str(TIMEOUT)]
    instance = arun("shop.py", *limits, "--fallback-config", "safe.ini")
    assert_welcomes(instance)
    assert time.monotonic() - began < within
    assert instance.failures() == ["start-timeout"]
    assert instance.hints() == 1
    assert instance.own_frames() == []
    assert instance.stop() == 0


@pytest.mark.parametrize("code", [ENDLESS["sleep"], STUBBORN["mutex in C"]], ids=["sleep", "mutex in C"])
def test_start_that_never_ends_has_status_1_without_a_fallback(arun: Any, code: str) -> None:
    arun.write("shop.py", code)
    instance = arun("shop.py", "--bind", "{address}", "--start-timeout", str(TIMEOUT))
    assert instance.wait() == 1
    assert instance.failures() == ["start-timeout"]


def test_time_is_up_though_the_app_caught_the_interruption(arun: Any, assert_welcomes: Any) -> None:
    """An import that swallows its interruption and then goes on is not served as if nothing had been."""
    caught = "import time\ntry: time.sleep(1e6)\nexcept BaseException: pass\n"
    arun.write("shop.py", caught + KNOWS_HTTP_ONLY)
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--start-timeout", "0.4", "--fallback-config", "safe.ini")
    assert_welcomes(instance)
    assert instance.failures() == ["start-timeout"]


def test_start_in_time_is_not_interrupted_later(arun: Any) -> None:
    """Once it serves, the time-out of the start means nothing any more."""
    arun.write("shop.py", WAITS)
    instance = arun("shop.py", "--bind", "{address}", "--start-timeout", "1").ready()
    assert instance.get("/").text == "1.5 s later"
    assert instance.failures() == []


WAITS = """
import asyncio
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(1.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"1.5 s later"})
"""


def test_start_that_waits_for_a_busy_address_names_it(arun: Any, held: Any) -> None:
    address = "{}:{}".format(*held.getsockname())
    instance = arun("--bind", address, "--bind-retry", "30", "--start-timeout", str(TIMEOUT))
    assert instance.wait() == 1
    assert f"it was waiting for {address} to be bound (from --start-timeout)" in instance.said


def test_long_start_states_what_it_waits_for(arun: Any) -> None:
    arun.write("shop.py", ENDLESS["sleep"])
    instance = arun("shop.py", "--bind", "{address}")
    said = instance.wait_for("arun: waiting for ")
    assert re.search(r"^arun: waiting for shop.py to be imported \(\d+ s\)$", said, re.MULTILINE)
