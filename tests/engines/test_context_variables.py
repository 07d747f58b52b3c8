"""Context variables (PEP 567): those of a request are never those of another one."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.apps import PATIENCE, STREAMING
from tests.engines.conftest import until
from tests.engines.wire import responses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.apps import Exchange

Serve = Any
seen: ContextVar[str] = ContextVar("seen", default="nothing")
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


async def tell(exchange: Exchange) -> None:
    """Respond with what an earlier request has left to this one."""
    found = seen.get()
    seen.set(exchange.path)
    async for _ in exchange.pieces():
        await exchange.pause()
    await exchange.begin(("X-Found", found))
    for _ in range(300):  # longer than one turn of the loop
        assert seen.get() == exchange.path
        await exchange.write(b"x" * 100)
    await exchange.end()


def found(raw: bytes) -> list[bytes]:
    return [response.fields[b"x-found"] for response in responses(raw)]


async def test_requests_that_wait_for_each_other_have_context_variables_of_their_own(serve_app: Serve) -> None:
    served = await serve_app(tell)
    requests = [GET % number for number in range(5)]
    assert found(await served.talk(b"".join(requests) + LAST)) == [b"nothing"] * 6
    assert found(await served.talk(*requests, LAST)) == [b"nothing"] * 6


async def test_request_after_an_upload_has_context_variables_of_its_own(serve_app: Serve) -> None:
    """An app that takes the body lets the loop read on, and reading on goes on when the app has ended."""
    served = await serve_app(tell)
    reader, writer = await served.connect()
    writer.write(UPLOAD)
    for _ in range(10):
        writer.write(bytes(100_000))
        await writer.drain()
        await asyncio.sleep(0)
    assert found(await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), PATIENCE)) == [b"nothing"]
    writer.write(GET % 1 + LAST)
    assert found(await asyncio.wait_for(reader.read(), PATIENCE)) == [b"nothing"] * 2
    writer.close()


@pytest.mark.parametrize("kind", STREAMING)
async def test_body_that_made_its_client_wait_leaves_no_context_variable_behind(serve_app: Serve) -> None:
    async def late(exchange: Exchange) -> None:
        if exchange.method == "POST":
            await until(lambda: next(iter(served.engine.connections)).parser.paused)
        await tell(exchange)

    served = await serve_app(late)
    raw = await served.talk(UPLOAD.replace(b"1000000", b"3000000") + bytes(3_000_000) + LAST)
    assert found(raw) == [b"nothing"] * 2


async def test_requests_of_several_connections_have_context_variables_of_their_own(serve_app: Serve) -> None:
    served = await serve_app(tell)
    raws = await asyncio.gather(*(served.talk(GET % number + LAST) for number in range(10)))
    assert [found(raw) for raw in raws] == [[b"nothing"] * 2] * 10
    assert served.errors == []


async def test_whole_call_of_a_wsgi_app_runs_in_one_context(serve_wsgi: Serve) -> None:
    """``close`` of what it returned can reset what the call has set."""
    ended: list[str] = []

    class Body:
        def __init__(self) -> None:
            self.token = seen.set("call")

        def __iter__(self) -> Iterator[bytes]:
            for _ in range(300):
                yield seen.get().encode() * 1000

        def close(self) -> None:
            seen.reset(self.token)
            ended.append(seen.get())

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/last":
            return Body()
        body = environ["wsgi.file_wrapper"](open(__file__, "rb"))  # noqa: SIM115 - the wrapper closes it
        token, close = seen.set("file"), body.close

        def end() -> None:
            close()
            seen.reset(token)
            ended.append(seen.get())

        body.close = end
        return body

    served = await serve_wsgi(app)
    assert b"call" in await served.talk(GET % 1 + LAST)
    await served.stop(1)
    assert ended == ["nothing", "nothing"]
    assert served.errors == []
