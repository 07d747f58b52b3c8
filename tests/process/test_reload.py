"""SIGHUP: new code and new settings take over without a refused connection or a cut answer, and what fails changes nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import PATIENCE, until
from tests.process.asking import Asking
from tests.process.family import children, reported, settled, stop
from tests.process.shops import BIND, SHOP, SHOPS, STUCK, STUCK_IN_C, WAITS, WAYS, reload, start_up, version
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.conftest import Instance, Starter


@pytest.mark.parametrize("kind", SHOPS)
@pytest.mark.parametrize("way", WAYS)
def test_new_code_is_served_by_new_workers_and_the_old_ones_go(arun: Starter, way: str, kind: str) -> None:
    arun.write("shop.py", SHOPS[kind])
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments).ready()
    with Asking(instance) as asking:
        before = settled(instance, count)
        arun.write("shop.py", version("other", SHOPS[kind]))
        reload(instance)
        settled(instance, count, without=before)
        assert {answer.split()[0] for answer in asking.more()} == {"other"}
        before = settled(instance, count)
        arun.write("shop.py", version("the third", SHOPS[kind]))
        reload(instance, times=2)
        settled(instance, count, without=before)
    assert instance.get().text.startswith("the third ")
    assert instance.process.poll() is None
    assert (instance.failures(), instance.fallbacks()) == ([], [])
    stop(instance)


#: New code that cannot be served, and what is reported of it.
BROKEN = {
    "raises": ("raise RuntimeError('broken')\n", "app-import-failed"),
    "exits": ("import sys\nsys.exit(0)\n", "app-exited"),
    "_exit": ("import os\nos._exit(0)\n", "worker-died"),
    "SIGSEGV": ("import os\nos.kill(os.getpid(), 11)\n", "worker-died"),
    "SIGKILL": ("import os\nos.kill(os.getpid(), 9)\n", "worker-died"),
    "stuck": (STUCK, "start-timeout"),
    "stuck in C": (STUCK_IN_C, "start-timeout"),
    "no app": ("apple = 1\n", "app-attribute-missing"),
    "start-up raises": (start_up("1 / 0"), "app-startup-failed"),
    "start-up _exit": (start_up("os._exit(0)"), "worker-died"),
    "start-up stuck": (start_up("while True: pass"), "start-timeout"),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("way", ["two", "preload"])
def test_broken_code_is_reported_and_changes_nothing_as_often_as_it_is_tried(arun: Starter, way: str, how: str) -> None:
    arun.write("shop.py", SHOP)
    code, identifier = BROKEN[how]
    arguments, count = WAYS[way]
    options = ("--start-timeout", "2", "--crash-limit", "1", "--fallback-config", "welcome")
    instance = arun("shop.py:app", *BIND, *arguments, *options).ready()
    before = settled(instance, count)
    with Asking(instance) as asking:
        arun.write("shop.py", code)
        for times in (1, 2):
            instance.send(signal.SIGHUP)
            instance.wait_for(f"reload failed ({identifier}): the old workers go on", times=times)
            assert reported(instance) == [identifier] * times
            assert settled(instance, count) == before
        assert {answer.split()[0] for answer in asking.more()} == {"one"}
        arun.write("shop.py", version("mended"))
        reload(instance)
        settled(instance, count, without=before)
    assert instance.get().text.startswith("mended ")
    assert (instance.hints(), instance.fallbacks()) == (2, [])
    stop(instance)


def test_a_broken_settings_file_is_reported_and_changes_nothing(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    settings = "[arun]\napp = shop.py\nbind = {address}\nworkers = 2\n"
    arun.write("site.ini", settings)
    instance = arun("site.ini", "--fallback-config", "welcome").ready()
    before = settled(instance, 2)
    with Asking(instance):
        for times, (broken, identifiers) in enumerate(
            (
                (f"{settings}wrokers = 3\nthreads = many\n", ["option-unknown", "option-invalid"]),
                ("[arun\n", ["config-malformed"]),
                (f"{settings}uid = nobody-of-this-name\n", ["option-invalid"]),
                (f"{settings}chdir = nowhere\n", ["directory-unusable"]),
                (f"{settings}supervise = false\n", ["option-invalid"]),
            ),
            1,
        ):
            told = len(instance.failures())
            arun.write("site.ini", broken)
            instance.send(signal.SIGHUP)
            instance.wait_for("the old workers go on", times=times)
            assert sorted(instance.failures()[told:]) == sorted(identifiers)
        (arun.folder / "site.ini").unlink()
        instance.send(signal.SIGHUP)
        instance.wait_for("the old workers go on", times=6)
        assert settled(instance, 2) == before
        arun.write("site.ini", settings)
        reload(instance)
        settled(instance, 2, without=before)
    stop(instance)


TELLS = """
import os
VERSION = "one"
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = repr([os.environ.get(name) for name in ("KEPT", "OLD", "NEW")]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
"""


def test_settings_are_read_again(arun: Starter) -> None:
    """How many workers, what the environment holds, the access log, the app itself, the pid file."""
    arun.write("shop.py", TELLS)
    common = "[arun]\nbind = {address}\nvacuum = true\n"
    arun.write("site.ini", f"{common}app = shop.py\nworkers = 2\nenv = KEPT=1\nenv = OLD=1\npidfile = first.pid\n")
    instance = arun("site.ini").ready()
    before = settled(instance, 2)
    assert instance.get().text == "['1', '1', None]"

    arun.write("more.py", TELLS)
    changed = (
        "app = more.py\nworkers = 3\nenv = KEPT=2\nenv = NEW=1\naccess-logfile = requests.log\npidfile = second.pid\n"
    )
    arun.write("site.ini", common + changed)
    reload(instance)
    instance.wait_for("arun: reloaded, serving more.py with 3 workers")
    settled(instance, 3, without=before)
    assert instance.get("/asked").text == "['2', None, '1']"
    log = arun.folder / "requests.log"
    until(lambda: assert_logged(log), AssertionError, FileNotFoundError)
    assert not (arun.folder / "first.pid").exists()
    assert (arun.folder / "second.pid").read_text() == f"{instance.pid}\n"
    stop(instance)
    assert not (arun.folder / "second.pid").exists()


def assert_logged(log: Path) -> None:
    assert '"GET /asked HTTP/1.1" 200' in log.read_text()


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_is_open_is_finished_by_the_old_worker(arun: Starter, way: str) -> None:
    arun.write("shop.py", WAITS)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments).ready()
    before = settled(instance, count)
    with Asking(instance), instance.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        instance.wait_for("here")
        arun.write("shop.py", version("other"))
        reload(instance)
        until(lambda: assert_one_left(instance, before), AssertionError)  # all others have nothing to wait for
        until(lambda: assert_answers(instance, "other "), AssertionError)  # the old one may accept one more
        arun.write("go", "")
        text = b"".join(iter(lambda: client.recv(65_536), b"")).decode()
        assert text.startswith("HTTP/1.1 200")
        told, pid = text.rpartition("\n")[2].split()
        assert (told, int(pid) in before) == ("one", True)
        settled(instance, count, without=before)
    stop(instance)


def assert_answers(instance: Instance, text: str) -> None:
    assert instance.get().text.startswith(text)


def assert_one_left(instance: Instance, before: set[int]) -> None:
    assert len(before & children(instance)) == 1, instance.said


def test_the_next_request_on_a_kept_connection_is_answered_with_a_close(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "2", "--timeout-keep-alive", "100").ready()
    before = settled(instance, 2)
    connection = kept_by(instance, "one ")
    with contextlib.closing(connection):
        arun.write("shop.py", version("other"))
        reload(instance)
        ask_until_told_to_close(connection, b"one ")
    settled(instance, 2, without=before)
    stop(instance)


ECHO = """
VERSION = "one"
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": VERSION + event["text"]})
"""


@pytest.mark.parametrize("way", WAYS)
def test_websockets_are_closed_with_1012_so_that_their_clients_come_back(arun: Starter, way: str) -> None:
    arun.write("shop.py", ECHO)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments).ready()
    before = settled(instance, count)
    with connect(f"ws://{instance.address}/") as client:
        client.send("!")
        assert client.recv() == "one!"
        arun.write("shop.py", version("other", ECHO))
        reload(instance)
        with pytest.raises(ConnectionClosed):
            client.recv()
        assert client.close_code == 1012
    settled(instance, count, without=before)  # until then another old worker may still accept, and close with 1012
    with connect(f"ws://{instance.address}/") as client:
        client.send("!")
        assert client.recv() == "other!"
    stop(instance)


def test_a_file_that_is_touched_or_replaced_or_appears_asks_for_a_reload(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    arun.write("touched", "")
    options = ("--touch-reload", "touched", "--touch-reload", "later")
    instance = arun("shop.py", *BIND, *options).ready()
    with Asking(instance):
        before = settled(instance, 1)
        os.utime(arun.folder / "touched")
        instance.wait_for("arun: reloaded, ", times=1)
        arun.write("fresh", "")
        (arun.folder / "fresh").rename(arun.folder / "touched")
        instance.wait_for("arun: reloaded, ", times=2)
        (arun.folder / "touched").unlink()  # which is no reason for one
        gone = time.monotonic()
        until(lambda: assert_passed(gone, 2.2), AssertionError)  # two looks
        assert reloads(instance) == 2
        arun.write("later", "")
        instance.wait_for("arun: reloaded, ", times=3)
        settled(instance, 1, without=before)
    stop(instance)
    assert reloads(instance) == 3


def test_a_file_to_touch_that_is_not_there_is_reported_and_awaited(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    arun.write("there", "")
    arun.write("code/module.py", "")
    options = (
        "--touch-reload",
        "later",
        "--touch-reload",
        "conf/*.toml",
        "--touch-reload",
        "there",
        "--touch-reload",
        "code",
    )
    instance = arun("shop.py", *BIND, *options).ready()
    assert re.findall(r"warning: touch-reload: (\S+) is not there", instance.said) == [
        str(arun.folder / "later"),
        str(arun.folder / "conf/*.toml"),
    ]
    arun.write("conf/shop.toml", "")
    instance.wait_for("arun: reloaded, ", times=1)
    arun.write("code/other.py", "")
    instance.wait_for("arun: reloaded, ", times=2)
    stop(instance)


def reloads(instance: Instance) -> int:
    return len(re.findall("^arun: reloading$", instance.said, re.MULTILINE))


def assert_passed(since: float, seconds: float) -> None:
    assert time.monotonic() - since > seconds


@pytest.mark.parametrize("way", ["two", "preload"])
def test_clients_of_a_worker_whose_reload_fails_are_not_cut(arun: Starter, way: str) -> None:
    """One of the new workers is ready and serves already when the other one fails."""
    arun.write("shop.py", SHOP)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments, "--timeout-keep-alive", "100").ready()
    before = settled(instance, count)
    arun.write("shop.py", version("other", start_up("fail_in_one()")) + FAILS_IN_ONE)
    instance.send(signal.SIGHUP)
    instance.wait_for("waiting")
    connection = until(lambda: kept_by(instance, "other "), AssertionError)
    with contextlib.closing(connection):
        arun.write("go", "")
        instance.wait_for("reload failed (app-startup-failed)")
        ask_until_told_to_close(connection, b"other ")
    assert settled(instance, count) == before
    stop(instance)


FAILS_IN_ONE = """
def fail_in_one():
    import time
    try:
        os.close(os.open("first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        os.write(2, b"waiting\\n")
        while not os.path.exists("go"): time.sleep(0.01)
        raise RuntimeError("not twice") from None
"""


def kept_by(instance: Instance, start: str) -> http.client.HTTPConnection:
    """A connection to a worker that answers so, kept open."""
    host, _, port = instance.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    connection.request("GET", "/")
    if connection.getresponse().read().decode().startswith(start):
        return connection
    connection.close()
    raise AssertionError("another process has answered")


def ask_until_told_to_close(connection: http.client.HTTPConnection, start: bytes) -> None:
    """Ask on one connection: each request is answered, and after the order to retire, with Connection: close."""
    kept, told_to = connection.sock, None
    while told_to is None:
        assert connection.sock is kept
        connection.request("GET", "/")
        reply = connection.getresponse()
        assert (reply.status, reply.read().startswith(start)) == (200, True)
        told_to = reply.headers["connection"]
    assert told_to == "close"
