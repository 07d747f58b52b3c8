"""Signals that an app takes for itself: arun still acts on them, in order, and the app's handler is called as well."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import pytest
from tests.process.test_signals import answer, ask

#: Ways to take a signal ``n``; each handler says "told", if there is one.
WAYS = {
    "signal.signal": "signal.signal(n, lambda *_: told())",
    "that exits": "signal.signal(n, lambda *_: (told(), sys.exit(3)))",
    "that raises": "signal.signal(n, lambda *_: (told(), 1 / 0))",
    "that calls the one before": (
        "before = signal.getsignal(n); signal.signal(n, lambda number, frame: (told(), before(number, frame)))"
    ),
    "of the loop": "loop.add_signal_handler(n, told)",
    "of the loop, that exits": "loop.add_signal_handler(n, lambda: (told(), sys.exit(3)))",
    "of the loop, that stops it": "loop.add_signal_handler(n, lambda: (told(), loop.stop()))",
    "of the loop, that calls the one before": (
        "before = signal.getsignal(n); loop.add_signal_handler(n, lambda: (told(), before(n, None)))"
    ),
    "of the loop, taken away": "loop.add_signal_handler(n, told); loop.remove_signal_handler(n)",
    "ignored": "signal.signal(n, signal.SIG_IGN)",
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, {n})",
}
SILENT = {"of the loop, taken away", "ignored", "blocked"}
TAKE = """
import asyncio, os, signal, sys, time
def told():
    os.write(2, b"told\\n")
def take():
    loop = asyncio.get_running_loop()
    for n in {numbers}:
        {way}
async def slow():
    os.write(2, b"here\\n")
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return b"finished"
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        {when}
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    body = await slow()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": body}})
"""
AIOHTTP = """
from aiohttp import web
async def start(app):
    {when}
async def handler(request):
    return web.Response(body=await slow())
app = web.Application()
app.router.add_get("/", handler)
app.on_startup.append(start)
"""
KINDS = {"asgi": ASGI, "aiohttp": AIOHTTP}


def app_of(kind: str, way: str, when: str = "take()", numbers: str = "(signal.SIGTERM, signal.SIGINT)") -> str:
    return TAKE.format(numbers=numbers, way=way) + KINDS[kind].format(when=when)


def stops_in_order(arun: Any, instance: Any, number: signal.Signals, way: str) -> None:
    """The request under way is answered, the status is 0, and the app has heard of the signal once."""
    client = ask(arun.address)
    instance.wait_for("here")
    instance.send(number)
    if way not in SILENT:
        instance.wait_for("told")
    arun.write("go", "")
    assert answer(client).endswith(b"finished")
    assert instance.wait() == 0
    assert instance.said.count("told") == (way not in SILENT)
    assert "Traceback" not in instance.said


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_signal_that_a_start_up_takes_still_stops_in_order(arun: Any, way: str, kind: str, loop: str) -> None:
    arun.write("shop.py", app_of(kind, WAYS[way]))
    instance = arun("shop.py", "--bind", "{address}", "--loop", loop, "--timeout-graceful-shutdown", "30").ready()
    assert ("the app has taken SIGTERM, SIGINT: " in instance.said) is (way != "of the loop, taken away")
    stops_in_order(arun, instance, signal.SIGTERM, way)


@pytest.mark.parametrize("way", ["that exits", "that calls the one before", "of the loop, that exits"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_so_it_does_at_an_import(arun: Any, way: str, number: signal.Signals) -> None:
    taken = "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); n = signal.SIGTERM\n"
    for one in ("SIGTERM", "SIGINT"):
        taken += f"def take_{one}(n=signal.{one}):\n    {WAYS[way]}\ntake_{one}()\n"
    arun.write("shop.py", app_of("asgi", "pass") + taken)
    instance = arun("shop.py", "--bind", "{address}", "--timeout-graceful-shutdown", "30").ready()
    expected = "ignored" if "loop" in way else way  # that loop is not run
    stops_in_order(arun, instance, number, expected)


@pytest.mark.parametrize("options", [("--workers", "2"), ("--supervise",), ("--workers", "2", "--preload")], ids=str)
@pytest.mark.parametrize("way", ["signal.signal", "that exits", "of the loop, that exits", "ignored"])
def test_so_it_does_in_workers(arun: Any, way: str, options: tuple[str, ...]) -> None:
    """The supervisor stops them with SIGTERM, whatever stopped itself."""
    arun.write("shop.py", app_of("asgi", WAYS[way]))
    instance = arun("shop.py", "--bind", "{address}", *options, "--timeout-graceful-shutdown", "30").ready()
    client = ask(arun.address)
    instance.wait_for("here")
    instance.send(signal.SIGINT)
    if way not in SILENT:
        instance.wait_for("told")
    arun.write("go", "")
    assert answer(client).endswith(b"finished")
    assert instance.wait() == 0
    assert "killed" not in instance.said


def test_a_handler_that_was_installed_before_the_fork_of_preloaded_workers_is_reported(arun: Any) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: (told(), sys.exit(3)))\n"
    arun.write("shop.py", app_of("asgi", "pass") + code)
    instance = arun("shop.py", "--bind", "{address}", "--workers", "1", "--preload", "--supervise").ready()
    client = ask(arun.address)
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    instance.wait_for("told", times=2)  # by the worker, and by the process that forks them
    arun.write("go", "")
    assert answer(client).endswith(b"finished")
    assert instance.wait() == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_task_of_the_start_up_that_takes_it_later_is_noticed(arun: Any, loop: str) -> None:
    """As a bot's polling does that runs beside the app."""
    when = "async def later():\n            await asyncio.sleep(0.3)\n            take()\n        app.task = asyncio.create_task(later())"
    arun.write("shop.py", app_of("asgi", WAYS["of the loop, that exits"], when))
    instance = arun("shop.py", "--bind", "{address}", "--loop", loop).ready()
    instance.wait_for("the app has taken SIGTERM, SIGINT")
    stops_in_order(arun, instance, signal.SIGTERM, "of the loop, that exits")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["signal.signal", "of the loop", "ignored"])
def test_a_start_up_that_waits_for_ever_after_it_took_it_is_stopped(arun: Any, way: str, kind: str) -> None:
    arun.write("shop.py", app_of(kind, WAYS[way], "take(); await asyncio.Event().wait()"))
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini")
    instance.wait_for("the app has taken SIGTERM, SIGINT")
    assert instance.stop() == 0
    assert (instance.failures(), instance.fallbacks()) == ([], [])


@pytest.mark.parametrize("way", ["signal.signal", "that calls the one before", "of the loop"])
def test_a_second_stop_signal_forces_all_the_same(arun: Any, way: str) -> None:
    arun.write("shop.py", app_of("asgi", WAYS[way]))
    instance = arun("shop.py", "--bind", "{address}", "--timeout-graceful-shutdown", "1000").ready()
    client = ask(arun.address)
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    instance.wait_for("told")
    assert instance.process.poll() is None
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
    client.close()


@pytest.mark.parametrize("way", ["signal.signal", "of the loop", "ignored"])
def test_log_files_are_opened_again_though_the_app_takes_usr1(arun: Any, way: str) -> None:
    arun.write("shop.py", app_of("asgi", WAYS[way], numbers="(signal.SIGUSR1,)"))
    instance = arun("shop.py", "--bind", "{address}", "--access-logfile", "access.log").ready()
    instance.wait_for("the app has taken SIGUSR1")
    log = arun.folder / "access.log"
    log.rename(arun.folder / "access.old")
    instance.send(signal.SIGUSR1)
    if way not in SILENT:
        instance.wait_for("told")
    arun.write("go", "")
    while not log.exists():
        instance.get()
    assert instance.stop() == 0


def test_a_fallback_whose_app_takes_hup_finds_its_way_back(arun: Any) -> None:
    arun.write("shop.py", "import os\nif not os.path.exists('cause'): 1 / 0\nasync def app(s, r, send): ...\n")
    arun.write("other.py", app_of("asgi", WAYS["signal.signal"], numbers="(signal.SIGHUP,)"))
    arun.write("safe.ini", "[arun]\nbind = {address}\napp = other.py\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    arun.write("cause", "")
    instance.send(signal.SIGHUP)
    instance.wait_for("serving shop.py")
    assert instance.said.count("told") == 1
    assert instance.stop() == 0


def test_hup_that_only_the_app_acts_on_is_not_called_useless(arun: Any) -> None:
    arun.write("shop.py", app_of("asgi", WAYS["signal.signal"], numbers="(signal.SIGHUP,)"))
    instance = arun("shop.py", "--bind", "{address}").ready()
    instance.send(signal.SIGHUP)
    instance.wait_for("told")
    assert instance.stop() == 0
    assert "changes nothing" not in instance.said


def test_a_child_that_the_app_forks_has_the_apps_own_handler(arun: Any) -> None:
    """It inherits arun's, which stands in the app's place in the process that serves."""
    code = app_of("asgi", "signal.signal(n, lambda *_: os._exit(42))", numbers="(signal.SIGTERM,)")
    forks = """
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        os.write(go, b"1")
        while True: time.sleep(0.01)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    body = str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()
"""
    arun.write("shop.py", code.replace("    body = await slow()\n", forks))
    instance = arun("shop.py", "--bind", "{address}").ready()
    assert instance.get().text == "42"
    with contextlib.suppress(ProcessLookupError):
        os.kill(instance.pid, signal.SIGKILL)


#: Ignored and held back by the start-up, in which a stop comes; it goes on when that has come.
PENDING = """
import asyncio, os, signal
async def app(scope, receive, send):
    await receive()
    signal.signal(signal.SIGTERM, signal.{disposition})
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
    os.write(2, b"here\\n")
    while signal.SIGTERM not in signal.sigpending():
        pass
    await asyncio.Event().wait()
"""


@pytest.mark.parametrize("disposition", ["SIG_DFL", "SIG_IGN"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_stop_that_the_start_up_has_held_back_is_no_longer_lost(arun: Any, loop: str, disposition: str) -> None:
    """It met what the app had put there: it ended the process, or nothing at all."""
    arun.write("shop.py", PENDING.format(disposition=disposition))
    instance = arun("shop.py", "--bind", "{address}", "--loop", loop)
    instance.wait_for("here")
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
