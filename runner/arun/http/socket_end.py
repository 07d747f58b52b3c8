"""What is done to a connection's socket beneath its transport: it is half-closed, reset, or asked after its client."""

from __future__ import annotations

import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

__all__ = ("half_close", "keep_asking", "let_reset")

#: struct linger: on, 0 seconds.
_RESET = (1).to_bytes(4, sys.byteorder) + bytes(4)


def half_close(transport: asyncio.Transport) -> bool:
    """Close our side; return False if that cannot be done: asyncio has no half-closed TLS, and a client may have gone."""
    try:
        if can := transport.can_write_eof():
            transport.write_eof()
    except OSError:
        return False
    return can


def let_reset(transport: asyncio.Transport) -> None:
    """Let the end of a TCP connection be a reset: a plain end could pass for the end of a response (socket(7), SO_LINGER)."""
    own = transport.get_extra_info("socket")
    if own is not None and own.family != socket.AF_UNIX:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def keep_asking(transport: asyncio.Transport, seconds: int) -> None:
    """Have the kernel ask a TCP client that is silent for so long whether it is still there (tcp(7), SO_KEEPALIVE)."""
    own = transport.get_extra_info("socket")
    if own is None or own.family == socket.AF_UNIX or not hasattr(socket, "TCP_KEEPIDLE"):
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)
