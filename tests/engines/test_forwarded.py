"""Forwarding fields: which peers are trusted with them, and the choice between X-Forwarded-For and Forwarded (RFC 7239)."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.wire import LAST, bodies, statuses

from arun.http.forwarded import Forwarding, TrustedPeers, scheme
from arun.http.request import Request

if TYPE_CHECKING:
    from tests.engines.apps import Exchange

Serve = Any
PEERS = TrustedPeers(("10.0.0.0/8",))


# ---- X-Forwarded-For and X-Forwarded-Proto


def test_no_peer_is_trusted_by_default() -> None:
    peers = TrustedPeers(())
    assert not peers
    assert not peers.trusts("127.0.0.1")
    assert not peers.trusts(None)


def test_unix_peer_is_trusted_as_soon_as_another_one_is() -> None:
    assert TrustedPeers(("10.0.0.1",)).trusts(None)
    assert TrustedPeers("*").trusts(None)


@pytest.mark.parametrize("host", ["10.1.2.3", "::1", "::ffff:10.1.2.3", "fe80::1%eth0"])
def test_addresses_and_networks_are_understood(host: str) -> None:
    peers = TrustedPeers(("10.0.0.0/8", "::1", "fe80::/10"))
    assert peers.trusts(host)
    assert not peers.trusts("11.0.0.1")
    assert not peers.trusts("nonsense")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("1.1.1.1", "1.1.1.1"),
        ("9.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("1.1.1.1:5555", "1.1.1.1"),
        ("[2001:db8::1]:5555,10.0.0.2", "2001:db8::1"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ("::FFFF:cb00:7109", "::ffff:203.0.113.9"),
        ("0:0:0:0:0:ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ("[::ffff:203.0.113.9]:5555, ::ffff:10.0.0.2", "::ffff:203.0.113.9"),
        ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("forged, 10.0.0.2", "10.0.0.2"),
        ("unknown", None),
        ("", None),
    ],
)
def test_client_is_the_nearest_that_is_no_trusted_proxy(forwarded_for: str, client: str | None) -> None:
    assert TrustedPeers(("10.0.0.0/8",)).client(forwarded_for) == client


@pytest.mark.parametrize("trusted", ["::ffff:10.1.2.3", "::ffff:10.0.0.0/104", "::ffff:0:0/96", "10.0.0.0/8"])
@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203"])
def test_ipv4_and_its_mapped_form_are_one_address(trusted: str, host: str) -> None:
    assert TrustedPeers((trusted,)).trusts(host)
    assert TrustedPeers((trusted,)).trusts("::ffff:11.0.0.1") is (trusted == "::ffff:0:0/96")


def test_first_address_counts_when_all_peers_are_trusted() -> None:
    assert TrustedPeers("*").client("9.9.9.9, 1.1.1.1") == "9.9.9.9"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("https", "https"), ("HTTP", "http"), ("http, https", "https"), ("javascript", None), ("", None)],
)
def test_scheme_is_one_of_http(value: str, expected: str | None) -> None:
    assert scheme(value) == expected


# ---- Forwarded


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


def test_the_first_client_counts_when_all_peers_are_trusted() -> None:
    assert TrustedPeers("*").forwarded("for=9.9.9.9, for=1.1.1.1") == ("9.9.9.9", None)


@pytest.mark.parametrize(("value", "expected"), [("wss", "https"), ("ws", "http"), ("http,WSS", "https")])
def test_the_scheme_of_a_websocket_is_that_of_its_request(value: str, expected: str) -> None:
    assert scheme(value) == expected


# ---- what apps see

REQUEST = (
    b"GET / HTTP/1.0\r\nHost: shop.test\r\nX-Forwarded-For: 8.8.8.8, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
    b"Forwarded: for=9.9.9.9;proto=https;host=evil.test\r\n\r\n"
)
DIRECT = b"http 127.0.0.1 shop.test"


@pytest.mark.parametrize(
    ("trusted", "header", "seen"),
    [
        ((), "x-forwarded", DIRECT),
        (("192.0.2.1",), "x-forwarded", DIRECT),
        (("127.0.0.0/8",), "x-forwarded", b"https 10.0.0.1 shop.test"),
        (("127.0.0.1", "10.0.0.0/8"), "x-forwarded", b"https 8.8.8.8 shop.test"),
        ("*", "x-forwarded", b"https 8.8.8.8 shop.test"),
        ((), "forwarded", DIRECT),
        (("10.0.0.1",), "forwarded", DIRECT),
        (("127.0.0.1",), "forwarded", b"https 9.9.9.9 shop.test"),
    ],
)
async def test_apps_see_what_the_chosen_field_of_a_trusted_proxy_states(
    serve_app: Serve, trusted: Any, header: str, seen: bytes
) -> None:
    async def tell(exchange: Exchange) -> None:
        await exchange.respond(f"{exchange.scheme} {exchange.client} {exchange.fields['host']}".encode())

    served = await serve_app(tell, forwarded_allow_ips=trusted, forwarded_header=header)
    assert bodies(await served.talk(REQUEST)) == [seen]


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",)])
async def test_malformed_request_is_refused_before_a_proxy_counts(serve_app: Serve, trusted: tuple[str, ...]) -> None:
    served = await serve_app(forwarded_allow_ips=trusted)
    assert statuses(await served.talk(b"\0\0\0\r\n\r\n")) == [400]
    assert served.errors == []


async def test_body_of_a_forwarded_request_arrives(serve_app: Serve) -> None:
    served = await serve_app(forwarded_allow_ips="*")
    post = b"POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nContent-Length: 3\r\n\r\nabc"
    assert bodies(await served.talk(post + LAST)) == [b"POST /? abc", b"GET /? "]


# ---- what is remembered


def forwarding(*trusted: str, header: str = "x-forwarded") -> Forwarding:
    return Forwarding(trusted, header)


def asked(forwarded_for: bytes | None, proto: bytes | None = None, forwarded: bytes | None = None) -> Request:
    sent = ((b"x-forwarded-for", forwarded_for), (b"x-forwarded-proto", proto), (b"forwarded", forwarded))
    fields = [(name, value) for name, value in sent if value is not None]
    request = Request("GET", "1.1", b"/", fields, True)
    request.validate(fields, None)
    return request


def test_what_a_field_means_depends_on_the_field_and_the_trusted_peers_alone() -> None:
    near, far = forwarding("10.0.0.1"), forwarding("10.0.0.1", "1.1.1.1")
    peer = ("10.0.0.1", 1)
    for _ in range(2):
        assert near.ends_of(peer, "http", asked(b"9.9.9.9, 1.1.1.1")) == (("1.1.1.1", 0), "http")
        assert far.ends_of(peer, "http", asked(b"9.9.9.9, 1.1.1.1")) == (("9.9.9.9", 0), "http")
        assert near.ends_of(peer, "http", asked(b"9.9.9.9", b"https")) == (("9.9.9.9", 0), "https")
        assert near.ends_of(peer, "https", asked(b"9.9.9.9", b"http")) == (("9.9.9.9", 0), "http")
        assert near.ends_of(peer, "https", asked(b"9.9.9.9", b"nonsense")) == (("9.9.9.9", 0), "https")
        assert near.ends_of(("10.0.0.2", 1), "http", asked(b"9.9.9.9", b"https")) == (("10.0.0.2", 1), "http")
        assert near.ends_of(peer, "http", asked(b"unknown")) == (peer, "http")
        assert near.ends_of(peer, "http", asked(None, b"https")) == (peer, "https")


def test_forwarded_and_x_forwarded_for_of_one_text_are_not_confused() -> None:
    standard, peer = forwarding("10.0.0.1", header="forwarded"), ("10.0.0.1", 1)
    for _ in range(2):
        request = asked(b"9.9.9.9", b"https", b"for=8.8.8.8")
        assert standard.ends_of(peer, "http", request) == (("8.8.8.8", 0), "http")
        assert forwarding("10.0.0.1").ends_of(peer, "http", request) == (("9.9.9.9", 0), "https")


def test_ever_new_fields_fill_no_memory() -> None:
    known, peer = forwarding("10.0.0.1"), ("10.0.0.1", 1)

    def ask(numbers: range) -> None:
        for number in numbers:
            address = f"9.9.{number >> 8}.{number & 255}"
            request = asked(f"{address}, 9.9.9.9, 10.0.0.1".encode(), b"%d" % number)
            assert known.ends_of(peer, "http", request) == (("9.9.9.9", 0), "http")
            long = asked(b"x" * 100_000 + b"%d, " % number + address.encode())
            assert known.ends_of(peer, "http", long) == ((address, 0), "http")

    tracemalloc.start()
    try:
        ask(range(1500))
        before = tracemalloc.get_traced_memory()[0]
        ask(range(1500, 5000))
        assert tracemalloc.get_traced_memory()[0] - before < 500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "entry", ["01.2.3.4", "1.2.3", "1.2.3.256", "1.2.3.4\0", "0x1.2.3.4", "1.2.3.\u0664", "1..2.3"]
)
def test_what_only_looks_like_an_address_is_none(entry: str) -> None:
    assert PEERS.client(entry) is None
