"""Listeners in the abstract namespace of unix sockets (unix(7)): text everywhere, and no file that belongs to them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until
from tests.process.test_listeners import answer_of, listening, running_on
from tests.process.test_service_manager import activated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Instance, Starter

APPS = {
    "asgi": (
        "async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': repr(scope['server']).encode()})\n"
    ),
    "wsgi": (
        "def app(environ, start_response):\n    start_response('200 OK', [])\n"
        "    return [f\"{environ['SERVER_NAME']} {environ['SERVER_PORT']} {environ['REMOTE_ADDR']}\".encode()]\n"
    ),
    "aiohttp": (
        "from aiohttp import web\nasync def hello(request):\n    return web.Response(text=str(request.remote))\n"
        "app = web.Application()\napp.router.add_get('/', hello)\n"
    ),
}


@pytest.fixture
def name(address: str) -> str:
    """A name of the test's own, as users write it."""
    return f"@arun-{address}"


def connect(name: str) -> socket.socket:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.settimeout(30)
        client.connect("\0" + name[1:])
        stack.pop_all()
        return client


def ask(name: str) -> tuple[int, str]:
    return answer_of(connect(name))


def leaves_no_file(arun: Starter, *, but: set[str]) -> bool:
    return {path.name for path in arun.folder.iterdir() if path.suffix != ".py"} <= {"__pycache__", *but}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", APPS)
def test_an_abstract_socket_is_served_and_shown_as_text(arun: Starter, name: str, kind: str, loop: str) -> None:
    arun.write("shop.py", APPS[kind])
    instance = arun("shop.py", "--bind", f"unix:{name}", "--loop", loop, "--access-log", "--vacuum")
    assert running_on(instance) == [f"unix:{name}"]
    seen = {"asgi": f"({name!r}, None)", "wsgi": "test 80 ", "aiohttp": "None"}
    assert ask(name) == (200, seen[kind])
    assert instance.stop() == 0
    assert "\0" not in instance.said
    assert leaves_no_file(arun, but=set())
    with pytest.raises(ConnectionRefusedError):
        connect(name)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--uds", "{name}"),
        ("--uds", "unix:{name}"),
        ("--http-socket", "unix:{name}"),
        ("--shared-socket", "unix:{name}"),
    ],
    ids=" ".join,
)
def test_it_is_named_in_each_option_that_takes_a_unix_socket(
    arun: Starter, name: str, arguments: tuple[str, ...]
) -> None:
    arun.write("shop.py", APPS["wsgi"])
    instance = arun("shop.py", *(one.format(name=name) for one in arguments))
    assert running_on(instance) == [f"unix:{name}"]
    assert ask(name)[0] == 200


def test_a_file_whose_name_begins_so_is_written_with_its_folder(arun: Starter) -> None:
    arun.write("shop.py", APPS["wsgi"])
    instance = arun("shop.py", "--bind", "unix:./@shop").ready()
    assert (arun.folder / "@shop").is_socket()
    assert instance.stop() == 0


def test_a_busy_one_names_its_holder(arun: Starter, name: str) -> None:
    arun.write("shop.py", APPS["wsgi"])
    first = arun("shop.py", "--bind", f"unix:{name}").ready()
    second = arun("shop.py", "--bind", f"unix:{name}", "--bind-retry", "0")
    assert second.wait() == 1
    assert second.failures() == ["address-in-use"]
    assert f"cannot listen on unix:{name}: held by " in second.said
    assert f"(pid {first.pid}" in second.said or str(first.pid) in second.said


def test_mode_and_owner_of_one_are_reported_to_do_nothing(arun: Starter, name: str) -> None:
    arun.write("shop.py", APPS["wsgi"])
    arun.write(name, "a file that has this name")
    before = (arun.folder / name).stat().st_mode
    instance = arun("shop.py", "--bind", f"unix:{name}", "--chmod-socket", "600").ready()
    assert f"arun: warning: unix:{name} has neither mode nor owner" in instance.said
    assert ask(name)[0] == 200
    assert instance.stop() == 0
    assert (arun.folder / name).stat().st_mode == before


@pytest.mark.parametrize("said", ["bind = unix:{name}", "uds = {name}", ""], ids=["bind", "uds", "none named"])
def test_the_fallback_takes_it_over(arun: Starter, name: str, said: str) -> None:
    arun.write("app.py", "import time, os\nwhile not os.path.exists('go'): time.sleep(0.01)\n1 / 0\n")
    arun.write("safe.ini", f"[arun]\n{said.format(name=name)}\n")
    instance = arun("app.py", "--bind", f"unix:{name}", "--fallback-config", "safe.ini")
    client = until_connected(name, instance)
    before = listening(instance)
    arun.write("go", "")
    assert answer_of(client)[0] == 503
    assert listening(instance) == before == {f"unix:{name}": before[f"unix:{name}"]}
    assert instance.stop() == 0


def until_connected(name: str, instance: Instance) -> socket.socket:
    instance.wait_for("*** Starting arun")
    while True:
        try:
            return connect(name)
        except ConnectionRefusedError:
            assert instance.process.poll() is None


def test_a_reload_keeps_it_and_gives_it_up(arun: Starter, name: str) -> None:
    arun.write("shop.py", APPS["wsgi"])
    arun.write("site.ini", f"[arun]\napp = shop.py\nworkers = 2\nbind = unix:{name}\nbind = {{address}}\n")
    instance = arun("site.ini").ready()
    before = listening(instance)
    instance.send(signal.SIGHUP)
    instance.wait_for("reloaded")
    assert listening(instance) == before
    assert ask(name)[0] == 200
    arun.write("site.ini", "[arun]\napp = shop.py\nworkers = 2\nbind = {address}\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("reloaded", times=2)

    def is_given_up() -> None:
        with pytest.raises(ConnectionRefusedError):  # the last of the workers from before has closed it
            connect(name).close()

    until(is_given_up, pytest.fail.Exception)
    assert instance.get().status == 200
    assert instance.stop() == 0


@pytest.fixture
def passed(name: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name[1:])
        listener.listen()
        yield listener


@pytest.mark.parametrize("stored", [False, True], ids=["passed", "stored"])
def test_a_service_manager_passes_it(arun: Starter, name: str, passed: socket.socket, stored: bool) -> None:  # noqa: FBT001
    arun.write("app.py", APPS["asgi"])
    label = "arun-http-unix%3A" + name.replace(":", "%3A") if stored else "shop.socket"
    arguments = ("--bind", f"unix:{name}") if stored else ()
    instance = activated(arun, {label: passed}, *arguments)
    assert running_on(instance) == [f"unix:{name}"]
    assert ask(name)[0] == 200


@pytest.mark.parametrize("written", ["unix:@", "unix://@"])
def test_a_name_that_is_empty_is_refused(arun: Starter, written: str) -> None:
    instance: Any = arun("--bind", written)
    assert instance.wait() == 1
    assert instance.failures() == ["option-invalid"]
    assert f"'{written}' names no path for a unix socket" in instance.said
    assert os.listdir(arun.folder) == []
