"""Stop signals: in each stage of a start, in the fallback, while serving; a stop is clean and never falls back."""

from __future__ import annotations

import signal
import socket
import threading
from typing import Any

import pytest

SAFE = "[arun]\nbind = {address}\n"
SAID = "import os\nos.write(2, b'here\\n')\n"
LIFESPAN = "async def app(scope, receive, send):\n    await receive()\n    import asyncio, time\n"
AIOHTTP = """
import asyncio, os, time
from aiohttp import web
async def start(app):
    os.write(2, b"here\\n")
    {}
app = web.Application()
app.on_startup.append(start)
"""
SERVER = "import asyncio\nasync def main():\n    os.write(2, b'here\\n')\n    await asyncio.Event().wait()\n"

#: Where a start can be when the signal comes; each says "here" when it is there.
STAGES = {
    "importing": SAID + "import time\ntime.sleep(1e6)\n",
    "importing, busy": SAID + "while True: pass\n",
    "importing, reading": SAID + "os.read(os.pipe()[0], 1)\n",
    "importing, waiting for a lock": SAID + "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()\n",
    "importing, waiting for a child": SAID + "import subprocess\nsubprocess.run(['sleep', '1000'])\n",
    "importing, in asyncio.run": "import os\n" + SERVER + "asyncio.run(main())\n",
    "importing, in uvloop.run": "import os\n" + SERVER + "import uvloop\nuvloop.run(main())\n",
    "importing, in C that never returns": SAID
    + (
        "import ctypes\nlibc = ctypes.CDLL(None)\nmutex = ctypes.create_string_buffer(64)\n"
        "libc.pthread_mutex_lock(mutex)\nlibc.pthread_mutex_lock(mutex)\n"
    ),
    "making": SAID + "import time\ndef make_app(): time.sleep(1e6)\n",
    "making, async": "import os\n" + SERVER + "make_app = main\n",
    "in lifespan": LIFESPAN + "    import os; os.write(2, b'here\\n')\n    await asyncio.Event().wait()\n",
    "in aiohttp's on_startup": AIOHTTP.format("await asyncio.Event().wait()"),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("code", STAGES.values(), ids=STAGES)
def test_stop_during_a_start_is_clean(arun: Any, code: str, number: signal.Signals) -> None:
    """Status 0, no failure, no fallback, although the start had one."""
    arun.write("shop.py", code)
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    instance.wait_for("here")
    instance.send(number)
    assert instance.wait() == 0
    assert (instance.failures(), instance.fallbacks()) == ([], [])
    assert "Traceback" not in instance.said


def test_the_signal_of_a_child_that_an_import_forked_does_not_stop_the_start(arun: Any) -> None:
    """Parent and child share descriptors after a fork; what is sent to the child must not be heard by the parent."""
    arun.write(
        "shop.py",
        "import os, signal, time\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
        "reading, writing = os.pipe()\n"
        "if not (child := os.fork()):\n    os.write(writing, b'.')\n    while True: time.sleep(0.01)\n"
        "os.read(reading, 1)\nos.kill(child, 15)\nos.waitpid(child, 0)\n"
        "time.sleep(2.5)  # longer than a signal that was heard would be left alone\n"
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body'})\n",
    )
    instance = arun("shop.py", "--bind", "{address}").ready()
    assert instance.get().status == 200
    assert instance.stop() == 0


STARLETTE = """
import contextlib, os, time
from starlette.applications import Starlette
@contextlib.asynccontextmanager
async def life(app):
    os.write(2, b"here\\n")
    time.sleep(1e6)
    yield
app = Starlette(lifespan=life)
"""
WRAPS = "try: time.sleep(1e6)\n{0}except BaseException as error: raise RuntimeError('no database') from error\n"
#: Start-ups that block the loop: the first signal is for the loop, which is not listening, so a second may be needed.
BLOCKING = {
    "lifespan": LIFESPAN + "    import os; os.write(2, b'here\\n')\n    time.sleep(1e6)\n",
    "aiohttp's on_startup": AIOHTTP.format("time.sleep(1e6)"),
    "lifespan that catches everything": (
        LIFESPAN + "    import os; os.write(2, b'here\\n')\n"
        "    while True:\n        try: time.sleep(1e6)\n        except Exception: pass\n"
    ),
    "lifespan that says it failed": STARLETTE,
    "lifespan that wraps what it catches": (
        LIFESPAN + "    import os; os.write(2, b'here\\n')\n    " + WRAPS.format("    ")
    ),
    "aiohttp's on_startup that wraps what it catches": AIOHTTP.format(WRAPS.format("    ")),
    "import that wraps what it catches": SAID + "import time\n" + WRAPS.format(""),
}


@pytest.mark.parametrize("code", BLOCKING.values(), ids=BLOCKING)
def test_stop_during_a_blocking_start_up_is_clean(arun: Any, code: str) -> None:
    """It is never reported as a failure of the app, and the pid file goes as at any stop."""
    arun.write("shop.py", code)
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini", "--pidfile", "pid")
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
    assert (instance.failures(), instance.fallbacks()) == ([], [])
    assert "Traceback" not in instance.said
    assert not (arun.folder / "pid").exists()


@pytest.mark.parametrize("options", [(), ("--fallback-config", "safe.ini")], ids=["alone", "with a fallback"])
@pytest.mark.parametrize(
    "then", ["", "raise RuntimeError\n", "import sys\nsys.exit(3)\n"], ids=["goes on", "raises", "exits"]
)
def test_stop_that_the_app_swallows_is_still_a_stop(arun: Any, options: tuple[str, ...], then: str) -> None:
    """Whatever the app makes of the interruption, the instance was asked to stop: status 0."""
    swallow = SAID + "import time\ntry: time.sleep(1e6)\nexcept BaseException: pass\ndef app(e, s): return []\n"
    arun.write("shop.py", swallow + then)
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", *options)
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
    assert instance.fallbacks() == []


def test_stop_while_exit_hooks_of_a_failed_start_run(arun: Any) -> None:
    arun.write(
        "shop.py",
        "import atexit, os, time\n@atexit.register\ndef hook():\n    os.write(2, b'here\\n')\n    time.sleep(1e6)\n1 / 0\n",
    )
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
    assert instance.fallbacks() == []


@pytest.mark.parametrize("round_", range(12))
def test_stop_between_failure_and_successor_is_not_lost(arun: Any, round_: int) -> None:
    """Whether the old image takes it, the exec carries it, or the new image gets it: status 0."""
    arun.write(
        "shop.py",
        "import threading, time\nfor _ in range(3): threading.Thread(target=time.sleep, args=(1e6,)).start()\n1 / 0\n",
    )
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    instance.wait_for("!!! Fallback")
    threading.Event().wait(round_ * 0.004)  # another moment of the exec in each round
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
    assert len(instance.fallbacks()) == 1
    assert instance.failures() == ["app-import-failed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("named", ["shop.py", "broken.py"], ids=["app", "fallback"])
def test_stop_while_serving(arun: Any, named: str, number: signal.Signals) -> None:
    arun.write("shop.py", "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'shop']\n")
    arun.write("broken.py", "1 / 0\n")
    arun.write("safe.ini", SAFE)
    instance = arun(named, "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    before = instance.fallbacks()
    instance.send(number)
    assert instance.wait() == 0
    assert instance.fallbacks() == before


SLOW = """
import asyncio, os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    os.write(2, b"here\\n")
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"finished"})
"""


def test_graceful_stop_answers_the_request_in_progress(arun: Any) -> None:
    """The address is given up at once, the request under way is answered, then the process ends."""
    arun.write("shop.py", SLOW)
    instance = arun("shop.py", "--bind", "{address}", "--timeout-graceful-shutdown", "20").ready()
    client = ask(arun.address)
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    refused = refusal(arun.address)
    arun.write("go", "")
    assert answer(client).endswith(b"finished")
    assert instance.wait() == 0
    assert refused


@pytest.mark.parametrize("kind", ["asgi", "wsgi", "aiohttp"])
def test_second_stop_forces(arun: Any, kind: str) -> None:
    """A request that never ends and a long grace: the first signal waits, the second does not, and the status is 0."""
    arun.write("shop.py", ENDLESS[kind])
    instance = arun("shop.py", "--bind", "{address}", "--timeout-graceful-shutdown", "1000").ready()
    client = ask(arun.address)
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    assert refusal(arun.address)
    assert instance.process.poll() is None
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
    client.close()


def test_stop_ends_when_the_grace_is_over(arun: Any) -> None:
    arun.write("shop.py", ENDLESS["asgi"])
    instance = arun("shop.py", "--bind", "{address}", "--timeout-graceful-shutdown", "0.3").ready()
    client = ask(arun.address)
    instance.wait_for("here")
    assert instance.stop() == 0
    client.close()


ENDLESS = {
    "asgi": SLOW,
    "wsgi": "import os, time\ndef app(environ, start_response):\n    os.write(2, b'here\\n')\n    time.sleep(1e6)\n",
    "aiohttp": (
        "import asyncio, os\nfrom aiohttp import web\nasync def hello(request):\n    os.write(2, b'here\\n')\n"
        "    await asyncio.Event().wait()\napp = web.Application()\napp.router.add_get('/', hello)\n"
    ),
}


def ask(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    client.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    return client


def answer(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65_536), b""))


def refusal(address: str) -> bool:
    """Connect until it is refused; the test's own time-out ends it when that never happens."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=30).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            continue


def blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@pytest.mark.parametrize("named", ["shop.py", "broken.py"], ids=["app", "fallback"])
def test_mask_inherited_from_a_careless_parent_does_not_deafen(arun: Any, named: str) -> None:
    arun.write("shop.py", "def app(environ, start_response): ...\n")
    arun.write("broken.py", "1 / 0\n")
    arun.write("safe.ini", SAFE)
    instance = arun(named, "--bind", "{address}", "--fallback-config", "safe.ini", preexec_fn=blocked).ready()
    assert instance.stop() == 0


def deaf_to_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_children_are_gone_though_the_parent_ignored_sigchld(arun: Any, assert_welcomes: Any) -> None:
    """With SIGCHLD ignored the kernel reaps, and waiting for a child fails: that must not hold the fallback back."""
    arun.write(
        "shop.py", "import subprocess\nchildren = [subprocess.Popen(['sleep', '1000']) for _ in range(2)]\n1 / 0\n"
    )
    arun.write("safe.ini", SAFE)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini", preexec_fn=deaf_to_children)
    assert_welcomes(instance)


def deaf_to_a_timer() -> None:
    signal.signal(signal.SIGVTALRM, signal.SIG_IGN)


def test_signal_that_the_parent_ignored_stays_ignored(arun: Any) -> None:
    """As a shell does for what it starts in the background; an app that changed its mind changed only its own."""
    arun.write("broken.py", "import signal\nsignal.signal(signal.SIGVTALRM, signal.SIG_DFL)\n1 / 0\n")
    arun.write("safe.ini", SAFE)
    instance = arun("broken.py", "--bind", "{address}", "--fallback-config", "safe.ini", preexec_fn=deaf_to_a_timer)
    instance.ready().send(signal.SIGVTALRM)
    assert instance.get().status == 503


def test_fallback_ignores_no_signal_that_the_first_start_did_not(arun: Any) -> None:
    """An app that ignores signals before it breaks leaves no deaf successor."""
    code = "import signal\nfor n in (1, 2, 12, 14, 15, 17): signal.signal(n, signal.SIG_IGN)\n1 / 0\n"
    arun.write("broken.py", code)
    arun.write("safe.ini", SAFE)
    fallen = arun("broken.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    found = ignored(fallen.pid)
    assert fallen.stop() == 0
    healthy = arun("safe.ini").ready()
    assert found == ignored(healthy.pid)


def ignored(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(status.read().partition("SigIgn:")[2].split()[0], 16)


FORKING = """
import os, signal, time
def child(number):
    ready, go = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(go, b"1")
        while True: time.sleep(0.01)
    os.read(ready, 1)
    os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("when", ["importing", "serving"])
def test_child_that_the_app_forks_ends_by_a_stop_signal_of_its_own(
    arun: Any, when: str, number: signal.Signals
) -> None:
    """Its signal is neither swallowed by arun's handlers, which it inherited, nor taken for one to the instance."""
    answers = "def app(e, s):\n    s('200 OK', [])\n    return [str({}).encode()]\n"
    call = f"child({int(number)})"
    code = f"ended = {call}\n{answers.format('ended')}" if when == "importing" else answers.format(call)
    arun.write("shop.py", FORKING + code)
    instance = arun("shop.py", "--bind", "{address}").ready()
    assert instance.get().text == str(-number)
    assert instance.stop() == 0
