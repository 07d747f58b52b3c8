"""Whether a request was made on this machine by its operator: the one rule for what only the operator is shown."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("asked_from_this_machine",)

#: Fields that a proxy adds to the requests it passes on; those that begin with X-Forwarded- are others.
_LEFT_BY_PROXIES = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"cf-connecting-ip"})
_IPV4_OCTETS = 4


def asked_from_this_machine(peer: str | None, fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a client is on this machine, as far as the connection shows it.

    ``peer`` is the address of the client as the socket names it, None for a unix socket; the names of the header fields
    are in lower case. A unix socket does not count: what connects there is mostly a proxy. Neither does a request that a
    proxy has marked as forwarded, nor one for the name of another host: a page elsewhere whose name was bound anew to
    127.0.0.1 makes the operator's own browser ask.
    """
    if not peer or not _is_loopback(peer):
        return False
    hosts = []
    for name, value in fields:
        if name in _LEFT_BY_PROXIES or name.startswith(b"x-forwarded-"):
            return False
        if name == b"host":
            hosts.append(value.decode("latin-1"))
    host = ",".join(hosts)
    name_of_host = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name_of_host in {"", "localhost"} or _is_loopback(name_of_host.strip("[]"))


def _is_loopback(host: str) -> bool:
    octets = host.removeprefix("::ffff:").split(".")
    return host == "::1" or (len(octets) == _IPV4_OCTETS and octets[0] == "127" and all(o.isdigit() for o in octets))
