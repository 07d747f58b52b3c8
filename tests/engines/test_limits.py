"""How many connections and requests there may be, for every kind of app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.apps import CONCURRENT
from tests.engines.conftest import until
from tests.engines.wire import HELLO, LAST, responses, statuses

if TYPE_CHECKING:
    from tests.engines.apps import Exchange, Gate

Serve = Any


async def test_connections_beyond_the_limit_are_answered_503(serve_app: Serve) -> None:
    served = await serve_app(limit_connections=2, timeout_keep_alive=1000.0)
    kept = [await served.connect() for _ in range(2)]
    for reader, writer in kept:
        writer.write(HELLO)
        await reader.readuntil(b"GET /? ")
    (refusal,) = responses(await served.talk(HELLO))
    assert (refusal.status, refusal.fields[b"retry-after"], refusal.fields[b"connection"]) == (503, b"1", b"close")
    for _, writer in kept:
        writer.close()
    await until(lambda: not served.engine.connections)
    assert statuses(await served.talk(LAST)) == [200]


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_requests_beyond_the_limit_are_answered_503_and_may_come_again(serve_app: Serve, gate: Gate) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.hold(gate)
        await exchange.respond()

    served = await serve_app(slow, limit_concurrency=1)
    busy_reader, busy = await served.connect()
    busy.write(LAST)
    await gate.reached()
    reader, writer = await served.connect()
    writer.write(HELLO)
    refusal = await reader.readuntil(b"\r\n\r\nService Unavailable\n")
    assert statuses(refusal) == [503]
    assert b"\r\nretry-after: 1\r\n" in refusal
    gate.open()
    assert statuses(await busy_reader.read()) == [200]
    writer.write(LAST)
    assert statuses(await reader.read()) == [200]
    busy.close()
    writer.close()


async def test_connection_is_closed_after_as_many_requests_as_it_may_have(serve_app: Serve) -> None:
    served = await serve_app(keep_alive_requests=3)
    found = responses(await served.talk(HELLO * 5))
    assert [(one.status, one.fields.get(b"connection")) for one in found] == [(200, None), (200, None), (200, b"close")]
