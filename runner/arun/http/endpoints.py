"""The two ends of a connection, as its socket shows them, or as a gate knows them: behind a PROXY header, or TLS."""

from __future__ import annotations

from arun.core.addresses import of_unix
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import BaseTransport
    from typing import Any

__all__ = ("Endpoints", "endpoints_of", "server_end")


class Endpoints(Value):
    """The two ends of a connection as an app sees them.

    ``client`` is (host, port), None on a unix socket; ``server`` is (host, port) or (path, None). ``scheme`` is "https"
    where the client speaks TLS, to this instance or to the proxy that says so; ``encrypted`` only means TLS here.
    """

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: str = "http"
    encrypted: bool = False


def endpoints_of(transport: BaseTransport) -> Endpoints:
    """Return the two ends that the socket of a transport shows."""
    peer = transport.get_extra_info("peername")
    client = peer[:2] if isinstance(peer, tuple) else None
    return Endpoints(client, server_end(transport.get_extra_info("sockname")))


def server_end(name: Any) -> tuple[str, int | None] | None:
    """Return the server's end of a connection as an app sees it, from the name of the socket (getsockname(2))."""
    if isinstance(name, tuple):
        return name[:2]
    return (of_unix(name).path, None) if name else None
