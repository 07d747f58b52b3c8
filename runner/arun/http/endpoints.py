"""The two ends of a connection, where the socket alone does not show them: behind a PROXY header, or TLS."""

from __future__ import annotations

from arun.core.addresses import of_unix
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("Endpoints", "server_end")


class Endpoints(Value):
    """The two ends of a connection as an app sees them.

    ``client`` is (host, port), None on a unix socket; ``server`` is (host, port) or (path, None). ``scheme`` is "https"
    where the client speaks TLS, to this instance or to the proxy that says so; ``encrypted`` only means TLS here.
    """

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: str = "http"
    encrypted: bool = False


def server_end(name: Any) -> tuple[str, int | None] | None:
    """Return the server's end of a connection as an app sees it, from the name of the socket (getsockname(2))."""
    if isinstance(name, tuple):
        return name[:2]
    return (of_unix(name).path, None) if name else None
