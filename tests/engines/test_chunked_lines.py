"""The lines within a chunked body cost no more than other bytes: its client chooses how many there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.engines.apps import Exchange

#: Bytes of a chunk, and chunks of an upload: some 2 MB.
CHUNK, CHUNKS = 65_532, 32
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


async def measure(exchange: Exchange) -> None:
    await exchange.respond(b"%d" % len(await exchange.read()))


async def seconds(served: Any, line: bytes) -> float:
    """CPU time, the least of three, of an upload that repeats this text."""
    chunk = b"%x\r\n%b\r\n" % (CHUNK, (line * CHUNK)[:CHUNK])
    sent, found = HEAD + chunk * CHUNKS + b"0\r\n\r\n", []
    for _ in range(3):
        began = time.process_time()
        response = await served.talk(sent)
        found.append(time.process_time() - began)
        assert b"%d" % (CHUNK * CHUNKS) in response
    return min(found)


@pytest.mark.parametrize("line", [b"\r\n", b"\n", b"\r\n\r\n", b"  \r\n", b"0\r\n\r\n"], ids=repr)
async def test_line_ends_in_chunks_cost_no_more_than_letters(serve_app: Any, line: bytes) -> None:
    """It was 45 to 75 times as much: the bound is far from both."""
    served = await serve_app(measure)
    assert await seconds(served, line) < 8 * await seconds(served, b"z") + 0.05
