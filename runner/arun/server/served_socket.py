"""A bound socket as a server serves it: with what comes before HTTP on its connections."""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from arun.http.forwarded import TrustedPeers
    from arun.listen.certificates import LiveContext

__all__ = ("ServedSocket",)


class ServedSocket(Value):
    """A bound socket, which stays the caller's.

    ``proxies`` are the peers that begin with a PROXY header, None where no peer does; ``context`` is the TLS spoken, None for
    plain HTTP.
    """

    socket: socket.socket
    proxies: TrustedPeers | None = None
    context: LiveContext | None = None

    @property
    def is_plain(self) -> bool:
        """Whether HTTP begins with the first byte."""
        return self.proxies is None and self.context is None
