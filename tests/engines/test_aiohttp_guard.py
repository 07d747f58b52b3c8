"""aiohttp apps under attack: what aiohttp's own server lets through, takes for ever or spoils, arun does not."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.engines.conftest import aiohttp_server

if TYPE_CHECKING:
    from collections.abc import Callable

Serve = Any
PATIENCE = 10
HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def echo(request: web.Request) -> web.Response:
    """Answer with what was understood of the request, and its body."""
    body = await request.read()
    return web.Response(body=f"{request.method} {request.path_qs} ".encode() + body)


@pytest.fixture
async def serve_app(serve: Serve) -> Callable[..., Any]:
    """Serve a handler for every method and path; limits by name."""

    async def start(handler: Any = echo, *, limits: dict[str, Any] | None = None, **options: Any) -> Any:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", handler)
        return await serve(app, aiohttp_server, **(limits or {}), **options)

    return start


def answers(raw: bytes) -> list[tuple[int, bytes]]:
    """Status and body of the answers in a conversation, each with a Content-Length."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n]+(?:\r\n[!-9;-~]+: [^\r\n]*)*", head)
        assert match, head
        told = re.search(rb"\r\ncontent-length: (\d+)", head)
        length = int(told[1]) if told else 0
        found.append((int(match[1]), raw[:length]))
        raw = raw[length:]
    return found


async def until(found: Callable[[], Any]) -> Any:
    """Wait until something is true and return it."""
    async with asyncio.timeout(PATIENCE):
        while not (result := found()):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0)
    return result


REFUSED = {
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "two hosts in 1.0": (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with a user": (400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "host with a space": (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "host with a bad port": (400, b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "host with an open bracket": (400, b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    "host that is not ASCII": (400, b"GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n"),
    "fragment": (400, b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "foreign scheme": (400, b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "user in the target": (400, b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "star of a GET": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "connect": (501, b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    "unknown method": (400, b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "method in small letters": (400, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "version 2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "version 0.9": (505, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    "version 1.2": (400, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "length and chunks": (
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunks and length": (
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ),
    "empty coding and length": (
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc",
    ),
    "empty coding": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    "chunks in 1.0": (400, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "signed length": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"),
    "coding we do not know": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "bare line feeds": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "folded field": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
    "space before the colon": (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    "control byte in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"),
    "long line": (414, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "line that is a little long": (414, b"GET /" + b"x" * 8180 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "endless line": (414, b"GET /" + b"x" * 100_000),
    "long field": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n"),
    "many fields": (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 101 + b"\r\n"),
    "long head": (
        431,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: %b\r\n" % (n, b"x" * 8000) for n in range(9)) + b"\r\n",
    ),
    "long body": (413, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741825\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_broken_request_is_refused_after_the_good_ones_and_nothing_behind_it_runs(
    serve_app: Serve, case: str
) -> None:
    status, raw = REFUSED[case]
    served = await serve_app()
    answer = await served.talk(HELLO + raw + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    (good, _), (refused, text) = answers(answer)
    assert (good, refused) == (200, status)
    assert answer.count(b"\r\nconnection: close\r\n") == 1
    assert re.fullmatch(rb"[A-Z][A-Za-z -]+\n", text)
    assert served.errors == []


@pytest.mark.parametrize("case", REFUSED)
async def test_broken_request_in_small_pieces_is_refused_alike(serve_app: Serve, case: str) -> None:
    status, raw = REFUSED[case]
    served = await serve_app()
    size = max(1, len(raw) // 40)
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert [one[0] for one in answers(await served.talk(*pieces))] == [status]


@pytest.mark.parametrize(
    ("request_line", "fields"),
    [(b"GET http://b/x?y HTTP/1.1", b"Host: a\r\n"), (b"GET /x?y HTTP/1.0", b""), (b"GET /x?y HTTP/1.1", b"Host:\r\n")],
)
async def test_odd_but_valid_request_is_served(serve_app: Serve, request_line: bytes, fields: bytes) -> None:
    served = await serve_app()
    raw = await served.talk(request_line + b"\r\n" + fields + b"Connection: close\r\n\r\n")
    assert answers(raw) == [(200, b"GET /x?y ")]


async def test_options_of_the_server_are_answered(serve_app: Serve) -> None:
    served = await serve_app()
    raw = await served.talk(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answers(raw)[0][0] in {200, 404}
    assert served.errors == []


async def test_client_of_http_1_0_is_answered_with_our_version_and_without_chunks(serve_app: Serve) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"streamed")
        return response

    served = await serve_app(stream)
    raw = await served.talk(b"GET / HTTP/1.0\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in raw
    assert raw.endswith(b"\r\n\r\nstreamed")


async def test_pipelined_requests_are_answered_in_order_whatever_their_number(serve_app: Serve) -> None:
    async def uneven(request: web.Request) -> web.Response:
        if int(request.path[1:]) % 7 == 0:
            await asyncio.sleep(0)
        return web.Response(text=request.path + await request.text())

    served = await serve_app(uneven)
    requests = b"".join(
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
        if number % 3
        else b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" % number
        for number in range(500)
    )
    raw = await served.talk(requests + b"GET /500 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    expected = [b"/%d%b" % (number, b"" if number % 3 else b"ab") for number in range(500)]
    assert [body for _, body in answers(raw)] == [*expected, b"/500"]


async def test_client_that_pipelines_without_end_is_made_to_wait(serve_app: Serve) -> None:
    gate = asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    served = await serve_app(wait)
    client = socket.create_connection(("127.0.0.1", served.port))
    client.setblocking(False)
    client.send(HELLO * 2000)
    connections = await until(lambda: [one for one in served.engine.connections if one.parser.paused])
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(connections[0]._queue) <= 16_384 // len(HELLO)  # what is parsed at once
    client.close()
    gate.set()


@pytest.mark.parametrize("split", [1, 2, 3, 5, 11])
async def test_chunked_body_is_read_however_it_is_split(serve_app: Serve, split: int) -> None:
    served = await serve_app()
    raw = CHUNKED + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n" + LAST
    pieces = [raw[start : start + split] for start in range(0, len(raw), split)]
    assert answers(await served.talk(*pieces)) == [(200, b"POST / abcde"), (200, b"GET / ")]


BROKEN_BODIES = {
    "no chunk": b"zz\r\n",
    "chunk that is longer than it says": b"3\r\nabcXX0\r\n\r\n",
    "bare line feeds": b"3\nabc\n",
    "32 MiB of extension": b"1;" + b"x" * (32 << 20),
    "endless trailers": b"0\r\n" + b"X: x\r\n" * 100_000,
    "endless trailer": b"0\r\nX: " + b"x" * 1_000_000,
    "empty extensions": b"1;\r\nx\r\n" + b"1;" + b";" * 200_000,
}


@pytest.mark.parametrize("case", BROKEN_BODIES)
async def test_body_with_broken_or_endless_framing_is_refused(serve_app: Serve, case: str) -> None:
    served = await serve_app()
    reader, writer = await served.connect()
    writer.write(CHUNKED + BROKEN_BODIES[case])
    raw = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert [one[0] for one in answers(raw)] == [400]
    assert served.errors == []


async def test_small_chunks_are_no_attack(serve_app: Serve) -> None:
    served = await serve_app()
    raw = await served.talk(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n" + LAST)
    assert answers(raw) == [(200, b"POST / " + b"x" * 50_000), (200, b"GET / ")]


async def test_chunked_body_is_refused_when_it_exceeds_the_limit(serve_app: Serve) -> None:
    served = await serve_app(limits={"limit_request_body": 10})
    assert answers(await served.talk(CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n" + LAST))[0][0] == 200
    for rest in (b"", b"0\r\n\r\n"):
        raw = await served.talk(CHUNKED, b"a\r\n0123456789\r\n", b"1\r\nx\r\n" + rest)
        assert [one[0] for one in answers(raw)] == [413]


async def test_body_that_unpacks_to_more_than_the_limit_is_refused(serve_app: Serve) -> None:
    import gzip

    served = await serve_app(limits={"limit_request_body": 100_000})
    packed = gzip.compress(bytes(1_000_000))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert [one[0] for one in answers(await served.talk(head + packed))] == [413]
    broken = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    assert [one[0] for one in answers(await served.talk(broken, half_close=True))] == [400]
    assert served.errors == []


# ---- answers


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer as the query says: status, announced length, and what is written."""
    asked = request.query
    response = web.StreamResponse(status=int(asked.get("status", 200)))
    if "length" in asked:
        response.content_length = int(asked["length"])
    await response.prepare(request)
    for piece in asked.getall("write", ()):
        await response.write(piece.encode())
    await response.write_eof(asked.get("last", "").encode())
    return response


@pytest.mark.parametrize(
    ("method", "query"),
    [
        (b"HEAD", b"write=abc"),
        (b"HEAD", b"length=3&write=abc"),
        (b"HEAD", b"length=3&last=abc"),
        (b"HEAD", b"last=abc"),
        (b"GET", b"status=204&write=abc&last=d"),
        (b"GET", b"status=304&write=abc"),
    ],
)
async def test_answer_without_a_body_has_none_whatever_the_app_writes(
    serve_app: Serve, method: bytes, query: bytes
) -> None:
    served = await serve_app(stream)
    raw = await served.talk(
        b"%b /?%b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, query) + LAST.replace(b"/ ", b"/?length=0 ")
    )
    first, second, end = raw.split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 ")
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert end == b""


@pytest.mark.parametrize("query", [b"length=5&write=abc", b"length=5&last=abc", b"length=5"])
async def test_body_that_is_too_short_ends_its_connection(serve_app: Serve, query: bytes) -> None:
    served = await serve_app(stream)
    raw = await served.talk(b"GET /?%b HTTP/1.1\r\nHost: a\r\n\r\n" % query + HELLO)
    assert raw.count(b"HTTP/1.1") == 1
    assert raw.partition(b"\r\n\r\n")[2] in {b"abc", b""}


@pytest.mark.parametrize("query", [b"length=3&write=abcdef", b"length=3&write=ab&write=cdef", b"length=3&last=abcdef"])
async def test_body_that_is_too_long_is_cut(serve_app: Serve, query: bytes) -> None:
    served = await serve_app(stream)
    raw = await served.talk(b"GET /?%b HTTP/1.1\r\nHost: a\r\n\r\n" % query + LAST.replace(b"/ ", b"/?length=0 "))
    assert answers(raw) == [(200, b"abc"), (200, b"")]


async def test_faulty_answer_is_answered_500_and_told_and_the_client_sees_nothing_of_it(serve_app: Serve) -> None:
    async def faulty(request: web.Request) -> web.StreamResponse:
        if request.path == "/returned":
            return web.Response(text="x", headers={"X": "a\r\nSet-Cookie: evil"})
        if request.path == "/length":
            return web.Response(text="x", headers={"Content-Length": "one"})
        response = web.StreamResponse(headers={"X": "a\nb"})
        await response.prepare(request)
        return response

    served = await serve_app(faulty)
    for number, path in enumerate((b"/returned", b"/length", b"/prepared"), 1):
        (status, text), *rest = answers(await served.talk(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path))
        assert (status, rest) == (500, [])
        assert b"evil" not in text
        assert len(served.errors) == number


async def test_second_answer_to_a_request_is_never_sent(serve_app: Serve) -> None:
    async def twice(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        return web.Response(text="second")

    served = await serve_app(twice)
    raw = await served.talk(HELLO)
    assert raw.endswith(b"\r\n\r\n5\r\nfirst\r\n")
    assert len(served.errors) == 1


async def test_answer_that_breaks_off_does_not_look_complete(serve_app: Serve) -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        raise ValueError("boom")

    served = await serve_app(fail)
    assert (await served.talk(HELLO)).endswith(b"5\r\nbegun\r\n")
    with pytest.raises(ConnectionResetError):  # nothing else tells a client of HTTP/1.0
        await served.talk(b"GET / HTTP/1.0\r\n\r\n")


async def test_server_and_date_are_named_as_the_options_say(serve_app: Serve) -> None:
    async def own(_request: web.Request) -> web.Response:
        return web.Response(headers={"Server": "mine"})

    for handler, options, present, absent in (
        (echo, {}, (b"Server: arun", b"Date: "), ()),
        (echo, {"server_header": False, "date_header": False}, (), (b"Server:", b"Date:")),
        (own, {"server_header": False}, (b"Server: mine", b"Date: "), ()),
    ):
        served = await serve_app(handler, **options)
        reader, writer = await served.connect()
        writer.write(LAST)
        raw = await reader.read()
        writer.close()
        assert all(field in raw for field in present)
        assert not any(field in raw for field in absent)


# ---- the client's side of the connection


async def test_half_closed_client_is_answered(serve_app: Serve) -> None:
    gate = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response(text=request.path)

    served = await serve_app(slow)
    reader, writer = await served.connect()
    writer.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    writer.write_eof()
    await until(lambda: [one for one in served.engine.connections if one.half_closed])
    gate.set()
    raw = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert answers(raw) == [(200, b"/1"), (200, b"/2")]


async def test_half_closed_client_that_owes_a_body_is_told(serve_app: Serve) -> None:
    served = await serve_app()
    raw = await served.talk(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc", half_close=True)
    assert [one[0] for one in answers(raw)] == [400]
    assert served.errors == []


async def test_continue_is_said_to_clients_of_http_1_1_only(serve_app: Serve) -> None:
    served = await serve_app()
    head = b"POST / HTTP/1.%d\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    reader, writer = await served.connect()
    writer.write(head % 1)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert (await reader.read()).endswith(b"POST / abc")
    writer.close()
    assert answers(await served.talk(head % 0 + b"abc")) == [(200, b"POST / abc")]


async def unread(_request: web.Request) -> web.Response:
    return web.Response(text="enough")


async def test_unread_body_is_passed_over_within_a_bound(serve_app: Serve) -> None:
    served = await serve_app(unread)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    raw = await served.talk(post % 100_000, bytes(100_000) + LAST)
    assert answers(raw) == [(200, b"enough"), (200, b"enough")]
    reader, writer = await served.connect()
    writer.write(post % 100_000_000)
    head = await reader.readuntil(b"\r\n\r\n")
    sent = 0
    while not reader.at_eof() and sent < 100_000_000:
        writer.write(bytes(100_000))
        sent += 100_000
        try:
            await asyncio.wait_for(reader.read(10), 0.001)
        except (TimeoutError, ConnectionError):
            continue
    assert b"200 OK" in head
    assert sent < 100_000_000
    writer.close()


async def test_client_that_holds_its_body_back_is_not_waited_for(serve: Serve) -> None:
    async def forbid(_request: web.Request) -> web.Response:
        raise web.HTTPForbidden

    app = web.Application()
    app.router.add_post("/", unread, expect_handler=forbid)
    served = await serve(app, aiohttp_server)
    raw = await served.talk(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 403 ")
    assert b"\r\nconnection: close\r\n" in raw
