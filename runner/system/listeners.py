"""Which listeners an instance has: those it was started with, those it claims, those it gives up."""

from __future__ import annotations

import os
import socket

from runner.addresses import Address, Inherited, Unix
from runner.system import sockets
from runner.transport import Transport
from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from runner.system.sockets import Listener

__all__ = ("Wanted", "claim", "close", "from_service_manager")

#: The first descriptor that systemd passes, see sd_listen_fds(3).
_FIRST_PASSED = 3
#: Digits of a number of sockets that somebody can mean.
_LONGEST_COUNT = 4


class Wanted(Value):
    """An address to listen on, where it was asked for, and what is to stand before HTTP there.

    ``inherits`` says that a listener which is held already keeps what ``transport`` does not say: a TLS port never
    turns plain.
    """

    address: Address
    origin: str
    transport: Transport = Transport()
    inherits: bool = False


def claim(wanted: Sequence[Wanted], held: list[Listener], options: sockets.Options) -> list[Listener]:
    """Return the listeners for the wanted addresses: those held already where one fits, the others newly bound.

    A held listener fits when the address is the one that was asked for, or the one where it really is. What is bound
    is put into ``held`` at once, so that it is known to whoever follows should the next one fail.

    Raises:
        StartupFailure: one of the failures of the stage "listen".
    """
    claimed: dict[socket.socket, Listener] = {}
    for one in wanted:
        fitting = [listener for listener in held if one.address in {listener.requested, listener.address}]
        if not fitting:
            fitting = sockets.bind(one.address, options, origin=one.origin)
            held.extend(fitting)
        elif options.listen:
            for listener in fitting:
                listener.socket.listen(options.backlog)
        for listener in fitting:
            transport = one.transport.over(listener.transport) if one.inherits else one.transport
            held[held.index(listener)] = claimed[listener.socket] = listener._replace(transport=transport)
    return list(claimed.values())


def from_service_manager(environ: MutableMapping[str, str]) -> list[Listener]:
    """Take over the sockets of systemd's socket activation, once: the variables are removed (sd_listen_fds(3))."""
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not (count.isascii() and count.isdigit() and len(count) <= _LONGEST_COUNT) or pid != str(os.getpid()):
        return []
    listeners = []
    for fd in range(_FIRST_PASSED, _FIRST_PASSED + int(count)):
        try:
            listeners.append(sockets.adopt(fd, Inherited(fd)))
        except OSError:
            continue  # a datagram or no socket at all: not ours to serve
    return [listener for listener in listeners if listener.socket.type == socket.SOCK_STREAM]


def close(listener: Listener) -> None:
    """Close a listener that nobody wants any more; the file of a unix socket that arun made goes with it."""
    listener.socket.close()
    if isinstance(listener.requested, Unix):
        sockets.remove_unix_socket(listener.requested.path)
