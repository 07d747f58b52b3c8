"""Whether a proxy's word about its client is believed, and what it then says.

X-Forwarded-For and X-Forwarded-Proto are no standard but what proxies send; RFC 7239 (Forwarded) is not read.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Literal

__all__ = ("TrustedPeers",)

_REMEMBERED = 1024


class TrustedPeers:
    """The peers whose forwarding headers count; a peer on a unix socket counts as soon as any peer does.

    Raises:
        ValueError: one of the texts is no IP address and no network.
    """

    __slots__ = ("_everybody", "_known", "_networks", "_texts")

    def __init__(self, trusted: tuple[str, ...] | Literal["*"]) -> None:
        self._everybody = trusted == "*" or "*" in trusted
        self._texts = () if self._everybody else tuple(trusted)
        self._networks: tuple[IPv4Network | IPv6Network, ...] | None = None
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return self._everybody or bool(self._texts)

    def trusts(self, host: str | None) -> bool:
        """Say whether the peer with this IP address (``None``: a unix socket) is trusted."""
        if self._everybody or host is None:
            return bool(self)
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[host] = self._contains(host)
        return known

    def client(self, forwarded_for: str) -> str | None:
        """Return the IP address of the nearest client in X-Forwarded-For that is not itself a trusted proxy.

        The list is read from its end, as each proxy adds its own peer there: what stands before the first
        untrusted address was written by that client and proves nothing. With ``"*"`` all of it is believed.
        """
        found = None
        for entry in reversed(forwarded_for.split(",")):
            host = _host(entry.strip())
            if host is None:
                break
            found = host
            if not self._everybody and not self.trusts(host):
                break
        return found

    def _contains(self, host: str) -> bool:
        from ipaddress import ip_address, ip_network

        if self._networks is None:
            self._networks = tuple(ip_network(text, strict=False) for text in self._texts)
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, an IPv4 peer of a dual-stack listener
        return any(address in network or (mapped is not None and mapped in network) for network in self._networks)


def _host(entry: str) -> str | None:
    """Return the address in one entry, whose port some proxies add; None if there is none."""
    from ipaddress import ip_address

    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ip_address(entry))
    except ValueError:
        return None


def scheme(forwarded_proto: str) -> str | None:
    """Return the scheme in X-Forwarded-Proto: the last of a list, which the trusted peer itself wrote."""
    last = forwarded_proto.rpartition(",")[2].strip().lower()
    return last if last in {"http", "https"} else None
