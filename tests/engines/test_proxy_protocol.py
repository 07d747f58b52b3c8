"""The PROXY protocol, byte by byte: a gate in front of an engine, on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.conftest import aiohttp_server, asgi_server, wsgi_server

from arun.http.forwarded import TrustedPeers
from arun.http.options import HttpOptions
from arun.server.gate import Gate
from arun.server.served_socket import ServedSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arun.http.server import HttpServer

PATIENCE = 10
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = socket.inet_aton("9.8.7.6") + socket.inet_aton("1.2.3.4") + struct.pack("!HH", 5555, 443)
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "::1")
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:203.0.113.9") + socket.inet_pton(socket.AF_INET6, "::ffff:1.2.3.4")
ABSTRACT = b"\0client".ljust(108, b"\0") + b"\0server".ljust(108, b"\0")
UNIX = b"/client".ljust(108, b"\0") + b"/server".ljust(108, b"\0")


def version2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes((0x20 | command, family)) + struct.pack("!H", len(rest)) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's signature
    assert scope["type"] == "http"
    client, server = scope["client"], scope["server"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{scope['scheme']} {client} {server}".encode()})


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    names = ("wsgi.url_scheme", "REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT")
    return [" ".join(environ[name] for name in names).encode()]


def aiohttp_app() -> Any:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.scheme} {request.remote}")

    app = web.Application()
    app.router.add_get("/", hello)
    return app


class Gated:
    """An engine behind a gate that asks for a PROXY header."""

    def __init__(self, engine: HttpServer, **rules: Any) -> None:
        self.engine = engine
        self.proxies = rules.pop("proxies", TrustedPeers(("127.0.0.1",)))
        self.options = HttpOptions(**{"timeout_header": 5.0, **rules})

    async def listen(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        served = ServedSocket(self.listener, self.proxies)
        self.gate = Gate(served, self.options, await self.engine.start())
        self.gate.open()

    async def talk(self, *pieces: bytes) -> bytes:
        """Send the pieces as packets of their own and return all that comes back, nothing if it is refused."""
        reader, writer = await asyncio.open_connection(*self.listener.getsockname())
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            return await asyncio.wait_for(reader.read(), PATIENCE)
        return b""

    async def stop(self) -> None:
        self.gate.close()
        self.listener.close()
        await self.gate.drain(0.1)
        await asyncio.wait_for(self.engine.stop(1.0), PATIENCE)


@pytest.fixture
async def gated() -> AsyncIterator[Any]:
    running: list[Gated] = []

    async def start(engine: HttpServer | None = None, **rules: Any) -> Gated:
        one = Gated(engine or asgi_server(asgi, HttpOptions()), **rules)
        await one.listen()
        running.append(one)
        return one

    yield start
    for one in running:
        await one.stop()


HEADERS = {
    "version 1, IPv4": (b"PROXY TCP4 9.8.7.6 1.2.3.4 5555 443\r\n", "http ('9.8.7.6', 5555) ('1.2.3.4', 443)"),
    "version 1, IPv6": (b"PROXY TCP6 2001:db8::1 ::1 5555 443\r\n", "http ('2001:db8::1', 5555) ('::1', 443)"),
    "version 2, IPv4": (version2(1, 0x11, IPV4), "http ('9.8.7.6', 5555) ('1.2.3.4', 443)"),
    "version 2, IPv6": (
        version2(1, 0x21, IPV6 + struct.pack("!HH", 5555, 443)),
        "http ('2001:db8::1', 5555) ('::1', 443)",
    ),
    "version 1, IPv4-mapped": (
        b"PROXY TCP6 ::ffff:203.0.113.9 ::FFFF:102:304 5555 443\r\n",
        "http ('::ffff:203.0.113.9', 5555) ('::ffff:1.2.3.4', 443)",
    ),
    "version 2, IPv4-mapped": (
        version2(1, 0x21, MAPPED + struct.pack("!HH", 5555, 443)),
        "http ('::ffff:203.0.113.9', 5555) ('::ffff:1.2.3.4', 443)",
    ),
    "version 2, unix, abstract": (version2(1, 0x31, ABSTRACT), "http None ('@server', None)"),
    "version 2, unix": (version2(1, 0x31, UNIX), "http None ('/server', None)"),
    "version 2, of a client with TLS": (
        version2(1, 0x11, IPV4 + tlv(4, b"x" * 9) + tlv(0x20, b"\x01\0\0\0\0")),
        "https ('9.8.7.6', 5555) ('1.2.3.4', 443)",
    ),
    "version 2, of a client without TLS": (
        version2(1, 0x11, IPV4 + tlv(0x20, b"\0\0\0\0\0")),
        "http ('9.8.7.6', 5555) ('1.2.3.4', 443)",
    ),
}
#: The proxy speaks for itself, or for an unknown client: the ends of the socket count.
LOCAL = {
    "version 1, unknown": b"PROXY UNKNOWN\r\n",
    "version 1, unknown with addresses": b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n",
    "version 2, local": version2(0, 0, b""),
    "version 2, local with addresses": version2(0, 0x11, IPV4),
    "version 2, unspecified": version2(1, 0, b"anything"),
}


@pytest.mark.parametrize(("header", "seen"), HEADERS.values(), ids=HEADERS)
async def test_the_app_sees_the_ends_that_the_proxy_tells(gated: Any, header: bytes, seen: str) -> None:
    served = await gated()
    for pieces in ((header + REQUEST,), (header, REQUEST), [bytes((byte,)) for byte in header + REQUEST]):
        answer = await served.talk(*pieces)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert seen.encode() in answer


@pytest.mark.parametrize("header", LOCAL.values(), ids=LOCAL)
async def test_a_connection_of_the_proxys_own_keeps_the_ends_of_the_socket(gated: Any, header: bytes) -> None:
    served = await gated()
    answer = await served.talk(header + REQUEST)
    assert b"http ('127.0.0.1', " in answer
    assert str(served.listener.getsockname()).encode() in answer


@pytest.mark.parametrize(
    "sent",
    [
        REQUEST,
        b"PROXY TCP4 9.8.7.6 1.2.3.4 5555\r\n" + REQUEST,
        b"PROXY TCP4 9.8.7.6 1.2.3.4 5555 443\n" + REQUEST,
        b"PROXY TCP4 9.8.7.6 1.2.3.4 5555 65536\r\n" + REQUEST,
        b"PROXY TCP4 9.8.7.6 1.2.3.4 5555 -1\r\n" + REQUEST,
        b"PROXY TCP4 9.8.7.6 1.2.3.400 5555 443\r\n" + REQUEST,
        b"PROXY TCP4 1.2.3.4\0 1.2.3.4 5555 443\r\n" + REQUEST,
        b"PROXY TCP6 9.8.7.6 1.2.3.4 5555 443\r\n" + REQUEST,
        b"PROXY TCP4  9.8.7.6 1.2.3.4 5555 443\r\n" + REQUEST,
        b"PROXY\r\n" + REQUEST,
        b"PROXY UDP4 9.8.7.6 1.2.3.4 5555 443\r\n" + REQUEST,
        b"PROXY \xff\r\n" + REQUEST,
        b"POST / HTTP/1.1\r\nHost: test\r\n\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        SIGNATURE[:-1] + b"X" + b"\x21\x11\0\x0c" + IPV4 + REQUEST,
        version2(1, 0x11, IPV4[:-1]) + REQUEST,
        version2(2, 0x11, IPV4) + REQUEST,
        SIGNATURE + b"\x11\x11\0\x0c" + IPV4 + REQUEST,
        SIGNATURE + b"\x21\x11\xff\xff" + IPV4 + REQUEST,
        version2(1, 0x11, IPV4 + b"\x20\0\x09x") + REQUEST,
        version2(1, 0x31, UNIX[:-1]) + REQUEST,
    ],
)
async def test_what_is_no_header_is_closed_without_an_answer(gated: Any, sent: bytes) -> None:
    served = await gated()
    assert await served.talk(sent) == b""


@pytest.mark.parametrize("begun", [b"", b"PROXY TC", SIGNATURE, version2(1, 0x11, IPV4)[:-1]])
async def test_a_header_that_does_not_come_is_not_waited_for(gated: Any, begun: bytes) -> None:
    served = await gated(timeout_header=0.1)
    assert await served.talk(begun) == b""


async def test_a_peer_that_is_not_trusted_is_closed_whatever_it_says(
    gated: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    served = await gated(proxies=TrustedPeers(("10.0.0.0/8",)))
    for _ in range(3):
        assert await served.talk(b"PROXY TCP4 9.8.7.6 1.2.3.4 5555 443\r\n" + REQUEST) == b""
    assert capfd.readouterr().err.count("127.0.0.1 may not send one") == 1


async def test_wsgi_and_aiohttp_apps_see_them_too(gated: Any) -> None:
    header = version2(1, 0x11, IPV4 + tlv(0x20, b"\x01\0\0\0\0"))
    for engine, seen in (
        (wsgi_server(wsgi, HttpOptions()), b"https 9.8.7.6 5555 1.2.3.4 443"),
        (aiohttp_server(aiohttp_app(), HttpOptions()), b"https 9.8.7.6"),
    ):
        served = await gated(engine)
        assert (await served.talk(header + REQUEST)).endswith(seen)


async def test_forwarding_headers_are_believed_of_the_client_that_the_proxy_tells(gated: Any) -> None:
    request = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 5.5.5.5\r\n\r\n")
    for peer, seen in (("9.8.7.6", b"('9.8.7.6', 5555)"), ("10.0.0.1", b"('5.5.5.5', 0)")):
        served = await gated(asgi_server(asgi, HttpOptions(forwarded_allow_ips=("127.0.0.1", "10.0.0.1"))))
        assert seen in await served.talk(f"PROXY TCP4 {peer} 1.2.3.4 5555 443\r\n".encode() + request)


async def test_more_connections_than_may_wait_are_served_one_after_the_other(gated: Any) -> None:
    served = await gated(limit_connections=1, timeout_header=0.2)
    silent = await asyncio.open_connection(*served.listener.getsockname())
    with contextlib.closing(silent[1]):
        answers = await asyncio.gather(*(served.talk(b"PROXY UNKNOWN\r\n" + REQUEST) for _ in range(5)))
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
