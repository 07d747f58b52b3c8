"""What a connection's socket tells of its client: how much waits for it, whether it takes any, whether it has gone."""

from __future__ import annotations

import select
import sys

from arun.core.genuine import POLLERR, POLLHUP, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from asyncio.trsock import TransportSocket

__all__ = ("GONE", "HALF_CLOSED", "STAYS", "client_end", "taken", "unsent")

#: What is left of a client: it may still send, it has closed its sending side, or it is not there any more.
STAYS, HALF_CLOSED, GONE = range(3)

#: What poll(2) tells of a client that has closed its sending side; Linux does.
_FINISHED = getattr(select, "POLLRDHUP", 0)
_LINUX = sys.platform.startswith("linux")
#: Where tcpi_bytes_acked stands in struct tcp_info (linux/tcp.h, since Linux 4.1), and its size.
_ACKED, _ACKED_SIZE = 120, 8


def unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that wait in the transport and, where the system tells it, in the kernel (tcp(7), SIOCOUTQ).

    The kernel keeps megabytes and asks for more only when a third of them is gone: without its part, nothing at all
    would be seen of sendfile. What waits below a TLS transport is not counted; while there is any, the kernel has some too.
    """
    waiting = transport.get_write_buffer_size()
    own = transport.get_extra_info("socket")
    if own is None or not _LINUX:
        return waiting
    return waiting + _asked(own, "TIOCOUTQ")


def taken(transport: asyncio.Transport) -> int:
    """Return a figure that changes when the client has taken something: bytes, but of what count is not said.

    It is what the client's side has acknowledged (tcp(7), TCP_INFO). Where the system does not tell that, and on unix
    sockets, it is what is left to be taken.
    """
    own = transport.get_extra_info("socket")
    if own is not None and _LINUX:
        from socket import IPPROTO_TCP, TCP_INFO

        try:
            info = own.getsockopt(IPPROTO_TCP, TCP_INFO, _ACKED + _ACKED_SIZE)
        except OSError:  # a unix socket, or closed already
            pass
        else:
            if len(info) == _ACKED + _ACKED_SIZE:
                return int.from_bytes(info[_ACKED:], sys.byteorder)
    return -unsent(transport)


def client_end(transport: asyncio.Transport) -> int:
    """Say what is left of a client, though nothing is read from it: STAYS, HALF_CLOSED or GONE.

    On TCP, a client that has closed both sides looks half-closed until something is sent to it, which it answers with a
    reset (RFC 9293 section 3.6.1).
    """
    own = transport.get_extra_info("socket")
    if own is None:
        return STAYS
    looked = poll()
    try:
        looked.register(own.fileno(), _FINISHED)  # errors and hang-ups are always told
    except (OSError, ValueError):
        return STAYS  # closed by us
    told = sum(events for _, events in looked.poll(0))
    if told & POLLERR or (told & POLLHUP and not _asked(own, "FIONREAD")):
        return GONE
    return HALF_CLOSED if told & _FINISHED else STAYS


def _asked(own: TransportSocket, request: str) -> int:
    """Ask a socket for a number; 0 if it is closed already, or what asks it is not to be had."""
    try:
        import termios
        from fcntl import ioctl

        return int.from_bytes(ioctl(own.fileno(), getattr(termios, request), bytes(4)), sys.byteorder)
    except (OSError, ImportError):
        return 0
