"""What is refused, for every kind of app, and that nothing of it is ever run as a request (RFC 9110, RFC 9112)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.engines.apps import PATIENCE
from tests.engines.wire import CHUNKED, HELLO, LAST, responses, statuses

Serve = Any
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"

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
    "coding that ends nowhere": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "bare line feeds": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "folded field": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
    "space before the colon": (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    "control byte in a value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"),
    "NUL bytes": (400, b"\0\0\0"),
    "long line": (414, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "line that is a little long": (414, b"GET /" + b"x" * 8180 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "endless line": (414, b"GET /" + b"x" * 100_000),
    "long field": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n"),
    "endless field": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000),
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
    good = HELLO.replace(b"/ ", b"/1 ", 1) + HELLO.replace(b"/ ", b"/2 ", 1)
    first, second, refusal = responses(await served.talk(good + raw + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert (first.body, second.body, refusal.status) == (b"GET /1? ", b"GET /2? ", status)
    assert b"connection" not in second.fields
    assert refusal.fields[b"connection"] == b"close"
    assert re.fullmatch(rb"[A-Z][A-Za-z -]+\n", refusal.body)
    assert served.errors == []


@pytest.mark.parametrize("case", REFUSED)
async def test_broken_request_in_small_pieces_is_refused_alike(serve_app: Serve, case: str) -> None:
    status, raw = REFUSED[case]
    served = await serve_app()
    size = max(1, len(raw) // 40)
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert statuses(await served.talk(*pieces)) == [status]


BROKEN_BODIES = {
    "no chunk": b"zz\r\n",
    "chunk that is longer than it says": b"3\r\nabcXX0\r\n\r\n",
    "bare line feeds": b"3\nabc\n",
    "100 kB of extension": b"1;" + b"x" * 100_000,
    "32 MiB of extension": b"1;" + b"x" * (32 << 20),
    "endless trailers": b"0\r\n" + b"X: x\r\n" * 100_000,
    "endless trailer": b"0\r\nX: " + b"x" * 1_000_000,
    "empty extensions": b"1;\r\nx\r\n" + b"1;" + b";" * 200_000,
}


@pytest.mark.parametrize("case", BROKEN_BODIES)
async def test_body_with_broken_or_endless_framing_is_refused(serve_app: Serve, case: str) -> None:
    served = await serve_app()
    assert statuses(await served.talk(CHUNKED + BROKEN_BODIES[case])) == [400]
    assert statuses(await served.talk(CHUNKED, BROKEN_BODIES[case])) == [400]
    assert served.errors == []


async def test_half_closed_client_that_owes_a_body_is_refused(serve_app: Serve) -> None:
    served = await serve_app()
    assert statuses(await served.talk(POST % 5 + b"abc", half_close=True)) == [400]
    assert served.errors == []


async def test_first_packet_of_three_bytes_begins_a_head(serve_app: Serve) -> None:
    served = await serve_app(timeout_header=0.3)
    assert statuses(await served.talk(b"GET")) == [408]
    assert statuses(await served.talk(b"GET", b"\r\n / HTTP/1.1\r\nHost: a\r\n\r\n")) == [400]
    assert statuses(await served.talk(b"GET", LAST[3:])) == [200]


# ---- sizes that the options say


SIZES = {
    "limit_request_line": 30,
    "limit_request_fields": 3,
    "limit_request_field_size": 20,
    "limit_request_head": 1024,
}


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        (b"GET /123456789012345 HTTP/1.1", b"", 200),
        (b"GET /12345678901234567 HTTP/1.1", b"", 414),
        (b"GET / HTTP/1.1", b"A: b\r\nX: 1234567890123456789\r\n", 200),
        (b"GET / HTTP/1.1", b"A: b\r\nX: 12345678901234567890\r\n", 431),
        (b"GET / HTTP/1.1", b"A: b\r\nX: 1\r\nX: 2\r\n", 431),
    ],
)
async def test_sizes_of_a_head_are_limited_as_the_options_say(
    serve_app: Serve, line: bytes, fields: bytes, status: int
) -> None:
    served = await serve_app(**SIZES)
    assert statuses(await served.talk(line + b"\r\nHost: a\r\n" + fields + b"\r\n", half_close=True)) == [status]


async def test_limits_of_nought_limit_nothing_but_the_whole_head(serve_app: Serve) -> None:
    served = await serve_app(**dict.fromkeys(SIZES, 0) | {"limit_request_head": 30_000, "limit_request_body": 0})
    wide = b"".join(b"X%d: %b\r\n" % (number, b"x" * 50) for number in range(300))
    raw = await served.talk(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n" + wide + b"\r\n", half_close=True)
    assert statuses(raw) == [200]


async def test_body_beyond_the_limit_is_refused_however_it_comes(serve_app: Serve) -> None:
    served = await serve_app(limit_request_body=10)
    assert statuses(await served.talk(POST % 10 + b"0123456789" + LAST)) == [200, 200]
    assert statuses(await served.talk(POST % 11 + b"0123456789a")) == [413]
    assert statuses(await served.talk(CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n" + LAST)) == [200, 200]
    for rest in (b"", b"0\r\n\r\n"):
        assert statuses(await served.talk(CHUNKED, b"a\r\n0123456789\r\n", b"1\r\nx\r\n" + rest)) == [413]
    expecting = (POST % 11).replace(b"Host: a", b"Host: a\r\nExpect: 100-continue")
    assert statuses(await served.talk(expecting)) == [413]
    assert served.errors == []


async def test_garbage_and_slow_clients_leave_it_serving(serve_app: Serve) -> None:
    served = await serve_app(timeout_header=0.5, timeout_keep_alive=1000.0)
    slow = [await served.connect() for _ in range(100)]
    for number, (_, writer) in enumerate(slow):
        writer.write((b"GET / HT", POST % 5 + b"a", HELLO[:-1], b"")[number % 4])
    for number in range(200):
        _, writer = await served.connect()
        writer.write(bytes((number * 7 + place * 13) % 256 for place in range(200)))
        if number % 2:
            writer.transport.abort()
        else:
            writer.close()
    assert statuses(await asyncio.wait_for(served.talk(LAST), PATIENCE)) == [200]
    assert served.errors == []
    for _, writer in slow:
        writer.close()
