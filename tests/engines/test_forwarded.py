"""Forwarded (RFC 7239): what is read, what is believed, and that an operator chooses between it and X-Forwarded."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engines.conftest import aiohttp_server

from arun.http.forwarded import TrustedPeers, scheme

Serve = Any
PEERS = TrustedPeers(("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("value", "client", "proto"),
    [
        ("for=9.9.9.9", "9.9.9.9", None),
        ("For=9.9.9.9; Proto=HTTPS ;by=10.0.0.1;host=evil.test", "9.9.9.9", "https"),
        ('for="9.9.9.9:4711"', "9.9.9.9", None),
        ('for="[2001:db8::1]:4711";proto=https', "2001:db8::1", "https"),
        ('for="[2001:db8::1]"', "2001:db8::1", None),
        ('for="[::ffff:203.0.113.9]:4711", for="[::ffff:10.0.0.1]"', "::ffff:203.0.113.9", None),
        (r'for="9.9.\9.9"', "9.9.9.9", None),
        ("for=8.8.8.8;proto=http, for=9.9.9.9;proto=https", "9.9.9.9", "https"),
        ("for=9.9.9.9;proto=https, for=10.0.0.2;proto=http", "9.9.9.9", "https"),
        ("for=10.0.0.3;proto=https,for=10.0.0.2", "10.0.0.3", "https"),
        ("for=8.8.8.8, for=_hidden;proto=https", None, "https"),
        ("for=unknown", None, None),
        ("for=8.8.8.8,for=unknown,for=10.0.0.2", "10.0.0.2", None),
        ("proto=https", None, "https"),
        ("for=9.9.9.9;proto=javascript", "9.9.9.9", None),
        (",, for=9.9.9.9 ,", "9.9.9.9", None),
        ("for=9.9.9.9;", "9.9.9.9", None),
        ('for=8.8.8.8;ext="a, for=7.7.7.7", for=9.9.9.9', "9.9.9.9", None),
        ("", None, None),
        ("nonsense", None, None),
        ("for=1.1.1.1;for=2.2.2.2", None, None),
        ('for="9.9.9.9', None, None),
        ("for =9.9.9.9", None, None),
    ],
)
def test_the_nearest_client_that_is_no_proxy_counts(value: str, client: str | None, proto: str | None) -> None:
    assert PEERS.forwarded(value) == (client, proto)


@pytest.mark.parametrize("sent", ['for="', 'for="x', r'for="x\ '.strip(), "nonsense", "=", 'by="a"b'])
def test_a_client_cannot_swallow_what_the_proxy_adds(sent: str) -> None:
    assert PEERS.forwarded(f"{sent}, for=9.9.9.9;proto=https") == ("9.9.9.9", "https")
    assert PEERS.forwarded(f'{sent}, for="[2001:db8::1]:80";proto=https') == ("2001:db8::1", "https")


def test_the_first_client_counts_when_everybody_is_trusted() -> None:
    assert TrustedPeers("*").forwarded("for=9.9.9.9, for=1.1.1.1") == ("9.9.9.9", None)


@pytest.mark.parametrize(("value", "said"), [("wss", "https"), ("ws", "http"), ("http,WSS", "https")])
def test_the_scheme_of_a_websocket_is_that_of_its_request(value: str, said: str) -> None:
    assert scheme(value) == said


REQUEST = (
    b"GET / HTTP/1.0\r\nHost: shop.test\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: http\r\n"
    b"Forwarded: for=9.9.9.9;proto=https;host=evil.test\r\n\r\n"
)
CHOICES = [
    ({"forwarded_allow_ips": ("127.0.0.1",)}, b"http 8.8.8.8 shop.test"),
    ({"forwarded_allow_ips": ("127.0.0.1",), "forwarded_header": "forwarded"}, b"https 9.9.9.9 shop.test"),
    ({"forwarded_allow_ips": (), "forwarded_header": "forwarded"}, b"http 127.0.0.1 shop.test"),
    ({"forwarded_allow_ips": ("10.0.0.1",), "forwarded_header": "forwarded"}, b"http 127.0.0.1 shop.test"),
]


@pytest.mark.parametrize(("options", "seen"), CHOICES)
async def test_asgi_apps_see_what_the_chosen_header_tells(serve: Serve, options: Any, seen: bytes) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        host = dict(scope["headers"])[b"host"].decode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"{scope['scheme']} {scope['client'][0]} {host}".encode()})

    assert (await (await serve(app, **options)).talk(REQUEST)).endswith(b"\r\n\r\n" + seen)


@pytest.mark.parametrize(("options", "seen"), CHOICES)
async def test_wsgi_apps_see_what_the_chosen_header_tells(serve_wsgi: Serve, options: Any, seen: bytes) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['wsgi.url_scheme']} {environ['REMOTE_ADDR']} {environ['HTTP_HOST']}".encode()]

    assert (await (await serve_wsgi(app, **options)).talk(REQUEST)).endswith(b"\r\n\r\n" + seen)


@pytest.mark.parametrize(("options", "seen"), CHOICES)
async def test_aiohttp_apps_see_what_the_chosen_header_tells(serve: Serve, options: Any, seen: bytes) -> None:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.scheme} {request.remote} {request.host}")

    app = web.Application()
    app.router.add_get("/", hello)
    assert (await (await serve(app, aiohttp_server, **options)).talk(REQUEST)).endswith(b"\r\n\r\n" + seen)
