"""Whether forwarding headers of a proxy are trusted, and what they then say of its client.

X-Forwarded-For and X-Forwarded-Proto are what most proxies send, Forwarded is the standard (RFC 7239). Neither wins where
a request has both: an operator says which of them the proxy sets, and the other is never looked at. A proxy that sets the
one hands on the other as its client wrote it. A host in either never replaces Host.
"""

from __future__ import annotations

from socket import AF_INET, inet_pton

from arun.http.bounded_cache import BoundedCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Final, Literal

    from arun.http.request import Request

__all__ = ("Forwarding", "TrustedPeers", "scheme")

_REMEMBERED: Final = 1024
#: Bits of an IPv4-mapped address before the IPv4 address.
_MAPPED_BITS: Final = 96
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


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
        self._known = BoundedCache(self._contains, entries=_REMEMBERED)

    def __bool__(self) -> bool:
        return self._everybody or bool(self._texts)

    def trusts(self, host: str | None) -> bool:
        """Return whether the peer with this IP address (``None``: a unix socket) is trusted."""
        if self._everybody or host is None:
            return bool(self)
        known = self._known.known.get(host)
        return self._known[host] if known is None else known

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

    def forwarded(self, value: str) -> tuple[str | None, str | None]:
        """Return client and scheme in Forwarded (RFC 7239), None for each that it does not hold.

        The list is read from its end, as :meth:`client` does; the scheme is that of the last element looked at, which
        a trusted proxy wrote: how the client came to it. An obfuscated or unknown client stays hidden.
        """
        client = proto = None
        for element in reversed(_elements(value)):
            proto = scheme(element.get("proto", "")) or proto
            host = _host(element.get("for", ""))
            if host is None:
                break
            client = host
            if not self._everybody and not self.trusts(host):
                break
        return client, proto

    def _contains(self, host: str) -> bool:
        from ipaddress import ip_address, ip_network

        if self._networks is None:
            self._networks = tuple(_plain(ip_network(text, strict=False)) for text in self._texts)
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, an IPv4 peer of a dual-stack listener
        return any(address in network or (mapped is not None and mapped in network) for network in self._networks)


class Forwarding:
    """Client and scheme of a request as a trusted proxy in front reports them; ``header`` is the kind that it sets.

    What a field holds is remembered: a client sends more than one request, and to read an address costs as much as the rest
    of a request.
    """

    __slots__ = ("_ends", "_is_standard", "_schemes", "_trusted")

    def __init__(self, trusted: tuple[str, ...] | Literal["*"], header: str) -> None:
        self._trusted = TrustedPeers(trusted)
        self._is_standard = header == "forwarded"
        #: Client and scheme by the value of the field that names the client, and schemes by X-Forwarded-Proto.
        self._ends = BoundedCache(self._read_ends, entries=_REMEMBERED)
        self._schemes = BoundedCache(_read_scheme)

    def trusts(self, client: tuple[str, int] | None) -> bool:
        """Return whether this peer may report something about its requests."""
        return self._trusted.trusts(client[0] if client else None)

    def ends_of(
        self, client: tuple[str, int] | None, own_scheme: str, request: Request
    ) -> tuple[tuple[str, int] | None, str]:
        """Return client and scheme of a request: those that a trusted proxy reports, else those of the connection."""
        if not self.trusts(client):
            return client, own_scheme
        if self._is_standard:
            field = request.forwarded or b""
            found, proto = self._ends.known.get(field) or self._ends[field]
        else:
            field = request.forwarded_for or b""
            found = (self._ends.known.get(field) or self._ends[field])[0]
            field = request.forwarded_proto or b""
            proto = self._schemes.known.get(field) or self._schemes[field]
        return found or client, proto or own_scheme

    def _read_ends(self, field: bytes) -> tuple[tuple[str, int] | None, str]:
        """Read the field that names the client, and the scheme where that stands in the same."""
        host: str | None
        proto: str | None
        if self._is_standard:
            host, proto = self._trusted.forwarded(field.decode("latin-1"))
        else:
            host, proto = self._trusted.client(field.decode("latin-1")), None
        return (host, 0) if host else None, proto or ""


def _read_scheme(field: bytes) -> str:
    return scheme(field.decode("latin-1")) or ""


def _host(entry: str) -> str | None:
    """Return the address in one entry, whose port some proxies add; None if there is none."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    if entry.count(".") == 3:  # noqa: PLR2004 - nearly always, and read by the system ten times as fast as by ipaddress
        try:
            inet_pton(AF_INET, entry)
        except (OSError, ValueError):
            pass  # something else with dots
        else:
            return entry
    from ipaddress import ip_address

    try:
        address = ip_address(entry)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return (
        str(address) if mapped is None else f"::ffff:{mapped}"
    )  # RFC 5952 section 5; str() does so from Python 3.13 on


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4-mapped addresses as what it means, one of IPv4 (RFC 4291 section 2.5.5.2)."""
    from ipaddress import ip_network

    mapped = getattr(network.network_address, "ipv4_mapped", None)
    prefix = network.prefixlen - _MAPPED_BITS
    return network if mapped is None or prefix < 0 else ip_network(f"{mapped}/{prefix}")


def scheme(forwarded_proto: str) -> str | None:
    """Return the scheme in X-Forwarded-Proto: the last of a list, which the trusted peer itself wrote.

    Some proxies send that of a websocket, which is "ws" or "wss".
    """
    return _SCHEMES.get(forwarded_proto.rpartition(",")[2].strip().lower())


def _elements(value: str) -> list[dict[str, str]]:
    """Return the elements of Forwarded as pairs by name, in lower case (RFC 7239 section 4).

    A client may have sent a value that a proxy only adds to, and left a quote open in it. Where the whole breaks the
    rules, only what stands behind the last comma counts: the nearest proxy wrote it.
    """
    whole = _read_elements(value)
    if whole is None:
        whole = _read_elements(value.rpartition(",")[2])
    return whole or []


def _read_elements(value: str) -> list[dict[str, str]] | None:
    """Read the list, or return None where it breaks the rules."""
    import re

    pair = re.compile(
        r'[ \t]*([!#$%&\'*+.^_`|~\w-]+)=(?:([!#$%&\'*+.^_`|~\w:\[\]-]+)|"((?:[^"\\]|\\.)*)")[ \t]*', re.ASCII
    )
    elements: list[dict[str, str]] = [{}]
    place = 0
    while True:
        found = pair.match(value, place)
        if found is not None:
            name, token, quoted = found.groups()
            if name.lower() in elements[-1]:
                return None  # section 4: a parameter must not occur twice in an element
            elements[-1][name.lower()] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
            place = found.end()
        else:  # an empty place in a list is none (RFC 9110 section 5.6.1)
            while value[place : place + 1] in {" ", "\t"}:
                place += 1
        if place == len(value):
            return [element for element in elements if element]
        if value[place] == ",":
            elements.append({})
        elif value[place] != ";":
            return None
        place += 1
