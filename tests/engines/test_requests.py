"""How requests are read, by every kind of app: order, pieces, bodies, expectations, upgrades (RFC 9110, RFC 9112)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.apps import CONCURRENT, PATIENCE, STREAMING, unread
from tests.engines.conftest import until
from tests.engines.wire import CHUNKED, HELLO, LAST, bodies, reset, responses

if TYPE_CHECKING:
    from tests.engines.apps import Exchange, Gate

Serve = Any
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"

# ---- order and pieces

PAIR = (
    b"POST /a?b=c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    b"\r\nPOST /%C3%A9 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
)
OF_PAIR = [b"POST /a?b=c abcde", "POST /é? hi".encode()]


async def test_pipelined_pair_is_answered_alike_wherever_its_bytes_are_split(serve_app: Serve) -> None:
    served = await serve_app()
    for place in range(1, len(PAIR)):
        assert bodies(await served.talk(PAIR[:place], PAIR[place:])) == OF_PAIR, place


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
async def test_pipelined_pair_is_answered_alike_in_small_pieces(serve_app: Serve, size: int) -> None:
    served = await serve_app()
    pieces = [PAIR[start : start + size] for start in range(0, len(PAIR), size)]
    assert bodies(await served.talk(*pieces)) == OF_PAIR


async def test_many_pipelined_requests_are_answered_in_their_order(serve_app: Serve) -> None:
    """With and without a body; some of the calls let the loop run before they respond."""

    async def uneven(exchange: Exchange) -> None:
        if int(exchange.path[1:]) % 7 == 0:
            await exchange.pause()
        await exchange.respond(exchange.path.encode() + await exchange.read())

    heads = (
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    )
    flood = b"".join(heads[number % 4] % number for number in range(2000))
    expected = [b"/%d%b" % (number, b"ab" if number % 2 else b"") for number in range(2000)]
    served = await serve_app(uneven)
    raw = await served.talk(flood + LAST.replace(b"/ ", b"/2000 ", 1))
    assert bodies(raw) == [*expected, b"/2000"]


async def test_requests_behind_a_chunked_body_are_answered_whatever_their_number(serve_app: Serve) -> None:
    served = await serve_app()
    raw = await served.talk(CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + HELLO * 40 + LAST)
    assert bodies(raw) == [b"POST /? x", *[b"GET /? "] * 41]


async def test_pipelined_requests_never_run_at_the_same_time(serve_app: Serve) -> None:
    running = 0

    async def alone(exchange: Exchange) -> None:
        nonlocal running
        running += 1
        assert running == 1
        for _ in range(5):
            await exchange.pause()
        running -= 1
        await exchange.respond(b"alone")

    served = await serve_app(alone)
    assert bodies(await served.talk(HELLO * 5 + b"GET / HTTP/1.0\r\n\r\n")) == [b"alone"] * 6
    assert served.errors == []


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_client_that_pipelines_without_end_is_made_to_wait(serve_app: Serve, gate: Gate) -> None:
    async def wait(exchange: Exchange) -> None:
        await exchange.hold(gate)
        await exchange.respond()

    served = await serve_app(wait)
    reader, writer = await served.connect()
    writer.write(HELLO * 2000)
    await until(lambda: [one for one in served.engine.connections if one.parser.paused])
    (connection,) = served.engine.connections
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(connection._queue) <= 16_384 // len(HELLO)  # what is parsed at once
    gate.open()
    writer.write(LAST)
    assert len(bodies(await reader.read())) == 2001
    writer.close()


async def test_nothing_after_a_request_with_close_is_answered(serve_app: Serve) -> None:
    served = await serve_app()
    assert bodies(await served.talk(LAST.replace(b"/ ", b"/1 ", 1) + HELLO)) == [b"GET /1? "]


async def test_half_closed_client_is_answered(serve_app: Serve) -> None:
    served = await serve_app()
    raw = await served.talk(HELLO.replace(b"/ ", b"/1 ", 1) + HELLO.replace(b"/ ", b"/2 ", 1), half_close=True)
    assert bodies(raw) == [b"GET /1? ", b"GET /2? "]


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_client_that_half_closes_while_the_app_works_is_answered(serve_app: Serve, gate: Gate) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.hold(gate)
        await exchange.respond(exchange.path.encode())

    served = await serve_app(slow)
    reader, writer = await served.connect()
    writer.write(HELLO.replace(b"/ ", b"/1 ", 1) + HELLO.replace(b"/ ", b"/2 ", 1))
    writer.write_eof()
    await until(lambda: [one for one in served.engine.connections if one.half_closed])
    gate.open()
    raw = await asyncio.wait_for(reader.read(), PATIENCE)
    assert bodies(raw) == [b"/1", b"/2"]
    writer.close()


async def test_client_that_leaves_at_once_costs_nothing(serve_app: Serve) -> None:
    served = await serve_app()
    for resets in (True, False) * 25:
        _, writer = await served.connect()
        writer.write(HELLO * 3)
        if resets:
            reset(writer)
        else:
            writer.close()
    assert bodies(await served.talk(LAST)) == [b"GET /? "]
    await until(lambda: not served.engine.connections)
    assert served.errors == []


# ---- targets


@pytest.mark.parametrize(("target", "path", "query"), [(b"/x?y", "/x", "y"), (b"?y", "/", "y"), (b"", "/", "")])
async def test_absolute_form_is_understood_and_replaces_host(
    serve_app: Serve, target: bytes, path: str, query: str
) -> None:
    async def tell(exchange: Exchange) -> None:
        seen = [exchange.path, exchange.query, exchange.fields["host"]]
        await exchange.respond(json.dumps(seen).encode())

    served = await serve_app(tell)
    raw = await served.talk(b"GET HTTP://real:81%b HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n" % target)
    assert json.loads(bodies(raw)[0]) == [path, query, "real:81"]


@pytest.mark.parametrize(
    ("request_line", "fields"),
    [(b"GET http://b/x?y HTTP/1.1", b"Host: a\r\n"), (b"GET /x?y HTTP/1.0", b""), (b"GET /x?y HTTP/1.1", b"Host:\r\n")],
)
async def test_odd_but_valid_request_is_served(serve_app: Serve, request_line: bytes, fields: bytes) -> None:
    served = await serve_app()
    assert bodies(await served.talk(request_line + b"\r\n" + fields + b"Connection: close\r\n\r\n")) == [b"GET /x?y "]


async def test_options_of_the_server_are_answered(serve_app: Serve, kind: str) -> None:
    served = await serve_app()
    (response,) = responses(await served.talk(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    assert response.status == (404 if kind == "aiohttp" else 200)  # aiohttp's router has no route for it
    assert served.errors == []


# ---- bodies


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
async def test_upload_of_any_size_arrives_whole(serve_app: Serve, size: int) -> None:
    served = await serve_app()
    body = bytes(range(256)) * (size // 256 + 1)
    raw = await served.talk(POST % size + body[:size] + LAST)
    assert bodies(raw) == [b"POST /? " + body[:size], b"GET /? "]


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length", b"CONTENT-length"])
@pytest.mark.parametrize("behind", [b"", LAST[:20], b"\r\n"])
async def test_request_in_one_piece_with_its_body_ends_where_its_length_says(
    serve_app: Serve, name: bytes, behind: bytes
) -> None:
    served = await serve_app()
    post = b"POST / HTTP/1.1\r\nHost: a\r\n%b: 5\r\n\r\nhello" % name
    rest = LAST[20:] if behind == LAST[:20] else LAST
    assert bodies(await served.talk(post + behind, rest)) == [b"POST /? hello", b"GET /? "]
    assert bodies(await served.talk(post + post + LAST)) == [b"POST /? hello", b"POST /? hello", b"GET /? "]


async def test_length_in_a_value_is_no_length(serve_app: Serve) -> None:
    served = await serve_app()
    first = b"POST / HTTP/1.1\r\nHost: a\r\nX: Content-Length: 5\r\nContent-Length: 0\r\n\r\n"
    assert bodies(await served.talk(first + LAST)) == [b"POST /? ", b"GET /? "]


async def test_body_of_many_small_chunks_arrives_whole(serve_app: Serve) -> None:
    served = await serve_app()
    raw = await served.talk(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n" + LAST)
    assert bodies(raw) == [b"POST /? " + b"x" * 50_000, b"GET /? "]


@pytest.mark.parametrize("kind", STREAMING)
async def test_slow_app_holds_the_client_back(serve_app: Serve, gate: Gate) -> None:
    """An endless upload is taken no faster than the app reads."""
    enough, sent, got = asyncio.Event(), 0, 0

    async def slow(exchange: Exchange) -> None:
        nonlocal got
        await exchange.hold(gate)
        async for piece in exchange.pieces():
            got += len(piece)
            if got > sent // 2:
                enough.set()

    served = await serve_app(slow)
    _, writer = await served.connect()
    writer.write(POST % 100_000_000)
    with contextlib.suppress(TimeoutError):
        while sent < 50_000_000:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await asyncio.wait_for(writer.drain(), 0.2)
    assert sent < 50_000_000
    gate.open()
    await asyncio.wait_for(writer.drain(), 5)
    await asyncio.wait_for(enough.wait(), 5)
    writer.close()


@pytest.mark.parametrize("size", [100, 100_000])
async def test_unread_body_does_not_become_the_next_request(serve_app: Serve, size: int) -> None:
    served = await serve_app(unread)
    hidden = (b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n" * size)[:size]
    assert bodies(await served.talk(POST % size, hidden, LAST)) == [b"ignored"] * 2


@pytest.mark.parametrize("kind", STREAMING)
async def test_response_survives_a_large_body_that_the_app_does_not_read(serve_app: Serve) -> None:
    """The client gets the response although it is still sending, and the connection ends soon."""
    served = await serve_app(unread)
    reader, writer = await served.connect()
    writer.write(POST % 50_000_000 + b"x" * 2_000_000)
    assert bodies(await asyncio.wait_for(reader.read(), PATIENCE)) == [b"ignored"]
    writer.close()


@pytest.mark.parametrize("kind", STREAMING)
async def test_client_that_goes_on_with_an_unread_body_is_cut(serve_app: Serve) -> None:
    served = await serve_app(unread)
    reader, writer = await served.connect()
    writer.write(POST % 1_000_000_000)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    async def send_on() -> None:
        while True:
            writer.write(bytes(1000))
            await writer.drain()
            await asyncio.sleep(0.001)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), PATIENCE)
    writer.close()


# ---- expectations

EXPECTING = b"POST / HTTP/1.%d\r\nHost: a\r\nExpect: 100-Continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"


async def test_client_that_expects_it_is_asked_for_its_body(serve_app: Serve) -> None:
    served = await serve_app()
    reader, writer = await served.connect()
    writer.write(EXPECTING % 1)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hi")
    assert bodies(await reader.read()) == [b"POST /? hi"]
    writer.close()


async def test_client_of_http_1_0_is_not_asked_for_its_body(serve_app: Serve) -> None:
    served = await serve_app()
    assert bodies(await served.talk((EXPECTING % 0) + b"hi")) == [b"POST /? hi"]


@pytest.mark.parametrize("kind", ["asgi", "threads", "inline"])  # the handler for it of aiohttp does not look
async def test_client_whose_body_is_here_is_not_asked_for_it(serve_app: Serve) -> None:
    served = await serve_app()
    assert bodies(await served.talk((EXPECTING % 1) + b"hi")) == [b"POST /? hi"]


@pytest.mark.parametrize("kind", ["asgi"])  # the others ask for the body before the app is called
async def test_connection_is_not_used_again_when_the_client_may_still_send_the_expected_body(serve_app: Serve) -> None:
    served = await serve_app(unread)
    (response,) = responses(await served.talk((EXPECTING % 1).replace(b"Connection: close\r\n", b"")))
    assert (response.status, response.fields[b"connection"]) == (200, b"close")


# ---- upgrades


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n", b""),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5\r\n", b"hello"),
        (b"Upgrade: websocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5\r\n", b"hello"),
    ],
)
async def test_upgrade_that_is_not_taken_is_a_plain_request_with_its_body(
    serve_app: Serve, fields: bytes, body: bytes
) -> None:
    served = await serve_app()
    first = b"POST /up HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body
    expected = [b"POST /up? " + (b"hello" if body else b""), b"GET /? "]
    assert bodies(await served.talk(first + LAST)) == expected
    assert bodies(await served.talk(*(bytes((byte,)) for byte in first), LAST)) == expected


@pytest.mark.parametrize("kind", STREAMING)
async def test_upgrade_whose_body_comes_after_its_response_leaves_the_connection_usable(serve_app: Serve) -> None:
    served = await serve_app(unread)
    reader, writer = await served.connect()
    fields = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n"
    writer.write(b"POST / HTTP/1.1\r\n" + fields)
    first = await asyncio.wait_for(reader.readuntil(b"ignored"), PATIENCE)
    writer.write(b"hello" + LAST)
    assert bodies(first + await asyncio.wait_for(reader.read(), PATIENCE)) == [b"ignored"] * 2
    writer.close()
