"""What an ASGI app gets from ``send`` passes for the coroutine that most servers return, in whatever way it is awaited."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from typing import Any

import pytest

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
BODY = {"type": "http.response.body", "body": b"fine"}


async def by_task(sent: Any) -> None:
    await asyncio.create_task(sent)


async def by_future(sent: Any) -> None:
    await asyncio.ensure_future(sent)


async def by_gather(sent: Any) -> None:
    await asyncio.gather(sent, asyncio.sleep(0))


async def by_time_limit(sent: Any) -> None:
    await asyncio.wait_for(sent, 5)


async def by_shield(sent: Any) -> None:
    await asyncio.shield(sent)


async def by_group(sent: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sent)


async def by_hand(sent: Any) -> None:
    assert asyncio.iscoroutine(sent)
    with contextlib.suppress(StopIteration):
        sent.send(None)
    sent.close()


async def if_awaitable(sent: Any) -> None:
    assert inspect.isawaitable(sent)
    await sent


WAYS = [by_task, by_future, by_gather, by_time_limit, by_shield, by_group, by_hand, if_awaitable]
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
async def test_response_goes_out_in_whatever_way_send_is_awaited(serve: Serve, way: Any) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await way(send(START))
        await way(send(BODY))

    served = await serve(app)
    answer = await served.talk(GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nfine")
    assert not served.errors


@each_way
async def test_error_of_send_is_raised_where_it_is_awaited(serve: Serve, way: Any) -> None:
    raised: list[BaseException] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        for wrong in (
            BODY,
            {"type": "nonsense"},
            {"type": 5},
            {},
            {**START, "status": "200"},
            {**START, "headers": [(b"a b", b"")]},
        ):
            sent = send(wrong)  # here nothing is raised
            try:
                await way(sent)
            except* (RuntimeError, KeyError) as group:
                raised.extend(group.exceptions)
        await send(START)
        await send(BODY)

    served = await serve(app)
    assert (await served.talk(GET)).endswith(b"\r\n\r\nfine")
    assert [type(error).__name__ for error in raised] == [
        "ResponseInvalid",
        "ResponseInvalid",
        "ResponseInvalid",
        "KeyError",
        "ResponseInvalid",
        "ResponseInvalid",
    ]


async def test_traceback_of_a_wrong_event_names_the_line_that_sent_it(serve: Serve) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send(BODY)  # too early

    served = await serve(app)
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert "await send(BODY)  # too early" in served.errors[0]
    assert "begins with its status" in served.errors[0]


async def test_one_send_is_awaited_again_and_thrown_into(serve: Serve) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        sent = send(START)
        with pytest.raises(ZeroDivisionError):
            sent.throw(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError, match="old"):
            sent.throw(ZeroDivisionError, ZeroDivisionError("old"), None)
        await sent
        await functools.partial(send, BODY)()

    served = await serve(app)
    assert (await served.talk(GET)).endswith(b"\r\n\r\nfine")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_body_may_be_of_any_kind_of_bytes(serve: Serve, kind: Any) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [[b"x-list", b"1"]]})
        await send({"type": "http.response.body", "body": kind(b"fi"), "more_body": 1})
        await send({"type": "http.response.body", "body": kind(b"ne")})

    served = await serve(app)
    answer = await served.talk(GET)
    assert b"x-list: 1\r\n" in answer
    assert answer.endswith(b"2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n")


async def test_stream_to_a_fast_reader_lets_others_have_their_turn(serve: Serve) -> None:
    turns: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        asyncio.get_running_loop().call_soon(turns.append, "other")
        for _ in range(3000):
            await send({"type": "http.response.body", "body": b".", "more_body": True})
        turns.append("streamed")
        await send({"type": "http.response.body", "body": b""})

    served = await serve(app)
    await served.talk(GET)
    assert turns == ["other", "streamed"]
