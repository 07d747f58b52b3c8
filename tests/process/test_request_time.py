"""The time limit of a request of an installed instance, as its users see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conftest import until

if TYPE_CHECKING:
    from tests.process.conftest import Starter

APPS = {
    "asgi": """
import asyncio
async def app(scope, receive, send):
    if scope["path"] == "/hang":
        await asks_the_database()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})
async def asks_the_database():
    await asyncio.Event().wait()
""",
    "wsgi": """
import threading
def app(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        asks_the_database()
    start_response("200 OK", [])
    return [b"fine"]
def asks_the_database():
    threading.Event().wait()
""",
    "aiohttp": """
import asyncio
from aiohttp import web
async def handler(request):
    if request.path == "/hang":
        await asks_the_database()
    return web.Response(text="fine")
async def asks_the_database():
    await asyncio.Event().wait()
app = web.Application()
app.router.add_get("/{rest:.*}", handler)
""",
}


@pytest.mark.parametrize("option", ["--timeout-request", "--harakiri"])
@pytest.mark.parametrize("kind", APPS)
def test_request_that_hangs_is_answered_503_and_reported_with_the_place(arun: Starter, kind: str, option: str) -> None:
    arun.write("shop.py", APPS[kind])
    instance = arun("shop.py", "--bind", "{address}", option, "0.2", "--threads", "1", "--access-log").ready()
    for _ in range(2):
        answer = instance.get("/hang")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        if kind == "wsgi":
            break  # there is one thread, and one in its place
    assert instance.get("/").body == b"fine"
    said = instance.wait_for("took longer than")
    assert "GET /hang took longer than 0.2 s (client 127." in said
    assert "in asks_the_database" in said
    assert instance.own_frames() == []
    assert instance.stop() == 0


def test_uwsgi_file_with_harakiri_is_understood(arun: Starter) -> None:
    arun.write("shop.py", APPS["wsgi"])
    arun.write("site.ini", "[uwsgi]\nhttp-socket = {address}\nwsgi-file = shop.py\nharakiri = 1\n")
    instance = arun("site.ini").ready()
    assert instance.get("/hang").status == 503
    assert "warning" not in instance.said


def test_limit_that_can_do_nothing_is_one_warning(arun: Starter) -> None:
    arun.write("shop.py", APPS["wsgi"])
    instance = arun("shop.py", "--bind", "{address}", "--timeout-request", "5", "--threads", "0").ready()
    assert instance.get("/").body == b"fine"
    assert instance.said.count("arun: warning: timeout-request does nothing with --threads 0: ") == 1


def test_a_worker_that_has_lost_a_thread_gets_a_successor(arun: Starter) -> None:
    """The thread of a WSGI app cannot be ended, so its process is, when it has nothing else to do."""
    arun.write("shop.py", APPS["wsgi"])
    instance = arun("shop.py", "--bind", "{address}", "--supervise", "--timeout-request", "0.3").ready()
    (first,) = instance.children()
    assert instance.get("/hang").status == 503
    instance.wait_for("gets a successor: a thread is lost to GET /hang, which takes longer than 0.3 s")
    answers = []

    def replaced() -> None:
        answers.append(instance.get("/").status)
        assert first not in instance.children()

    until(replaced, AssertionError)
    assert set(answers) == {200}
    assert instance.stop() == 0
