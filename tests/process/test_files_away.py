"""Package files that are away while an instance runs, as they are for a moment when an installer replaces them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import ARUN, Starter, until
from tests.process.conftest import PAGE, install_copy
from tests.process.family import settled, workers
from tests.process.recovering import BROKEN, good, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.conftest import Instance

BIND = ("--bind", "{address}")
PACKAGES = ("arun", "arun_welcome")
#: A module that is loaded last of what is loaded in idle time.
LAST = "arun.apps.asgi.tls"
#: An app of each kind: its root fails, and the response to other paths lists which modules of arun are loaded.
FAILS_AND_TELLS = """
import json, os, sys
def told():
    return json.dumps([os.getpid(), *sorted(n for n in sys.modules if n.partition(".")[0] in ("arun", "arun_welcome", "json", "termios", "traceback", "ast"))]).encode()
"""
KINDS = {
    "asgi": f"""{FAILS_AND_TELLS}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({{"type": kind + ".complete"}})
            if kind == "lifespan.shutdown":
                return
    if scope["path"] == "/fail":
        1 / 0
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": told()}})
""",
    "wsgi": f"""{FAILS_AND_TELLS}
def app(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        1 / 0
    start_response("200 OK", [])
    return [told()]
""",
    "aiohttp": f"""{FAILS_AND_TELLS}
from aiohttp import web
async def fail(request):
    1 / 0
async def tell(request):
    return web.Response(body=told())
app = web.Application()
app.add_routes([web.get("/fail", fail), web.get("/", tell)])
""",
}
WAYS = {
    "asgi": ("asgi", ()),
    "asgi on asyncio": ("asgi", ("--loop", "asyncio")),
    "wsgi": ("wsgi", ("--access-logfile", "access.log")),
    "wsgi inline": ("wsgi", ("--threads", "0")),
    "aiohttp": ("aiohttp", ("--access-logfile", "access.log")),
}


@pytest.fixture
def own_arun(tmp_path: Path, address: str) -> Iterator[Starter]:
    """Start arun from package files of the test's own."""
    command = install_copy(tmp_path, sys.executable)
    (tmp_path / "site").mkdir()
    with contextlib.closing(Starter(tmp_path / "site", address, command)) as starter:
        yield starter


def move_away(starter: Starter) -> None:
    installed = starter.command.parents[1]
    for name in PACKAGES:
        os.rename(installed / name, installed / f"{name}~")


def move_back(starter: Starter) -> None:
    installed = starter.command.parents[1]
    for name in PACKAGES:
        os.rename(installed / f"{name}~", installed / name)


def modules(instance: Instance) -> list[Any]:
    """Who answered, and the modules that it had loaded."""
    found: list[Any] = json.loads(instance.get().body)
    return found


def provided(instance: Instance) -> list[Any]:
    """Wait until all is loaded that is loaded in idle time."""

    def look() -> list[Any]:
        found = modules(instance)
        assert LAST in found
        return found

    return until(look, AssertionError)


@pytest.mark.parametrize("way", WAYS)
def test_an_instance_goes_on_without_its_files_and_loads_nothing_more_of_them(own_arun: Starter, way: str) -> None:
    kind, options = WAYS[way]
    own_arun.write("shop.py", KINDS[kind])
    instance = own_arun("shop.py", *BIND, "--limit-concurrency", "1", "--timeout-header", "0.5", *options).ready()
    before = provided(instance)
    move_away(own_arun)
    for _ in range(2):
        assert instance.get("/fail").status == 500
        assert modules(instance) == before
    instance.wait_for("ZeroDivisionError: division by zero", times=2)
    with instance.connect() as idle:  # which the clock of the connections closes
        assert idle.recv(4096)[:13] in {b"", b"HTTP/1.1 408 "}
    instance.send(signal.SIGUSR1)
    instance.send(signal.SIGHUP)
    instance.wait_for("SIGHUP changes nothing here")
    assert modules(instance) == before
    assert instance.stop() == 0
    assert "No module named" not in instance.said


@pytest.mark.parametrize("more", [(), ("--supervise",)], ids=["", "supervised"])
def test_what_takes_an_app_offline_is_there_before_its_files_are_away(own_arun: Starter, more: tuple[str, ...]) -> None:
    own_arun.write("shop.py", KINDS["asgi"])
    instance = own_arun("shop.py", *BIND, "--control", "c.sock", *more).ready()
    assert "arun_welcome" in provided(instance)
    detour = own_arun.command.parents[1] / "arun" / "http" / "detour.py"
    os.rename(detour, f"{detour}~")
    ordered = subprocess.run([own_arun.command, "offline", "--control", "c.sock"], cwd=own_arun.folder, check=False)
    assert ordered.returncode == 0
    until(lambda: _is_503(instance), AssertionError)
    assert instance.stop() == 0


def _is_503(instance: Instance) -> None:
    assert instance.get().status == 503


@pytest.mark.parametrize(("more", "count"), [((), 2), (("--preload",), 3)], ids=["", "preload"])
def test_a_supervisor_and_its_workers_outlive_that_their_files_are_away(
    own_arun: Starter, more: tuple[str, ...], count: int
) -> None:
    own_arun.write("shop.py", KINDS["asgi"])
    limits = ("--crash-limit", "2", "--crash-interval", "600")  # that a worker waits for files is no crash
    instance = own_arun("shop.py", *BIND, "--workers", "2", *limits, *more).ready()
    first, second = sorted(workers(instance))
    move_away(own_arun)
    instance.send(signal.SIGUSR2)
    instance.wait_for("arun: exec-failed: the successor could not read ")
    instance.send(signal.SIGHUP)
    instance.wait_for("the old workers go on")
    os.kill(first, signal.SIGKILL)
    instance.wait_for("was ended by SIGKILL")
    instance.wait_for("files of arun are gone: worker ")
    assert modules(instance)[0] == second
    move_back(own_arun)
    settled(instance, count, without={first})
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded, serving shop.py with 2 workers")
    settled(instance, count, without={first, second})
    assert instance.stop() == 0


@pytest.mark.parametrize(
    "options",
    [("--supervise", "--crash-limit", "3"), ("--preload", "--workers", "2", "--crash-limit", "3")],
    ids=" ".join,
)
def test_a_crash_loop_without_files_is_answered_until_they_are_back_and_then_falls_back(
    own_arun: Starter, options: tuple[str, ...]
) -> None:
    own_arun.write("shop.py", KINDS["asgi"])
    instance = own_arun("shop.py", *BIND, *options, "--fallback-config", "welcome").ready()
    move_away(own_arun)
    for worker in workers(instance):
        os.kill(worker, signal.SIGKILL)  # their successors cannot load what serves
    instance.wait_for("answers every request with status 503")
    assert_answered_plainly(instance)
    move_back(own_arun)
    instance.wait_for("serving the welcome page")
    answer = instance.get(headers={"Accept": "text/html"})
    assert (answer.status, PAGE in answer.text, answer.headers["content-type"]) == (
        503,
        True,
        "text/html; charset=utf-8",
    )
    assert instance.stop() == 0


TAKES_THEM_AWAY = f"""
import os
for name in {PACKAGES}:
    os.rename("../" + name, "../" + name + "~")
1 / 0
"""


def test_a_start_that_fails_without_files_is_answered_until_they_are_back_and_then_falls_back(
    own_arun: Starter,
) -> None:
    own_arun.write("shop.py", TAKES_THEM_AWAY)
    own_arun.write("safe.ini", "[arun]\nbind = {address}\n")
    instance = own_arun("shop.py", *BIND, "--fallback-config", "safe.ini")
    instance.wait_for("answers every request with status 503")
    assert instance.failures() == ["app-import-failed", "exec-failed"]
    for _ in range(3):
        assert_answered_plainly(instance)
    assert instance.get("/", method="HEAD").status == 503
    move_back(own_arun)
    instance.ready()
    answer = instance.get()
    assert (answer.status, PAGE in answer.text, instance.fallbacks()) == (503, True, ["safe.ini"] * 2)
    assert instance.stop() == 0


def test_a_file_that_another_version_does_without_is_not_waited_for(own_arun: Starter) -> None:
    """A module that was loaded, and is no part of what has been installed since."""
    (own_arun.command.parents[1] / "arun" / "earlier.py").touch()
    own_arun.write("shop.py", "import os, arun.earlier\nos.unlink(arun.earlier.__file__)\n1 / 0\n")
    instance = own_arun("shop.py", *BIND, "--fallback-config", "welcome", "--recover", "none")
    instance.wait_for("answers every request with status 503")
    instance.wait_for("serving the welcome page")
    assert instance.stop() == 0


def test_what_answers_without_files_stops_at_a_signal(own_arun: Starter) -> None:
    own_arun.write("shop.py", TAKES_THEM_AWAY)
    instance = own_arun("shop.py", *BIND, "--fallback-config", "welcome")
    instance.wait_for("answers every request with status 503")
    with instance.connect() as idle:
        assert_answered_plainly(instance)
        idle.sendall(b"GET / HTTP/1.1\r\n")
        assert instance.stop() == 0


def assert_answered_plainly(instance: Instance) -> None:
    answer = instance.get("/some/where", headers={"Accept": "text/html"})
    assert (answer.status, PAGE in answer.text, answer.headers["retry-after"]) == (503, True, "5")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_an_app_is_not_taken_offline_while_the_files_of_the_page_are_away(own_arun: Starter) -> None:
    """Nor is it said to be: it serves on."""
    own_arun.write("shop.py", KINDS["asgi"])
    instance = own_arun("shop.py", *BIND, "--control", "arun.sock", "--workers", "2").ready()
    move_away(own_arun)
    command = [str(ARUN), "offline", "--control", str(own_arun.folder / "arun.sock"), "later"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (refused.returncode, "files are away" in refused.stderr) == (1, True)
    assert instance.get().status == 200
    move_back(own_arun)
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    until(lambda: _is_offline(instance), AssertionError)
    assert instance.stop() == 0


def _is_offline(instance: Instance) -> None:
    assert instance.get().status == 503


@pytest.mark.parametrize("form", ["one", "workers"])
def test_a_way_back_whose_code_is_half_written_is_taken_later(own_arun: Starter, form: str) -> None:
    """Its file is of an installer that is at work."""
    file = own_arun.command.parents[1] / "arun/recovery/recovery.py"
    whole = file.read_text()
    file.write_text(whole[: whole.index("class Recovery:")] + "class Recovery(")
    own_arun.write("shop.py", BROKEN)
    instance = started(own_arun, form, "shop.py", *BIND, "--fallback-config", "welcome")
    instance.wait_for("the way back is tried later: SyntaxError")
    assert instance.get().status == 503
    file.write_text(whole)
    own_arun.write("shop.py", good())
    instance.wait_for("arun running on", times=2)
    assert instance.said.count("the way back is tried later") == 1
    assert instance.stop() == 0


def test_an_older_arun_that_knows_no_trials_is_not_started_in_place_of_one(own_arun: Starter) -> None:
    """It was installed while the fallback serves."""
    own_arun.write("shop.py", BROKEN)
    recover = ("--recover", "signal", "--fallback-config", "welcome")
    instance = started(own_arun, "one", "shop.py", *BIND, *recover)
    file = own_arun.command.parents[1] / "arun/instance/handover.py"
    whole = file.read_text()
    older = whole.replace('trial=_decode_trial(fields.get("trial")),', "")
    assert older != whole
    file.write_text(older)
    instance.send(signal.SIGHUP)
    instance.wait_for("the app's process ended without a word before it was ready")
    assert instance.get().status == 503
    file.write_text(whole)
    own_arun.write("shop.py", good())
    instance.send(signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    assert instance.stop() == 0
