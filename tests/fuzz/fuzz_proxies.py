"""Any text as what a proxy says of its client: an IP address and a scheme come out, or nothing.

Run by ``make fuzz``; needs the dependency group ``fuzz``. The first byte of an input chooses who is trusted.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address

import atheris

with atheris.instrument_imports(include=["arun"]):
    from arun.http.forwarded import TrustedPeers, scheme

_PEERS = (TrustedPeers("*"), TrustedPeers(("10.0.0.0/8", "::1", "fe80::/10")))


def one_input(data: bytes) -> None:
    """Read the fields that an input holds, and look at a peer of that name."""
    peers, text = _PEERS[data[0] % 2 if data else 0], data[1:].decode("latin-1")
    client = peers.client(text)
    if client is not None:
        ip_address(client)
    if scheme(text) not in {"http", "https", None}:
        raise AssertionError(text)
    peers.trusts(text)


def main() -> None:
    """Fuzz until libFuzzer's arguments say stop."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
