"""WSGI by PEP 3333, over real sockets and real threads."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Serve = Any
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nserver: arun\r\n"


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"he", b"llo"]


async def test_app_that_the_validator_of_the_standard_library_watches(serve_wsgi: Serve) -> None:
    """A conforming server passes each check of wsgiref.validate in both directions."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(100)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body.upper()]

    served = await serve_wsgi(validator(app))
    raw = await served.talk(
        b"POST /a%20b?c HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
        b"Connection: close\r\n\r\nabc"
    )
    assert served.errors == []
    assert raw.endswith(b"\r\n\r\n3\r\nABC\r\n0\r\n\r\n")


async def test_list_of_pieces_is_one_answer_with_its_length(serve_wsgi: Serve) -> None:
    served = await serve_wsgi(hello)
    assert await served.talk(GET) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nserver: arun\r\n"
        b"content-length: 5\r\nconnection: close\r\n\r\nhello"
    )


async def test_reason_of_the_app_is_sent(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
        start_response("200 Very Well", [])
        return []

    assert (await (await serve_wsgi(app)).talk(GET)).startswith(b"HTTP/1.1 200 Very Well\r\n")


async def test_environ_is_complete_and_safe(serve_threads: Serve) -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.update(environ)
        return hello(environ, start_response)

    served = await serve_threads(app, root_path="/root", threads=1)
    await served.talk(
        b"POST /root/a%C3%A9?q=1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\nContent-Type: x/y\r\nX-A: 1\r\nX-A: 2\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nX_A: forged\r\nProxy: evil\r\nConnection: close\r\n\r\n"
    )
    plain = {key: value for key, value in seen.items() if isinstance(value, (str, bool, tuple))}
    del plain["REMOTE_PORT"]
    assert plain == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/root",
        "PATH_INFO": "/a\xc3\xa9",
        "QUERY_STRING": "q=1",
        "REQUEST_URI": "/root/a%C3%A9?q=1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(served.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "arun",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": "0",
        "CONTENT_TYPE": "x/y",
        "HTTP_HOST": "a:1",
        "HTTP_X_A": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_CONNECTION": "close",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


@pytest.mark.parametrize(
    ("root", "sent", "script_name", "path_info"),
    [
        ("/café", "/caf%C3%A9/x", "/caf\xc3\xa9", "/x"),
        ("/café", "/x", "/caf\xc3\xa9", "/x"),
        ("/my app", "/my%20app/x%20y", "/my app", "/x y"),
        ("/my app", "/my%20appx", "/my app", "/my appx"),
        ("/api", "/%61pi/x", "/api", "/x"),
        ("/api", "/api", "/api", ""),
        ("/api", "/api/", "/api", "/"),
        ("/api", "/apix", "/api", "/apix"),
        ("", "/x", "", "/x"),
    ],
)
async def test_script_name_and_path_info_are_decoded_bytes_in_latin_1(
    serve_wsgi: Serve, root: str, sent: str, script_name: str, path_info: str
) -> None:
    """PEP 3333, "Unicode Issues"."""
    seen: list[tuple[str, str]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"]))
        return hello(environ, start_response)

    served = await serve_wsgi(app, root_path=root)
    await served.talk(GET.replace(b" / ", f" {sent} ".encode()))
    assert seen == [(script_name, path_info)]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 16\r\n\r\none\ntwo\n\nthree!\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\non\r\ne\r\ne\ntwo\n\nthree!\n\r\n0\r\n\r\n",
    ],
    ids=["length", "chunks"],
)
async def test_input_is_a_file_of_the_body(serve_wsgi: Serve, framing: bytes) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        start_response("200 OK", [])
        parts = [
            body.readline(),
            body.read(2),
            body.readline(1),
            body.readline(),
            body.readlines(),
            [body.read(), body.read(5)],
        ]
        return [repr(parts).encode()]

    served = await serve_wsgi(app)
    raw = await served.talk(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + framing)
    assert raw.endswith(rb"[b'one\n', b'tw', b'o', b'\n', [b'\n', b'three!\n'], [b'', b'']]")


async def test_large_body_passes_through_in_both_directions(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", environ["CONTENT_LENGTH"])])
        while piece := environ["wsgi.input"].read(100_000):
            yield piece

    served = await serve_wsgi(app)
    body = bytes(range(251)) * 20_000
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    raw = await asyncio.wait_for(reader.read(), 10)
    assert raw.partition(b"\r\n\r\n")[2] == body
    writer.close()


async def test_generator_is_sent_piece_by_piece(serve_threads: Serve) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:  # noqa: ARG001
        start_response("200 OK", [])
        yield b""
        yield b"first"
        gate.wait(5)
        yield b"second"

    served = await serve_threads(app)
    reader, writer = await served.connect()
    writer.write(GET)
    assert (await reader.readuntil(b"first\r\n")).endswith(
        b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nfirst\r\n"
    )
    gate.set()
    assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"
    writer.close()


async def test_write_callable_sends_before_the_iterable(serve_wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"ab")
        return [b"cd"]

    assert (await (await serve_wsgi(app)).talk(GET)).endswith(b"\r\n\r\nabcd")


async def test_head_request_gets_the_head_alone(serve_wsgi: Serve) -> None:
    assert (await (await serve_wsgi(hello)).talk(GET.replace(b"GET", b"HEAD"))).endswith(
        b"content-length: 5\r\nconnection: close\r\n\r\n"
    )


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_what_is_like_bytes_is_sent(serve_wsgi: Serve, kind: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[Any]:  # noqa: ARG001
        write = start_response("200 OK", [["Content-Length", "6"]], ())
        write(kind(b"old"))
        yield kind(b"new")

    assert (await (await serve_wsgi(app)).talk(GET)).endswith(b"\r\n\r\noldnew")


async def test_the_engine_has_no_more_attributes_than_cpython_looks_up_fast(serve_wsgi: Serve) -> None:
    served = await serve_wsgi(hello)
    attributes = getattr(served.engine, "__dict__", {})  # a compiled one has none
    assert len(attributes) <= 30, "CPython 3.11 keeps more in a dict, and each look costs every request"
