"""What an end does: idle threads and pools hold it back no more than they hold back Python, and what Python runs at exit runs."""

from __future__ import annotations

import pstats
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.process.conftest import PAGE, SAFE
from tests.process.family import Family, settled, stop, workers

from arun.core.exits import CLEAN_BOUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.process.conftest import Instance, Starter

#: Seconds that an end may take on a busy machine where nothing holds it back; what it was held back by took 5.
SOON = 2.0

POOLS = """
import asyncio, atexit, concurrent.futures, os, sys, time

threads = concurrent.futures.ThreadPoolExecutor(2)
processes = concurrent.futures.ProcessPoolExecutor(2)
atexit.register(lambda: print("the exit hook ran", file=sys.stderr, flush=True))

def use():
    threads.submit(os.getpid).result()
    return processes.submit(os.getpid).result()

async def wait():
    try:
        await asyncio.sleep(1e6)
    finally:
        await asyncio.sleep(0)
        print("the task ended", file=sys.stderr, flush=True)

async def generate():
    try:
        yield
    finally:
        print("the generator ended", file=sys.stderr, flush=True)

kept = []

async def use_all():
    await asyncio.to_thread(time.sleep, 0)
    await asyncio.get_running_loop().run_in_executor(None, use)
    kept.append(asyncio.create_task(wait()))
    kept.append(generate())
    await kept[-1].__anext__()
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await use_all()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""
KINDS = {
    "asgi": POOLS + ASGI,
    "aiohttp": POOLS
    + """
from aiohttp import web

async def answer(request):
    await use_all()
    return web.Response(text=str(os.getpid()))

app = web.Application()
app.router.add_get("/", answer)
""",
    "wsgi": POOLS
    + """
def app(environ, start_response):
    use()
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
""",
}
ASYNC_ENDS = ["the task ended", "the generator ended"]


def ends_soon(instance: Instance, *numbers: signal.Signals, within: float = SOON) -> None:
    """Stop it; check that it takes no longer, and leaves no process behind."""
    began = time.monotonic()
    stop(instance, *numbers)
    assert time.monotonic() - began < within, instance.said


@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--workers", "2", "--preload")], ids=" ".join)
@pytest.mark.parametrize(
    ("kind", "loop"), [("asgi", "uvloop"), ("asgi", "asyncio"), ("aiohttp", "asyncio"), ("wsgi", "uvloop")]
)
def test_a_stop_waits_for_no_idle_thread_and_leaves_no_process_of_a_pool(
    arun: Starter, kind: str, loop: str, options: Sequence[str]
) -> None:
    arun.write("shop.py", KINDS[kind])
    instance = arun("shop.py", "--bind", "{address}", "--loop", loop, *options).ready()
    instance.wait_for("serving shop.py")
    assert instance.get().status == 200
    ends_soon(instance)
    for text in ["the exit hook ran", *(ASYNC_ENDS if kind != "wsgi" else [])]:
        assert text in instance.said


def test_a_reload_waits_for_no_idle_thread_and_leaves_no_process_of_a_pool(arun: Starter) -> None:
    arun.write("shop.py", KINDS["asgi"])
    instance = arun("shop.py", "--bind", "{address}", "--supervise").ready()
    instance.wait_for("serving shop.py")
    before = {int(instance.get(headers={"Connection": "close"}).body)}
    began = time.monotonic()
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    settled(instance, 1, without=before)  # and the new worker has no child
    assert time.monotonic() - began < SOON
    for text in ("the exit hook ran", *ASYNC_ENDS):
        assert text in instance.said
    stop(instance)


@pytest.mark.parametrize("options", [(), ("--supervise",)], ids=" ".join)
def test_a_start_that_fails_after_it_has_used_pools_falls_back_at_once(arun: Starter, options: Sequence[str]) -> None:
    arun.write("safe.ini", SAFE)
    arun.write(
        "shop.py",
        POOLS
        + """
async def app(scope, receive, send):
    await receive()
    await use_all()
    print("it fails at", time.monotonic(), file=sys.stderr, flush=True)
    await send({"type": "lifespan.startup.failed", "message": "no stock"})
""",
    )
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini", *options).ready()
    assert PAGE in instance.get().text
    served = time.monotonic()
    failed = float(instance.said.partition("it fails at ")[2].split()[0])
    assert served - failed < SOON
    for text in ("the exit hook ran", *ASYNC_ENDS):
        assert text in instance.said
    settled(instance, 0)
    stop(instance)


STUCK = {
    "thread": "threading.Thread(target=time.sleep, args=(1e6,)).start()",
    "thread of a pool": "threads.submit(time.sleep, 1e6)",
    "thread of the loop": "asyncio.get_running_loop().run_in_executor(None, time.sleep, 1e6)",
    "process of a pool": "processes.submit(time.sleep, 1e6)",
    "process": "multiprocessing.Process(target=time.sleep, args=(1e6,)).start()",
    "task": "kept.append(asyncio.create_task(stay()))",
}


@pytest.mark.parametrize("options", [(), ("--supervise",)], ids=" ".join)
@pytest.mark.parametrize("what", STUCK)
def test_what_is_stuck_holds_a_stop_back_no_longer_than_its_bound(
    arun: Starter, what: str, options: Sequence[str]
) -> None:
    """And where the stop is forced less long; the exit hooks run in any case."""
    stay = """
import multiprocessing, threading

async def stay():
    while True:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            pass
"""
    arun.write("shop.py", POOLS + stay + ASGI.replace("await use_all()", STUCK[what]))
    instance = arun("shop.py", "--bind", "{address}", *options).ready()
    instance.wait_for("serving shop.py")
    assert instance.get().status == 200
    ends_soon(instance, signal.SIGTERM, signal.SIGINT, within=4.0)
    assert "the exit hook ran" in instance.said


def test_a_stop_that_is_forced_in_the_moment_before_its_end_begins_is_as_short() -> None:
    """The signal comes when what it forces has been looked at, and the bound is not set yet."""
    script = (
        "import atexit, threading\n"
        "from arun.core import exits\n"
        "exits.arm()\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "exits.hurry()\n"
        "exits.leave(0)\n"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    assert time.monotonic() - began < CLEAN_BOUND * 0.8  # which is how long a clean stop waits for a thread


def test_a_stop_that_is_forced_in_the_moment_its_bound_begins_is_as_short() -> None:
    """The signal is pending while the thread starts that enforces the bound, and is delivered once that one runs."""
    script = (
        "import atexit, os, signal, threading\n"
        "from arun.core import exits\n"
        "exits.arm()\n"
        "signal.signal(signal.SIGINT, lambda *_: exits.hurry())\n"
        "atexit.register(threading.Event().wait)\n"
        "start = exits.start_new_thread\n"
        "def start_and_force(*arguments):\n"
        "    exits.start_new_thread = start\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return start(*arguments)\n"
        "exits.start_new_thread = start_and_force\n"
        "exits.leave(0)\n"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    assert time.monotonic() - began < CLEAN_BOUND * 0.8


def test_a_thread_of_aruns_own_runs_before_the_interpreter_may_end() -> None:
    """One that had not begun then, on a busy machine, ended a clean stop with SIGSEGV."""
    script = (
        "import time\n"
        "from arun.core import exits\n"
        "start, ran = exits.start_new_thread, []\n"
        "def run_late(function, arguments):\n"
        "    time.sleep(0.3)\n"
        "    ran.append(True)\n"
        "    function(*arguments)\n"
        "exits.start_new_thread = lambda function, arguments: start(run_late, (function, arguments))\n"
        "exits.start_thread(int)\n"
        "assert ran\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_a_stop_that_is_not_forced_waits_longer_for_a_thread_that_has_work_to_end(arun: Starter) -> None:
    work = "threading.Thread(target=lambda: (time.sleep(1.2), print('the work is done', file=sys.stderr))).start()"
    arun.write("shop.py", POOLS + "import threading\n" + ASGI.replace("await use_all()", work))
    instance = arun("shop.py", "--bind", "{address}").ready()
    assert instance.get().status == 200
    assert instance.stop() == 0
    assert "the work is done\nthe exit hook ran" in instance.said


def test_a_clean_stop_returns_to_the_profiler_that_has_called_arun(arun: Starter) -> None:
    arun.write("shop.py", KINDS["asgi"])
    profiler = [sys.executable, "-m", "cProfile", "-o", "figures", "-m", "arun"]
    instance = arun("shop.py", "--bind", "{address}", command=profiler).ready()
    assert instance.get().status == 200
    assert instance.stop() == 0
    figures = pstats.Stats(str(arun.folder / "figures"))
    assert "use_all" in {name for _, _, name in figures.stats}  # type: ignore[attr-defined]


def test_a_clean_stop_returns_to_coverage(arun: Starter) -> None:
    pytest.importorskip("coverage")
    arun.write("shop.py", KINDS["asgi"])
    measuring = [sys.executable, "-m", "coverage", "run", "--data-file=figures", "-m", "arun"]
    instance = arun("shop.py", "--bind", "{address}", command=measuring, measured=False).ready()
    assert instance.get().status == 200
    assert instance.stop() == 0
    assert (arun.folder / "figures").exists()


def test_a_program_that_calls_arun_goes_on_after_a_clean_stop_and_has_its_own_status(arun: Starter) -> None:
    arun.write("shop.py", KINDS["asgi"])
    caller = """
import os, sys
sys.argv = ["arun", *sys.argv[1:]]
from arun.__main__ import main
try:
    main()
except SystemExit as end:
    print("arun ended with", end.code, file=sys.stderr)
if not os.fork():
    sys.exit(4)
print("its child ended with", os.waitstatus_to_exitcode(os.wait()[1]), file=sys.stderr)
sys.exit(3)
"""
    instance = arun("shop.py", "--bind", "{address}", command=[sys.executable, str(arun.write("caller.py", caller))])
    assert instance.ready().get().status == 200
    assert instance.stop() == 3
    assert "arun ended with 0\nthe exit hook ran\nits child ended with 4\nthe exit hook ran\n" in instance.said


@pytest.mark.parametrize(
    "left",
    [
        pytest.param("threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()", id="a daemon thread"),
        pytest.param("print('a line that has no room')", id="output without a reader"),
        pytest.param("atexit.register(time.sleep, 1e6)", id="an exit hook that hangs"),
    ],
)
def test_nothing_that_is_left_changes_the_status_of_a_clean_stop(arun: Starter, left: str) -> None:
    arun.write("shop.py", POOLS + f"import threading\n{left}\n" + ASGI)
    with open("/dev/full", "wb") as full:
        instance = arun("shop.py", "--bind", "{address}", stdout=full).ready()
    instance.get()
    assert instance.stop() == 0


def test_the_processes_of_a_pool_end_with_a_worker_that_is_stopped_while_they_work(arun: Starter) -> None:
    """They have inherited its listener: the port would stay taken."""
    work = "processes.submit(time.sleep, 1e6)"
    arun.write("shop.py", POOLS + ASGI.replace("await use_all()", work))
    options = ("--bind", "{address}", "--workers", "2")
    instance = arun("shop.py", *options).ready()
    instance.wait_for("serving shop.py")
    for _ in range(4):
        assert instance.get().status == 200
    family = Family(instance)
    assert len(workers(instance)) == 2
    instance.send(signal.SIGTERM)
    family.ends(0)
    arun.write("shop.py", ASGI.replace("await use_all()", "import os"))
    assert arun("shop.py", *options).ready().get().status == 200
