"""What goes over the wire when an ASGI app answers: framing by RFC 9112, byte for byte."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def app_that_sends(
    *pieces: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Callable[..., Any]:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": pieces[-1] if pieces else b""})

    return app


async def test_small_answer_has_its_length_and_the_servers_fields(serve: Serve) -> None:
    served = await serve(app_that_sends(b"hello", headers=((b"Content-Type", b"text/plain"),)))
    assert await served.talk(GET) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nserver: arun\r\n"
        b"content-length: 5\r\nconnection: close\r\n\r\nhello"
    )


async def test_date_is_sent_in_the_form_of_http(serve: Serve) -> None:
    served = await serve(app_that_sends(b""))
    reader, writer = await served.connect()
    writer.write(GET)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.count(b"date: ") == 1
    writer.close()


async def test_fields_server_and_date_of_the_app_are_not_doubled(serve: Serve) -> None:
    served = await serve(app_that_sends(b"", headers=((b"server", b"mine"), (b"date", b"today"))))
    assert await served.talk(GET) == (
        b"HTTP/1.1 200 OK\r\nserver: mine\r\ndate: today\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )


async def test_streamed_answer_of_unknown_length_comes_in_chunks(serve: Serve) -> None:
    served = await serve(app_that_sends(b"ab", b"", b"c" * 17, b""))
    assert await served.talk(GET) == (
        b"HTTP/1.1 200 OK\r\nserver: arun\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"2\r\nab\r\n11\r\n" + b"c" * 17 + b"\r\n0\r\n\r\n"
    )


async def test_streamed_answer_to_http_1_0_ends_with_the_connection(serve: Serve) -> None:
    served = await serve(app_that_sends(b"ab", b"c"))
    request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert await served.talk(request) == b"HTTP/1.1 200 OK\r\nserver: arun\r\nconnection: close\r\n\r\nabc"


async def test_http_1_0_is_kept_alive_only_when_it_asks(serve: Serve) -> None:
    served = await serve(app_that_sends(b"x"))
    kept, plain = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nserver: arun\r\ncontent-length: 1\r\n"
    assert await served.talk(kept + plain) == (
        head + b"connection: keep-alive\r\n\r\nx" + head + b"connection: close\r\n\r\nx"
    )


@pytest.mark.parametrize(
    ("pieces", "headers", "framing"),
    [
        ((b"hello",), (), b"content-length: 5\r\n"),
        ((b"",), ((b"content-length", b"7"),), b"content-length: 7\r\n"),
        ((b"he", b"llo"), (), b""),
        ((b"",), (), b""),
    ],
)
async def test_head_request_gets_no_body_whatever_the_app_sends(
    serve: Serve, pieces: tuple[bytes, ...], headers: Any, framing: bytes
) -> None:
    served = await serve(app_that_sends(*pieces, headers=headers))
    head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
    first = b"HTTP/1.1 200 OK\r\nserver: arun\r\n" + framing
    assert await served.talk(head + head.replace(b"Host", b"Connection: close\r\nHost")) == (
        first + b"\r\n" + first + b"connection: close\r\n\r\n"
    )


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_content_have_neither_body_nor_framing(serve: Serve, status: int) -> None:
    served = await serve(app_that_sends(b"hello", status=status, headers=((b"content-length", b"5"),)))
    answer = await served.talk(GET)
    assert answer.endswith(b"\r\nserver: arun\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_transfer_encoding_of_the_app_is_left_out(serve: Serve) -> None:
    """The framing of a message is the server's alone."""
    served = await serve(app_that_sends(b"5\r\nhello\r\n0\r\n\r\n", headers=((b"Transfer-Encoding", b"chunked"),)))
    assert b"ransfer-" not in await served.talk(GET)


async def test_body_shorter_than_its_length_ends_the_connection(serve: Serve) -> None:
    """The next answer can never become the missing part of this one."""
    served = await serve(app_that_sends(b"he", b"l", headers=((b"content-length", b"5"),)))
    answer = await served.talk(GET.replace(b"Connection: close\r\n", b"") * 2)
    assert answer == b"HTTP/1.1 200 OK\r\nserver: arun\r\ncontent-length: 5\r\n\r\nhel"
    assert "2 bytes shorter than its Content-Length" in served.errors[0]


async def test_body_longer_than_its_length_is_cut(serve: Serve) -> None:
    served = await serve(app_that_sends(b"he", b"llo!!", headers=((b"content-length", b"5"),)))
    answer = await served.talk(GET.replace(b"Connection: close\r\n", b"") * 2)
    assert answer == b"HTTP/1.1 200 OK\r\nserver: arun\r\ncontent-length: 5\r\n\r\nhello"
    assert "longer than its Content-Length" in served.errors[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nset-cookie: evil"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x: y\r\nz", b"a"),
        (b"", b"a"),
        (b"a b", b"c"),
        (b"content-length", b"+5"),
        (b"content-length", b"5, 5"),
    ],
)
async def test_header_that_would_split_the_answer_becomes_500(serve: Serve, name: bytes, value: bytes) -> None:
    served = await serve(app_that_sends(b"hello", headers=((name, value),)))
    answer = await served.talk(GET)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"evil" not in answer
    assert len(served.errors) == 1


@pytest.mark.parametrize("status", [100, 101, 99, 1000, "200", None])
async def test_status_that_is_none_of_an_answer_becomes_500(serve: Serve, status: Any) -> None:
    served = await serve(app_that_sends(b"hello", status=status))
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")


async def test_app_that_closes_is_obeyed(serve: Serve) -> None:
    served = await serve(app_that_sends(b"x", headers=((b"connection", b"close"),)))
    answer = await served.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.count(b"connection: close\r\n") == 1


async def test_idle_connection_is_closed_after_keep_alive(serve: Serve) -> None:
    served = await serve(app_that_sends(b"x"), timeout_keep_alive=0.05)
    assert (await served.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"content-length: 1\r\n\r\nx")


async def test_keep_alive_of_nought_closes_after_each_answer(serve: Serve) -> None:
    served = await serve(app_that_sends(b"x"), timeout_keep_alive=0)
    assert b"connection: close" in await served.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


async def test_slow_request_is_not_cut_by_keep_alive(serve: Serve) -> None:
    gate = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        if scope["path"] == "/slow":
            await gate.wait()
        await app_that_sends(b"x")(scope, receive, send)

    served = await serve(app, timeout_keep_alive=0.02)
    reader, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\nx")
    asyncio.get_running_loop().call_later(0.1, gate.set)
    assert (await reader.readuntil(b"\r\n\r\nx")).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_slow_reader_holds_the_app_back(serve: Serve) -> None:
    """An endless answer is written no faster than it is read, and everything written arrives."""
    sent = 0

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        nonlocal sent
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 65536

    served = await serve(app)
    reader, writer = await served.connect()
    writer.write(GET)
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
