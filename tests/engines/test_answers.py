"""What goes over the wire when an app of any kind responds: framing by RFC 9112, and the fields of the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.apps import PATIENCE, Exchange
from tests.engines.conftest import undated, until
from tests.engines.wire import HELLO, LAST, Response, responses, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

Serve = Any
KEPT_1_0 = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
PLAIN_1_0 = b"GET / HTTP/1.0\r\n\r\n"


def whole(body: bytes, *fields: tuple[str, str], status: int = 200) -> Callable[[Exchange], Any]:
    """Return a handler that responds with a body in one piece."""

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(body, *fields, status=status)

    return handler


def pieces(*parts: bytes, fields: tuple[tuple[str, str], ...] = (), status: int = 200) -> Callable[[Exchange], Any]:
    """Return a handler that writes each part and then the last one."""

    async def handler(exchange: Exchange) -> None:
        await exchange.begin(*fields, status=status)
        for part in parts[:-1]:
            await exchange.write(part)
        await exchange.end(parts[-1])

    return handler


def named(response: Response) -> Response:
    """Leave out the type that aiohttp gives a response without one."""
    fields = {k: v for k, v in response.fields.items() if (k, v) != (b"content-type", b"application/octet-stream")}
    return response._replace(fields=fields)


# ---- fields


async def test_small_response_has_its_length_and_the_fields_of_the_server(serve_app: Serve) -> None:
    served = await serve_app(whole(b"hello", ("Content-Type", "text/plain")))
    fields = {b"content-type": b"text/plain", b"server": b"arun", b"content-length": b"5", b"connection": b"close"}
    assert responses(await served.talk(LAST)) == [Response(200, fields, b"hello")]


async def test_fields_of_the_app_come_before_those_of_the_server(serve_app: Serve) -> None:
    served = await serve_app(whole(b"hello", ("Content-Type", "text/plain")))
    assert (
        await served.talk(LAST)
        == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nserver: arun\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
    )


async def test_date_is_sent_once_in_the_form_of_http(serve_app: Serve) -> None:
    served = await serve_app()
    reader, writer = await served.connect()
    writer.write(LAST)
    raw = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert raw.lower().count(b"\r\ndate: ") == 1
    assert b"date: " not in undated(raw).lower()


async def test_fields_server_and_date_of_the_app_are_not_doubled(serve_app: Serve) -> None:
    served = await serve_app(whole(b"", ("Server", "mine"), ("Date", "today")))
    (response,) = responses(await served.talk(LAST))
    assert (response.fields[b"server"], response.fields[b"date"]) == (b"mine", b"today")


async def test_server_and_date_are_named_as_the_options_say(serve_app: Serve) -> None:
    served = await serve_app(server_header=False, date_header=False)
    (response,) = responses(await served.talk(LAST))
    assert not {b"server", b"date"} & set(response.fields)
    served = await serve_app(whole(b"", ("Server", "mine")), server_header=False, date_header=True)
    (response,) = responses(await served.talk(LAST))
    assert response.fields[b"server"] == b"mine"


# ---- framing


@pytest.mark.parametrize("parts", [(b"ab", b"", b"c" * 17, b""), (b"ab", b"c" * 17), (b"", b"ab", b"c" * 17)])
async def test_streamed_response_of_unknown_length_comes_in_chunks(serve_app: Serve, parts: tuple[bytes, ...]) -> None:
    served = await serve_app(pieces(*parts))
    raw = await served.talk(HELLO + LAST)
    assert raw.count(b"\r\n\r\n2\r\nab\r\n11\r\n" + b"c" * 17 + b"\r\n0\r\n\r\n") == 2
    first, second = map(named, responses(raw))
    fields = {b"server": b"arun", b"transfer-encoding": b"chunked"}
    assert first == Response(200, fields, b"ab" + b"c" * 17)
    assert second == Response(200, fields | {b"connection": b"close"}, b"ab" + b"c" * 17)


@pytest.mark.parametrize("request_", [KEPT_1_0, PLAIN_1_0])
async def test_streamed_response_to_http_1_0_ends_with_the_connection(serve_app: Serve, request_: bytes) -> None:
    served = await serve_app(pieces(b"ab", b"c"))
    (response,) = map(named, responses(await served.talk(request_)))
    assert response == Response(200, {b"server": b"arun", b"connection": b"close"}, b"abc")


async def test_http_1_0_is_kept_alive_only_when_it_asks(serve_app: Serve) -> None:
    served = await serve_app(whole(b"x"))
    kept, last = responses(await served.talk(KEPT_1_0 + PLAIN_1_0))
    assert (kept.body, kept.fields[b"connection"].lower()) == (b"x", b"keep-alive")
    assert (last.body, last.fields[b"connection"]) == (b"x", b"close")


HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("handler", "length"),
    [
        pytest.param(whole(b"hello"), b"5", id="whole"),
        pytest.param(whole(b"", ("Content-Length", "7")), b"7", id="announced"),
        pytest.param(pieces(b"he", b"llo"), None, id="pieces"),
        pytest.param(pieces(b"hello"), None, id="last piece"),
        pytest.param(pieces(b"hel", b"", fields=(("Content-Length", "3"),)), b"3", id="announced pieces"),
        pytest.param(pieces(b"hel", fields=(("Content-Length", "3"),)), b"3", id="announced last piece"),
    ],
)
async def test_head_request_gets_no_body_whatever_the_app_sends(
    serve_app: Serve, kind: str, handler: Any, length: bytes | None
) -> None:
    served = await serve_app(handler)
    first, second, end = (await served.talk(HEAD + LAST.replace(b"GET", b"HEAD"))).split(b"\r\n\r\n")
    assert end == b""
    for head in (first, second):
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        if length is not None:
            assert b"\r\ncontent-length: " + length in head.lower()
    if length is None and kind == "asgi":
        assert b"transfer-encoding" not in first
    assert (b"\r\nconnection: close" in first, b"\r\nconnection: close" in second) == (False, True)


@pytest.mark.parametrize(
    "send",
    [
        pytest.param(lambda status: whole(b"hello", ("Content-Length", "5"), status=status), id="whole"),
        pytest.param(lambda status: pieces(b"abc", b"d", status=status), id="pieces"),
    ],
)
@pytest.mark.parametrize("status", [204, 304])
async def test_responses_without_content_have_neither_body_nor_framing(
    serve_app: Serve, status: int, send: Any
) -> None:
    served = await serve_app(send(status))
    raw = await served.talk(HELLO + LAST)
    assert statuses(raw) == [status] * 2
    assert b"transfer-encoding" not in raw.lower()
    if status == 204:
        assert b"content-length" not in raw.lower()


@pytest.mark.parametrize("kind", ["asgi", "threads", "inline"])  # aiohttp itself takes the field for its own
async def test_transfer_encoding_of_the_app_is_left_out(serve_app: Serve) -> None:
    """The framing of a message is the server's alone."""
    served = await serve_app(whole(b"5\r\nhello\r\n0\r\n\r\n", ("Transfer-Encoding", "chunked")))
    assert b"ransfer-" not in await served.talk(LAST)


FIVE = (("Content-Length", "5"),)


@pytest.mark.parametrize("parts", [(b"he", b"l"), (b"hel", b""), (b"hel",)])
async def test_body_shorter_than_its_length_ends_the_connection(serve_app: Serve, parts: tuple[bytes, ...]) -> None:
    """The next response can never become the missing part of this one."""
    served = await serve_app(pieces(*parts, fields=FIVE))
    raw = await served.talk(HELLO * 2)
    assert raw.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert raw.endswith(b"\r\n\r\nhel")
    await until(lambda: served.errors)
    assert "2 bytes shorter than its Content-Length" in served.errors[0]


@pytest.mark.parametrize("parts", [(b"he", b"llo!!"), (b"hello!!", b""), (b"hello!!",), (b"hel", b"lo!!", b"")])
async def test_body_longer_than_its_length_is_cut_and_reported(serve_app: Serve, parts: tuple[bytes, ...]) -> None:
    served = await serve_app(pieces(*parts, fields=FIVE))
    (answer,) = responses(await served.talk(HELLO + LAST))
    assert (answer.status, answer.body) == (200, b"hello")
    await until(lambda: served.errors)
    assert "longer than its Content-Length" in served.errors[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nset-cookie: evil"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x: y\r\nz", "a"),
        ("", "a"),
        ("a b", "c"),
        ("content-length", "+5"),
        ("content-length", "5, 5"),
        ("content-length", "one"),
    ],
)
@pytest.mark.parametrize("send", [whole, pieces])
async def test_field_that_would_split_the_response_becomes_500(
    serve_app: Serve, name: str, value: str, send: Any
) -> None:
    fields = ((name, value),)
    served = await serve_app(whole(b"hello", *fields) if send is whole else pieces(b"he", b"llo", fields=fields))
    raw = await served.talk(LAST)
    assert statuses(raw) == [500]
    assert b"evil" not in raw
    assert len(served.errors) == 1


@pytest.mark.parametrize("status", [100, 101, 99, 1000])
async def test_status_that_is_none_of_a_response_becomes_500(serve_app: Serve, status: int) -> None:
    served = await serve_app(whole(b"hello", status=status))
    assert statuses(await served.talk(LAST)) == [500]


async def test_app_that_closes_the_connection_is_obeyed(serve_app: Serve) -> None:
    served = await serve_app(whole(b"x", ("Connection", "close")))
    (response,) = responses(await served.talk(HELLO))
    assert response.fields[b"connection"] == b"close"


async def test_slow_reader_holds_the_app_back(serve_app: Serve) -> None:
    """An endless response is written no faster than it is read, and everything written arrives."""
    sent = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.begin()
        while True:
            await exchange.write(b"x" * 65_536)
            sent += 65_536

    served = await serve_app(endless, limit_response_buffer=0)
    reader, writer = await served.connect()
    writer.write(LAST)
    stood_still = 0
    while stood_still < 20:
        before = sent
        await asyncio.sleep(0.01)
        stood_still = stood_still + 1 if sent == before else 0
    held_at = sent
    assert held_at < 64 * 1024 * 1024
    got = 0
    while got < held_at + 10_000_000:
        got += len(await reader.read(1 << 20))
    assert sent > held_at
    writer.close()
