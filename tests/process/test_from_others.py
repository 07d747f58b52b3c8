"""Coming from uWSGI, gunicorn and uvicorn: their configs and command lines serve the site that they served there, or say why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Starter
    from tests.process.conftest import FailingStart

WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the shop"]
"""


@pytest.mark.parametrize(
    "lines",
    [
        "http = {address}",
        "http11-socket = {address}",
        "socket = {address}\nprotocol = http",
        "if-file = shop.py\nhttp = {address}\nendif",
        "set-ph = where={address}\nfor = %(where)\nhttp-socket = %(_)\nendfor",
    ],
)
def test_the_address_of_a_config_of_uwsgi_is_the_one_that_is_served(arun: Starter, lines: str) -> None:
    arun.write("shop.py", WSGI)
    arun.write("site.ini", f"[uwsgi]\n{lines}\nmodule = shop\nmaster = true\ndie-on-term = true\nthreads = 2\n")
    instance = arun("site.ini").ready()
    assert instance.get().text == "the shop"
    assert "warning" not in instance.said


def test_lines_of_requests_are_written_as_uwsgi_was_told(arun: Starter) -> None:
    arun.write("shop.py", WSGI)
    arun.write(
        "site.ini",
        "[uwsgi]\nhttp = {address}\nmodule = shop\nlogformat = %(method) %(uri) %(status) %(rsize) %(vsz)\n"
        "req-logger = file:requests.log\n",
    )
    instance = arun("site.ini").ready()
    instance.get("/a?b=1")
    instance.stop()
    assert (arun.folder / "requests.log").read_text() == "GET /a?b=1 200 8 -\n"


def test_a_site_that_arun_cannot_serve_is_no_welcome_page(failing_start: FailingStart) -> None:
    failing_start.arun.write("site.ini", "[uwsgi]\nhttp = {address}\nmount = /x=shop.py\nsocket = :3031\n")
    failing_start("site.ini", fails=["option-unsupported"] * 2)


SLOW = """
import asyncio, threading

def application(environ, start_response):
    threading.Event().wait({seconds})
    start_response("200 OK", [])
    return [b"slow"]

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep({seconds})
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"slow"}})
"""


@pytest.mark.parametrize(
    ("app", "words", "status"),
    [
        ("shop:application", ("-t", "0.5"), 503),
        ("shop:application", ("--timeout", "0.5", "-k", "sync"), 503),
        ("shop:application", ("-t", "0.5", "-k", "gthread"), 200),
        ("shop:asgi", ("-t", "0.5"), 200),
    ],
)
def test_gunicorns_timeout_ends_a_request_of_a_wsgi_app_as_its_sync_workers_do(
    arun: Starter, app: str, words: tuple[str, ...], status: int
) -> None:
    arun.write("shop.py", SLOW.format(seconds=1.5))
    instance = arun(
        app, "--bind", "{address}", "--interface", app.partition(":")[2].removeprefix("application") or "wsgi", *words
    )
    assert instance.ready().get().status == status
    assert instance.stop() == 0


def test_a_command_line_of_gunicorn_starts_with_one_warning(arun: Starter) -> None:
    arun.write("shop.py", WSGI)
    words = (
        "-w 2 -k sync -n shop --capture-output --worker-tmp-dir /dev/shm --access-logfile - --graceful-timeout 5 -t 30"
    )
    instance = arun(*words.split(), "-b", "{address}", "shop").ready()
    assert instance.get().text == "the shop"
    assert instance.said.count("warning") == 1
    assert (
        "arun: warning: arun does without -k (arun finds the kind of app by itself), -n, --capture-output"
        in instance.said
    )


def test_a_command_line_of_uvicorn_starts_with_one_warning(arun: Starter) -> None:
    arun.write("shop.py", SLOW.format(seconds=0))
    host, _, port = arun.address.rpartition(":")
    words = "--http h11 --ws auto --lifespan off --no-use-colors --interface asgi3 --ws-per-message-deflate false --log-level INFO"
    instance = arun("shop:asgi", "--host", host, "--port", port, *words.split()).ready()
    assert instance.get().text == "slow"
    assert instance.said.count("warning") == 1
