"""Plain responses of aiohttp apps, which go out without aiohttp's ``prepare``: they are those that it would have sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server
from tests.engines.wire import HELLO, LAST, responses

if TYPE_CHECKING:
    from collections.abc import Callable

Serve = Any
OLD = b"GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"


def _changed(response: web.Response, change: Callable[[web.Response], object]) -> web.Response:
    change(response)
    return response


#: Responses that are plain, and such that have all but one thing in common with them.
RESPONSES: dict[str, Callable[[], web.Response]] = {
    "text": lambda: web.Response(text="hellö"),
    "json": lambda: web.json_response({"a": ["b"] * 300}),
    "bytes": lambda: web.Response(body=b"hello"),
    "bytes of a type": lambda: web.Response(body=b"hello", content_type="image/png"),
    "bytearray": lambda: web.Response(body=bytearray(b"hello")),
    "no body": web.Response,
    "empty text": lambda: web.Response(text=""),
    "long": lambda: web.Response(body=b"x" * 300_000, content_type="image/png"),
    "status": lambda: web.Response(text="gone", status=404, reason="Gone away"),
    "204": lambda: web.Response(text="hello", status=204),
    "304": lambda: web.Response(text="hello", status=304),
    "no reason": lambda: web.Response(text="hello", status=299),
    "fields": lambda: web.Response(text="hello", headers={"X-A": "b", "x-c": "é"}),
    "several of a name": lambda: web.Response(text="hello", headers=[("X-A", "b"), ("X-A", "c")]),
    "own length": lambda: web.Response(text="hello", headers={"Content-Length": "5"}),
    "own type": lambda: web.Response(text="hello", headers={"content-type": "text/x"}),
    "own date and server": lambda: web.Response(text="hello", headers={"Date": "today", "Server": "me"}),
    "own connection": lambda: web.Response(text="hello", headers={"Connection": "close"}),
    "cookie": lambda: _changed(web.Response(text="hello"), lambda one: one.set_cookie("a", "b")),
    "compressed": lambda: _changed(web.Response(text="hello" * 99), lambda one: one.enable_compression()),
    "chunked": lambda: _changed(web.Response(text="hello"), lambda one: one.enable_chunked_encoding()),
    "closed": lambda: _changed(web.Response(text="hello"), lambda one: one.force_close()),
    "name": lambda: web.Response(text="hello", headers={"a b": "c"}),
    "value": lambda: web.Response(text="hello", headers={"a": "b\x00"}),
    "long field": lambda: web.Response(text="hello", headers={"a": "b" * 5000}),
    "found": lambda: web.HTTPFound("/there"),
}


async def watch(_request: web.Request, _response: web.StreamResponse) -> None:
    """Look at a response, which nobody does otherwise."""


@pytest.mark.parametrize("request_of", [LAST, OLD, LAST.replace(b"GET", b"HEAD")], ids=["1.1", "1.0", "HEAD"])
@pytest.mark.parametrize("name", RESPONSES)
async def test_response_is_the_one_that_aiohttp_would_have_sent(serve: Serve, name: str, request_of: bytes) -> None:
    async def handler(_: web.Request) -> web.Response:
        if isinstance(made := RESPONSES[name](), web.HTTPException):
            raise made
        return made

    answers = []
    for is_watched in (False, True):
        app = web.Application()
        app.router.add_get("/", handler)
        if is_watched:
            app.on_response_prepare.append(watch)
        served = await serve(app, aiohttp_server)
        raw = await served.talk(request_of)
        head, _, body = re.sub(rb"\r\n[Dd]ate: \w{3}, [^\r]+GMT", b"\r\nDate: now", raw).partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        names = [(name.lower(), value) for name, _, value in (field.partition(b": ") for field in fields)]
        answers.append((line, sorted(names), body, len(served.errors)))
    assert answers[0] == answers[1]


async def test_connection_goes_on_behind_plain_responses(serve: Serve) -> None:
    seen: list[web.Response] = []

    async def handler(_: web.Request) -> web.Response:
        seen.append(web.Response(text="hello"))
        return seen[-1]

    app = web.Application()
    app.router.add_get("/", handler)
    served = await serve(app, aiohttp_server)
    assert [one.body for one in responses(await served.talk(HELLO + HELLO + LAST))] == [b"hello"] * 3
    assert [(one.prepared, one.keep_alive, one.body_length > 5) for one in seen] == [
        (True, True, True),
        (True, True, True),
        (True, False, True),
    ]


async def test_response_that_was_sent_is_not_sent_again(serve: Serve) -> None:
    only = web.Response(text="hello")

    async def handler(_: web.Request) -> web.Response:
        return only

    app = web.Application()
    app.router.add_get("/", handler)
    served = await serve(app, aiohttp_server)
    assert [one.status for one in responses(await served.talk(HELLO + LAST))] == [200, 500]


@pytest.mark.parametrize("where", ["app", "subapp", "aiohttp"])
async def test_whoever_looks_at_responses_sees_each(serve: Serve, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def sign(_request: web.Request, response: web.StreamResponse) -> None:
        assert "Date" in response.headers
        response.headers["X-Seen"] = "yes"

    async def prepare(self: web.Response, request: web.BaseRequest) -> Any:
        self.headers["X-Seen"] = "yes"
        return await web.StreamResponse.prepare(self, request)

    app, below = web.Application(), web.Application()
    below.router.add_get("/", handler)
    if where == "aiohttp":
        monkeypatch.setattr(web.Response, "prepare", prepare)
    else:
        (app if where == "app" else below).on_response_prepare.append(sign)
    app.add_subapp("/below", below)
    served = await serve(app, aiohttp_server)
    (answer,) = responses(await served.talk(LAST.replace(b" / ", b" /below/ ")))
    assert (answer.body, answer.fields[b"x-seen"]) == (b"hello", b"yes")
