"""Which listeners an instance has: those it was started with, those it claims, those it gives up."""

from __future__ import annotations

import contextlib
import os
import socket

from runner.addresses import Address, Inherited, Unix
from runner.system import sockets
from runner.transport import Transport
from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, MutableMapping, Sequence

    from runner.system.sockets import Listener

__all__ = ("STORED", "Wanted", "claim", "close", "from_service_manager", "give_up")

#: How the names begin under which a service manager stores what arun bound; a unit's own name is told apart by the rest.
STORED = "arun-"
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
    """Take over the sockets that systemd passes, once: the variables are removed (sd_listen_fds(3)).

    Those of socket activation are known by their descriptor, and served in any case. What arun had stored before a
    restart is known by the address that it was bound for: it is merely held.
    """
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if not (count.isascii() and count.isdigit() and len(count) <= _LONGEST_COUNT) or pid != str(os.getpid()):
        return []
    listeners = []
    for index in range(int(count)):
        try:
            listeners.append(_passed(_FIRST_PASSED + index, names[index] if index < len(names) else ""))
        except OSError:
            continue  # a datagram or no socket at all: not ours to serve
    return [listener for listener in listeners if listener.socket.type == socket.SOCK_STREAM]


def _passed(fd: int, name: str) -> Listener:
    if name.startswith(STORED):
        from runner.system import service_manager

        if stored := service_manager.stored_listener(fd, name):
            return stored
    return sockets.adopt(fd, Inherited(fd))


def give_up(held: list[Listener], wanted: Collection[Address]) -> list[Listener]:
    """End what is held and of no use, before others are bound: one of those could be in the way. Return them.

    Of no use is what nobody wants, and a unix socket without its file, as nobody can connect there; a service manager
    removes such files with the folder of a service. What a manager passed to be served is left alone.
    """
    given_up = []
    for listener in tuple(held):
        if isinstance(listener.requested, Inherited):
            continue
        is_wanted = listener.requested in wanted or listener.address in wanted
        if not is_wanted or _has_lost_its_file(listener.address):
            held.remove(listener)
            # also for whoever else has it, as a service manager has until it has read our word
            with contextlib.suppress(OSError):  # macOS refuses it
                listener.socket.shutdown(socket.SHUT_RDWR)
            listener.socket.close()
            given_up.append(listener)
    return given_up


def _has_lost_its_file(address: Address) -> bool:
    if not isinstance(address, Unix):
        return False
    try:
        os.lstat(address.path)
    except OSError as error:  # in a folder that is closed to this user it may well be there
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def close(listener: Listener) -> None:
    """Close a listener that nobody wants any more; the file of a unix socket that arun made goes with it."""
    listener.socket.close()
    if isinstance(listener.requested, Unix):
        sockets.remove_unix_socket(listener.requested.path)
