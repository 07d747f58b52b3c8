"""Apps of every kind that fail: what their client gets, and what the error log shows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.wire import HELLO, LAST, responses, statuses

if TYPE_CHECKING:
    from tests.engines.apps import Exchange

Serve = Any


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
async def test_request_that_raises_is_answered_500_and_the_next_one_lives(
    serve_app: Serve, kind: str, error: type[BaseException]
) -> None:
    async def handler(exchange: Exchange) -> None:
        if exchange.path == "/bad":
            raise error("boom")
        await exchange.respond(b"fine")

    served = await serve_app(handler)
    bad = HELLO.replace(b"/ ", b"/bad ", 1)
    # aiohttp ends the connection behind its 500
    raw = await served.talk(bad) + await served.talk(LAST) if kind == "aiohttp" else await served.talk(bad + LAST)
    assert b"boom" not in raw
    failed, lives = responses(raw)
    assert (failed.status, lives.status, lives.body) == (500, 200, b"fine")
    (told,) = served.errors
    assert told.startswith("GET /bad failed (client 127.0.0.1)\nTraceback")
    assert told.rstrip().endswith(f"{error.__name__}: boom")
    assert "/arun/" not in told


async def test_response_that_breaks_off_does_not_look_complete(serve_app: Serve) -> None:
    """In neither form of framing."""

    async def breaks_off(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.write(b"part")
        raise ValueError("boom")

    served = await serve_app(breaks_off)
    assert (await served.talk(LAST)).endswith(b"\r\n\r\n4\r\npart\r\n")
    with pytest.raises(ConnectionResetError):  # a client of HTTP/1.0 sees it by nothing else
        await served.talk(b"GET / HTTP/1.0\r\n\r\n")
    assert len(served.errors) == 2


async def test_traceback_is_shown_to_the_loopback_in_debug_mode_alone(serve_app: Serve) -> None:
    async def handler(_exchange: Exchange) -> None:
        raise ValueError("secret")

    served = await serve_app(handler, debug=True)
    asked = LAST.replace(b"Host: a", b"Host: localhost:8000")
    (shown,) = responses(await served.talk(asked))
    assert (shown.status, shown.fields[b"content-type"]) == (500, b"text/plain; charset=utf-8")
    assert b"test_failing_apps.py" in shown.body
    assert shown.body.rstrip().endswith(b"ValueError: secret")
    assert b"/arun/" not in shown.body
    fields = (b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=127.0.0.1", b"X-Real-IP: 127.0.0.1", b"Via: 1.1 a")
    for host in (*(b"localhost\r\n" + field for field in fields), b"shop.example"):
        hidden = await served.talk(LAST.replace(b"Host: a", b"Host: " + host))
        assert statuses(hidden) == [500]
        assert b"secret" not in hidden
    assert b"secret" not in await (await serve_app(handler)).talk(asked)
