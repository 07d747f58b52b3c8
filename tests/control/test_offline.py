"""Taking the app offline and back, under clients that never stop asking."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until
from tests.process.asking import Asking

from arun.core.outlook import Outlook
from arun.http.options import HttpOptions
from arun.instance.status import Status
from arun.lifecycle.build import http_server
from arun.lifecycle.detours import Detours

if TYPE_CHECKING:
    from tests.control.conftest import Controlled, Controls

WORKERS = pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
PROXIED = {"X-Forwarded-For": "10.1.2.3"}


def applies(shop: Controlled, *, offline: bool) -> None:
    """Wait until every worker has heard of it."""

    def look() -> None:
        for _ in range(8):
            assert shop.instance.get().status == (503 if offline else 200)

    until(look, AssertionError)


@WORKERS
def test_clients_get_a_calm_page_and_the_allowed_the_app_and_nobody_is_refused(
    controlled: Controls, workers: tuple[str, ...]
) -> None:
    shop = controlled(*workers)
    before = {one["pid"] for one in shop.state()["workers"]}
    with Asking(shop.instance, fine=(200, 503)) as asking:
        said = shop.command("offline", "back at <14:00>", "--allow", "10.0.0.0/8")
        assert (said.returncode, said.stdout) == (0, "offline, but to 10.0.0.0/8\n")
        applies(shop, offline=True)
        answer = shop.instance.get("/orders", headers={"Accept": "text/html"})
        assert answer.status == 503
        assert "back at &lt;14:00&gt;" in answer.text
        assert "retry-after" in answer.headers
        assert json.loads(shop.instance.get(headers={"Accept": "application/json"}).body)["detail"].startswith(
            "back at <14:00>"
        )
        assert shop.instance.get(headers=PROXIED).text.startswith("pid ")
        assert shop.instance.get(headers={"X-Forwarded-For": "192.0.2.1"}).status == 503
        assert shop.probes() == (200, 200, 503)
        assert shop.probe("/readyz").text == "offline: back at <14:00>\n"
        assert shop.state()["state"] == "offline"
        asking.more(20)
        assert shop.command("online").returncode == 0
        applies(shop, offline=False)
        asking.more(20)
    state = shop.becomes(state="serving", ready=True)
    assert {one["pid"] for one in state["workers"]} == before  # they stayed warm


def test_it_holds_over_reloads_replaced_workers_and_upgrades(controlled: Controls) -> None:
    shop = controlled("--workers", "2")
    assert shop.command("offline", "later").returncode == 0
    applies(shop, offline=True)
    with Asking(shop.instance, fine=(503,), keeps=False):
        assert shop.command("reload").returncode == 0
        os.kill(next(one["pid"] for one in shop.state()["workers"] if one["state"] == "serving"), signal.SIGTERM)
        until(lambda: _two_serve(shop), AssertionError)
        shop.instance.send(signal.SIGUSR2)
        shop.instance.wait_for("serving shop:app with 2 workers", times=3)
        shop.becomes(state="offline")
    shop.command("online")
    applies(shop, offline=False)


def _two_serve(shop: Controlled) -> None:
    assert [one["state"] for one in shop.state()["workers"]] == ["serving"] * 2


def test_preloaded_workers_learn_of_it_too(controlled: Controls) -> None:
    shop = controlled("--workers", "2", "--preload")
    shop.command("offline", "later")
    applies(shop, offline=True)
    for one in shop.state()["workers"]:
        os.kill(one["pid"], signal.SIGTERM)
    until(lambda: _two_serve(shop), AssertionError)
    applies(shop, offline=True)


def test_a_fallback_that_is_offline_says_so_and_the_primary_after_it_too(controlled: Controls) -> None:
    controlled.arun.write("late.py", "import missing_one\n")
    shop = controlled("--recover", "signal", "--fallback-config", "welcome", app="late:app")
    shop.becomes(state="fallback")
    shop.command("offline", "at noon")
    until(lambda: _says(shop, "at noon"), AssertionError)
    controlled.arun.write("late.py", "from shop import app\n")
    shop.instance.send(signal.SIGHUP)
    shop.becomes(state="offline", level=0)
    _says(shop, "at noon")


@WORKERS
def test_a_page_of_ones_own_is_shown_while_the_app_is_offline(controlled: Controls, workers: tuple[str, ...]) -> None:
    controlled.arun.write("own.html", "<title>Shop</title><p>{{text}}")
    shop = controlled("--welcome-html", "own.html", *workers)
    shop.command("offline", "back at <14:00>")
    applies(shop, offline=True)
    answer = shop.instance.get(headers={"Accept": "text/html"})
    assert answer.text.startswith("<title>Shop</title><p>back at &lt;14:00&gt;")


def _says(shop: Controlled, text: str) -> None:
    assert text in shop.instance.get().text


def test_a_request_that_has_begun_gets_its_response_and_a_kept_connection_ends(controlled: Controls) -> None:
    shop = controlled()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(shop.instance.get("/slow").text))
    with shop.instance.connect() as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(65_536).startswith(b"HTTP/1.1 200")
        asking.start()
        until(lambda: _is_one(shop.state()["in_flight"]), AssertionError)
        shop.command("offline", "later")
        applies(shop, offline=True)
        kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while piece := kept.recv(65_536):
            received += piece
        assert received.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in received
    (controlled.arun.folder / "go").touch()
    asking.join()
    assert answers[0].startswith("pid ")


def _is_one(number: int) -> None:
    assert number == 1


WEBSOCKETS = """
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
"""
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_websockets_are_closed_with_1012_and_new_ones_get_503(controlled: Controls) -> None:
    controlled.arun.write("chat.py", WEBSOCKETS)
    shop = controlled(app="chat:app")
    with shop.instance.connect() as client:
        client.sendall(HANDSHAKE)
        assert client.recv(65_536).startswith(b"HTTP/1.1 101")
        shop.command("offline", "later")
        frame = client.recv(65_536)
        assert (frame[0], frame[2:4]) == (0x88, (1012).to_bytes(2, "big"))
    with shop.instance.connect() as client:
        client.sendall(HANDSHAKE)
        assert client.recv(65_536).startswith(b"HTTP/1.1 503")


AIOHTTP = """
from aiohttp import web
async def hello(request):
    return web.Response(text="hello")
app = web.Application()
app.router.add_get("/", hello)
"""
WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


@pytest.mark.parametrize("app", [AIOHTTP, WSGI], ids=["aiohttp", "wsgi"])
def test_it_is_the_same_for_every_kind_of_app_on_the_same_connection(controlled: Controls, app: str) -> None:
    controlled.arun.write("kind.py", app)
    shop = controlled("--status-path", "/-/", app="kind:app")
    with shop.instance.connect() as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /-/livez HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while piece := kept.recv(65_536):
            received += piece
    assert received.count(b"HTTP/1.1 200") == 2
    assert b"hello" in received
    shop.command("offline", "later")
    applies(shop, offline=True)
    shop.command("online")
    applies(shop, offline=False)


LONG = json.dumps({"text": "x" * 2001})


@pytest.mark.parametrize("body", ["{", "[]", '{"text": 1}', '{"allow": "10.0.0.0/8"}', '{"allow": ["nobody"]}', LONG])
def test_what_cannot_be_taken_is_refused_with_a_sentence(controlled: Controls, body: str) -> None:
    shop = controlled()
    answer = shop.ask("/offline", method="POST", body=body)
    assert answer.status == 409
    assert "Traceback" not in answer.text
    assert shop.state()["state"] == "serving"


def test_the_peers_of_a_unix_socket_are_not_allowed_by_an_address(controlled: Controls) -> None:
    path = controlled.arun.folder / "app.sock"
    shop = controlled("--uds", str(path))
    shop.command("offline", "later", "--allow", "127.0.0.1/8")
    until(lambda: _unix_status(str(path), b"503"), AssertionError)
    assert shop.instance.get().status == 200


def _unix_status(path: str, status: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(65_536).split()[1] == status


def test_an_order_is_carried_out_when_it_is_repeated_after_a_module_could_not_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def shop(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError("no request comes")

    http = http_server("asgi", shop, HttpOptions())
    app = http.application
    detours = Detours(http, None, lambda: Outlook(offline="works"), bool)
    with monkeypatch.context() as away:
        away.setitem(sys.modules, "arun.http.detour", None)
        with pytest.raises(ImportError):
            detours.arrange()
    assert http.application is app
    detours.arrange()
    assert http.application is not app


def test_an_order_is_not_lost_while_the_way_back_changes_the_outlook() -> None:
    status, before = Status(), sys.getswitchinterval()
    lost, ends = [], threading.Event()

    def order() -> None:
        for number in range(20_000):
            status.foresee(offline=str(number))
            if status.outlook().offline != str(number):
                lost.append(number)
        ends.set()

    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=order)
        thread.start()
        while not ends.is_set():
            status.foresee(attempts=1)
        thread.join()
    finally:
        sys.setswitchinterval(before)
    assert lost == []
