"""Whose word about the client counts."""

from __future__ import annotations

from typing import Any

import pytest

from arun.http.forwarded import TrustedPeers, scheme

Serve = Any


def test_nobody_is_trusted_by_default() -> None:
    peers = TrustedPeers(())
    assert not peers
    assert not peers.trusts("127.0.0.1")
    assert not peers.trusts(None)


def test_unix_peer_is_trusted_as_soon_as_anybody_is() -> None:
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


def test_first_address_counts_when_everybody_is_trusted() -> None:
    assert TrustedPeers("*").client("9.9.9.9, 1.1.1.1") == "9.9.9.9"


@pytest.mark.parametrize(
    ("value", "said"),
    [("https", "https"), ("HTTP", "http"), ("http, https", "https"), ("javascript", None), ("", None)],
)
def test_scheme_is_one_of_http(value: str, said: str | None) -> None:
    assert scheme(value) == said
