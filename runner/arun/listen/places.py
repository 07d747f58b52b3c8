"""Where an address really is: the IP addresses of a name, the file of a unix socket; and which of them overlap."""

from __future__ import annotations

import os
import socket

from arun.core.addresses import ALL_IPV4, ALL_IPV6, Address, Tcp, Unix
from arun.core.failures import ADDRESS_UNRESOLVABLE, StartupFailure

__all__ = ("known", "numeric", "overlap", "real", "resolve")


def resolve(address: Address, origin: str = "") -> tuple[Address, ...]:
    """Return where an address really is: the IP addresses of a name, the file of a unix socket behind its links.

    Raises:
        StartupFailure(ADDRESS_UNRESOLVABLE): the host name has no address.
    """
    if not isinstance(address, Tcp):
        return (real(address),)
    return tuple(dict.fromkeys(numeric(name, address.port) for name in _names(address, origin)))


def known(address: Address) -> tuple[Address, ...]:
    """Return where an address really is; nowhere, where its name cannot be resolved now."""
    try:
        return resolve(address)
    except StartupFailure:
        return ()


def overlap(one: Address, other: Address) -> bool:
    """Return whether two places are the same, or have addresses in common: a wildcard and what it stands for."""
    if not (isinstance(one, Tcp) and isinstance(other, Tcp)):
        return one == other
    if one.port != other.port or not one.port:
        return False
    hosts = {one.host, other.host}
    return len(hosts) == 1 or ALL_IPV6 in hosts or (ALL_IPV4 in hosts and not any(":" in host for host in hosts))


def real(address: Address) -> Address:
    """Return the address of a unix socket by the real path of its file; one without a file is as it is."""
    if not isinstance(address, Unix) or not address.path or address.is_abstract:
        return address
    return Unix(os.path.realpath(address.path))


def numeric(name: tuple[str | int, ...], port: int) -> Tcp:
    """Return a socket's name as an address; one of a single link has its scope (RFC 4007 section 11)."""
    scope = f"%{name[3]}" if len(name) > 3 and name[3] else ""  # noqa: PLR2004 - host, port, flow, scope
    return Tcp(f"{name[0]}{scope}", port)


def _names(address: Tcp, origin: str) -> list[tuple[str | int, ...]]:
    # a name in ASCII goes as bytes: text would import the codec of IDNA, 4 ms, and not possible after some drops
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        found = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError, LookupError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise StartupFailure(
            ADDRESS_UNRESOLVABLE, f"cannot resolve {address.host!r}: {reason}", origin=origin
        ) from error
    return [name for _, _, _, _, name in found]  # type: ignore[misc] # of IP sockets: (host, port), and (flow, scope) of IPv6
