"""How much of what was written to a connection its client has not taken yet."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

__all__ = ("unsent",)


def unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that wait in the transport and, where the system tells it, in the kernel (tcp(7), SIOCOUTQ).

    The kernel keeps megabytes and asks for more only when a third of them is gone: without its part, a slow client
    could not be told from one that takes nothing, and nothing at all would be seen of sendfile.
    """
    waiting = transport.get_write_buffer_size()
    own = transport.get_extra_info("socket")
    if own is None or not sys.platform.startswith("linux"):
        return waiting
    from fcntl import ioctl
    from termios import TIOCOUTQ

    try:
        return waiting + int.from_bytes(ioctl(own.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return waiting  # closed already
