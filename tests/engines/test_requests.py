"""How requests are read: order, pieces, bodies, and what is refused (RFC 9110, RFC 9112)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

Serve = Any
CLOSE = b"Connection: close\r\n"


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with what was understood of the request, and its body."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        more = event["more_body"]
    text = f"{scope['method']} {scope['path']}?{scope['query_string'].decode()} ".encode() + body
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text})


async def ignore(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
    """Answer without a look at the body."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ignored"})


def answers(raw: bytes) -> list[bytes]:
    """The bodies of the answers in a conversation."""
    bodies = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        bodies.append(raw[:length])
        raw = raw[length:]
    return bodies


PAIR = (
    b"POST /a?b=c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    b"\r\nPOST /%C3%A9 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
)


async def test_pipelined_pair_is_answered_alike_wherever_its_bytes_are_split(serve: Serve) -> None:
    served = await serve(echo)
    for place in range(1, len(PAIR)):
        reader, writer = await served.connect()
        writer.write(PAIR[:place])
        await asyncio.sleep(0.001)
        writer.write(PAIR[place:])
        assert answers(await reader.read()) == [b"POST /a?b=c abcde", "POST /é? hi".encode()], place
        writer.close()


async def test_request_that_comes_byte_by_byte_is_understood(serve: Serve) -> None:
    served = await serve(echo)
    reader, writer = await served.connect()
    for byte in PAIR:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert answers(await reader.read()) == [b"POST /a?b=c abcde", "POST /é? hi".encode()]
    writer.close()


async def test_many_pipelined_requests_are_answered_in_their_order(serve: Serve) -> None:
    served = await serve(echo)
    flood = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3000))
    raw = await served.talk(flood + b"GET /last HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n")
    assert answers(raw) == [b"GET /%d? " % number for number in range(3000)] + [b"GET /last? "]


async def test_pipelined_requests_never_run_at_the_same_time(serve: Serve) -> None:
    running = 0

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal running
        assert scope["type"] == "http"
        running += 1
        assert running == 1
        await asyncio.sleep(0.005)
        running -= 1
        await ignore(scope, receive, send)

    served = await serve(app)
    raw = await served.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5 + b"GET / HTTP/1.0\r\n\r\n")
    assert answers(raw) == [b"ignored"] * 6


async def test_nothing_after_a_request_with_close_is_answered(serve: Serve) -> None:
    served = await serve(echo)
    raw = await served.talk(b"GET /1 HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answers(raw) == [b"GET /1? "]


async def test_half_closed_client_is_answered(serve: Serve) -> None:
    served = await serve(echo)
    raw = await served.talk(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", half_close=True)
    assert answers(raw) == [b"GET /1? ", b"GET /2? "]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
async def test_upload_of_any_size_arrives_whole(serve: Serve, size: int) -> None:
    served = await serve(echo)
    body = bytes(range(256)) * (size // 256 + 1)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % size
    raw = await served.talk(head + CLOSE + b"\r\n" + body[:size])
    assert answers(raw) == [b"POST /? " + body[:size]]


async def test_slow_app_holds_the_client_back(serve: Serve) -> None:
    """An endless upload is taken no faster than the app reads, and all of it arrives in order."""
    gate, enough, got = asyncio.Event(), asyncio.Event(), 0

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        nonlocal got
        assert scope["type"] == "http"
        await gate.wait()
        while (event := await receive())["type"] == "http.request":
            got += len(event["body"])
            if got > sent // 2:
                enough.set()

    served, sent = await serve(app), 0
    _, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    with contextlib.suppress(TimeoutError):
        while sent < 50_000_000:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await asyncio.wait_for(writer.drain(), 0.2)
    assert sent < 50_000_000
    gate.set()
    await asyncio.wait_for(writer.drain(), 5)
    await asyncio.wait_for(enough.wait(), 5)
    writer.close()


async def test_unread_body_does_not_become_the_next_request(serve: Serve) -> None:
    served = await serve(ignore)
    hidden = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
    first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    raw = await served.talk(first, hidden, b"GET / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n")
    assert answers(raw) == [b"ignored"] * 2


async def test_answer_survives_a_large_body_that_nobody_reads(serve: Serve) -> None:
    """The client gets the answer although it is still sending, and the connection ends soon."""
    served = await serve(ignore)
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
    writer.write(b"x" * 2_000_000)
    assert answers(await asyncio.wait_for(reader.read(), 5)) == [b"ignored"]
    writer.close()


async def test_continue_is_sent_when_the_app_first_reads(serve: Serve) -> None:
    served = await serve(echo)
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n" + CLOSE + b"\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hi")
    assert answers(await reader.read()) == [b"POST /? hi"]
    writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    ],
    ids=["HTTP/1.0", "body is here"],
)
async def test_continue_is_not_sent_where_nobody_waits_for_it(serve: Serve, request_: bytes) -> None:
    served = await serve(echo)
    assert answers(await served.talk(request_)) == [b"POST /? hi"]


async def test_connection_is_not_used_again_when_the_client_may_still_send_the_expected_body(serve: Serve) -> None:
    served = await serve(ignore)
    raw = await served.talk(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    assert b"connection: close\r\n" in raw
    assert b"100 Continue" not in raw


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n", b""),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5\r\n", b"hello"),
        (b"Upgrade: websocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
async def test_upgrade_that_is_not_taken_is_a_plain_request_with_its_body(
    serve: Serve, head: bytes, body: bytes
) -> None:
    served = await serve(echo)
    first = b"POST /up HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n" + body
    raw = await served.talk(first + b"GET /next HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n")
    assert answers(raw) == [b"POST /up? " + (b"hello" if body else b""), b"GET /next? "]
    raw = await served.talk(*(bytes((byte,)) for byte in first), b"GET /next HTTP/1.0\r\n\r\n")
    assert answers(raw) == [b"POST /up? " + (b"hello" if body else b""), b"GET /next? "]


async def test_absolute_form_is_understood_and_replaces_host(serve: Serve) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        text = json.dumps(
            [scope["path"], scope["query_string"].decode(), [value.decode() for _, value in scope["headers"]]]
        )
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    served = await serve(app)
    for target, path, query in ((b"/x?y", "/x", "y"), (b"?y", "/", "y"), (b"", "/", "")):
        raw = await served.talk(b"GET HTTP://real:81%b HTTP/1.1\r\nHost: other\r\n%b\r\n" % (target, CLOSE))
        assert json.loads(answers(raw)[0]) == [path, query, ["real:81", "close"]]


async def test_app_is_told_when_the_client_goes(serve: Serve) -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        seen.put_nowait(await receive())
        seen.put_nowait(await receive())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.005)
        except OSError as exc:
            seen.put_nowait(type(exc).__name__)
            raise

    served = await serve(app)
    _, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await seen.get())["type"] == "http.request"
    writer.transport.abort()
    assert await seen.get() == {"type": "http.disconnect"}
    assert await seen.get() == "ClientDisconnected"
    await served.stop()
    assert served.errors == []
