"""Listening sockets: bound, adopted from a predecessor or a service manager, given up.

A listener listens as soon as it is bound unless it is told to wait. Why one cannot be had is said as precisely as the
system allows.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

from runner.addresses import Address, Inherited, Tcp, Unix
from runner.failures import (
    AddressDenied,
    AddressInUse,
    AddressUnavailable,
    AddressUnresolvable,
    StartupFailure,
)
from runner.transport import Transport
from runner.values import Value

__all__ = ("Listener", "Options", "adopt", "bind", "remove_unix_socket")

_PLAIN = Transport()


class Options(Value):
    """How sockets are bound: backlog in connections, mode and owner for unix sockets."""

    backlog: int = 2048
    reuse_port: bool = False
    listen: bool = True
    mode: int | None = None
    owner: tuple[int, int] | None = None


class Listener(Value):
    """A bound socket together with the address that was asked for; ``address`` is where it really is.

    ``transport`` says what stands before HTTP there.
    """

    socket: socket.socket
    requested: Address
    transport: Transport = Transport()

    @property
    def address(self) -> Address:
        """The address as the kernel knows it: port 0 and host names are resolved."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return Unix(os.fsdecode(name))
        return Tcp(name[0], name[1])


def bind(address: Address, options: Options, *, origin: str) -> list[Listener]:
    """Bind the address; a host name may give several sockets, all with the same port.

    Raises:
        AddressInUse: somebody else listens there.
        AddressDenied: this user may not.
        AddressUnresolvable: the host name has no address.
        AddressUnavailable: it is no address of this machine, or cannot carry a listening socket.
    """
    if isinstance(address, Inherited):
        return [_inherited(address, options, origin)]
    if isinstance(address, Unix):
        return [_bind_unix(address, options, origin)]
    found = _resolve(address, origin)
    listeners: list[Listener] = []
    port = address.port
    for family, name in found:
        try:
            listeners.append(_bind_tcp(address, family, (name[0], port, *name[2:]), options, origin))
        except AddressUnavailable:
            if name is found[-1][1] and not listeners:
                raise
            continue  # a name like localhost may have an address of a family that is switched off
        port = port or listeners[0].socket.getsockname()[1]
    return listeners


def adopt(fd: int, requested: Address, transport: Transport = _PLAIN) -> Listener:
    """Take over a listening socket that a predecessor bound.

    Raises:
        OSError: the descriptor is no socket.
    """
    taken = socket.socket(fileno=fd)
    taken.set_inheritable(False)
    taken.setblocking(False)
    return Listener(taken, requested, transport)


def remove_unix_socket(path: str) -> None:
    """Remove the file of a unix socket if it is one."""
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except OSError:
        return


def _resolve(address: Tcp, origin: str) -> list[tuple[socket.AddressFamily, tuple[str, int, *tuple[int, ...]]]]:
    # a name in ASCII goes as bytes: text would import the codec of IDNA, 4 ms, and not possible after some drops
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        found = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError, LookupError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise AddressUnresolvable(f"cannot resolve {address.host!r}: {reason}", origin=origin) from error
    unique = dict.fromkeys((family, name) for family, _, _, _, name in found)
    return list(unique)  # type: ignore[arg-type] # names are (host, port) or (host, port, flow, scope)


def _bind_tcp(
    address: Tcp, family: socket.AddressFamily, name: tuple[str, int, *tuple[int, ...]], options: Options, origin: str
) -> Listener:
    try:
        opened = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _explained(error, address, origin) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.reuse_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:  # only the wildcard of IPv6 serves IPv4 too, as in other runners
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, name[0] != "::")
        opened.bind(name)
        return _listening(Listener(opened, address), options)
    except OSError as error:
        opened.close()
        raise _explained(error, address, origin) from error


def _listening(listener: Listener, options: Options) -> Listener:
    listener.socket.setblocking(False)
    if options.listen:
        listener.socket.listen(options.backlog)
    return listener


def _bind_unix(address: Unix, options: Options, origin: str) -> Listener:
    _remove_stale(address, origin)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.bind(address.path)
    except OSError as error:
        opened.close()
        raise _explained(error, address, origin) from error
    try:
        if options.owner is not None:
            os.chown(address.path, *options.owner)
        if options.mode is not None:
            os.chmod(address.path, options.mode)
        return _listening(Listener(opened, address), options)
    except OSError as error:
        opened.close()
        remove_unix_socket(address.path)
        raise AddressDenied(
            f"cannot set mode and owner of {address}: {error.strerror}",
            origin=origin,
            hint="only root may give a socket to another user",
        ) from error


def _remove_stale(address: Unix, origin: str) -> None:
    """Remove the socket file of a process that is gone; links are not followed, and other files not touched."""
    try:
        mode = os.lstat(address.path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressInUse(
            f"cannot listen on {address}: a file that is no socket is there",
            origin=origin,
            hint="remove the file or choose another path",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            remove_unix_socket(address.path)
            return
        except OSError:
            pass  # a full backlog or no permission: somebody is there
    raise _in_use(address, origin)


def _inherited(address: Inherited, options: Options, origin: str) -> Listener:
    hint = "pass a bound stream socket on that descriptor"
    try:
        os.fstat(address.fd)
        listener = adopt(address.fd, address)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {address}: {error.strerror or error}", origin=origin, hint=hint
        ) from error
    if listener.socket.type != socket.SOCK_STREAM:
        listener.socket.detach()
        raise AddressUnavailable(f"cannot listen on {address}: it is no stream socket", origin=origin, hint=hint)
    try:
        return _listening(listener, options)
    except OSError as error:
        raise AddressUnavailable(f"cannot listen on {address}: {error.strerror}", origin=origin, hint=hint) from error


def _in_use(address: Address, origin: str) -> AddressInUse:
    from runner.system.holders import holder_of

    holder = holder_of(address)
    who = f": held by {holder}" if holder else ": already in use"
    return AddressInUse(f"cannot listen on {address}{who}", origin=origin)


def _explained(error: OSError, address: Address, origin: str) -> StartupFailure:
    """Turn what the kernel said about a bind into the failure that a user can act on."""
    reason = (error.strerror or str(error)).lower()
    sentence = f"cannot listen on {address}: {reason}"
    if error.errno == errno.EADDRINUSE:
        return _in_use(address, origin)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        if isinstance(address, Unix):
            hint = f"let this user write to {os.path.dirname(address.path)}"
        else:
            hint = (
                f"allow it with sysctl net.ipv4.ip_unprivileged_port_start={address.port if isinstance(address, Tcp) else 0}, "
                "give the interpreter CAP_NET_BIND_SERVICE, or start as root with "
                f"--shared-socket {address} and --uid"
            )
        return AddressDenied(sentence, origin=origin, hint=hint)
    if isinstance(address, Unix):
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            hint = f"create the folder {os.path.dirname(address.path)}"
        else:
            hint = "a unix socket's path holds at most 107 bytes"
        return AddressUnavailable(sentence, origin=origin, hint=hint)
    return AddressUnavailable(sentence, origin=origin)
