"""Listening sockets: bound, adopted from a predecessor or a service manager, given up.

A listener listens as soon as it is bound, unless the options make it wait. The failure of a bind is as precise as the system
allows.

Two listeners whose addresses overlap (a wildcard and one of its addresses, say) share the port by SO_REUSEPORT, which
Linux lets be set on a socket that listens already. Connections go to the more specific one. One that is given up for
the other is deafened first: bound to a network interface that does not exist (SO_BINDTOIFINDEX, Linux 5.7 for ordinary
users) it gets no new handshake, while those that have begun still end in its backlog, from where they are served.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys

from arun.core.addresses import ALL_IPV6, Address, Inherited, Tcp, Unix, of_unix
from arun.core.failures import ADDRESS_DENIED, ADDRESS_IN_USE, ADDRESS_UNAVAILABLE, StartupFailure
from arun.core.values import Value
from arun.listen import socket_files
from arun.listen.places import numeric, real
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from arun.core.listen_spec import ListenSpec
    from arun.listen.socket_files import FileId

__all__ = (
    "Listener",
    "Options",
    "adopt",
    "bind",
    "bind_again",
    "deafen",
    "is_busy",
    "is_deaf",
    "look",
)

#: SO_BINDTOIFINDEX of Linux's asm-generic/socket.h, which Python does not name, and an interface that does not exist.
_BIND_TO_INTERFACE, _NO_INTERFACE = 62, 0x7FFF_FFFF


class Options(Value):
    """How sockets are bound: backlog in connections, mode and owner for unix sockets.

    ``yields`` is for a start beside workers that serve: a listener that overlaps one of theirs listens when its own
    workers are ready, and not before.
    """

    backlog: int = 2048
    reuse_port: bool = False
    listen: bool = True
    yields: bool = False
    mode: int | None = None
    owner: tuple[int, int] | None = None


class Listener(Value):
    """A bound socket with the spec that it was bound for; ``address`` is where it really is.

    ``file`` is device and inode of the file of a unix socket.
    """

    socket: socket.socket
    spec: ListenSpec
    file: FileId | None = None

    @property
    def address(self) -> Address:
        """The address as the kernel knows it: port 0 and host names are resolved."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return of_unix(name)
        return Tcp(name[0], name[1])

    @property
    def place(self) -> Address:
        """Where it is, comparable with ``places`` of an address; what was asked for, where the descriptor was closed by an app."""
        try:
            name = self.socket.getsockname()
        except OSError:
            return self.spec.address
        return numeric(name, name[1]) if isinstance(name, tuple) else real(of_unix(name))

    @property
    def has_lost_its_file(self) -> bool:
        """Whether no client can connect to a unix socket any more: its file is gone, or another one has its name."""
        if self.socket.family != socket.AF_UNIX:
            return False
        try:
            path = self.socket.getsockname()
            if not path or isinstance(path, bytes) or path[:1] == "\0":  # in the abstract namespace of unix(7)
                return False
            status = os.lstat(path)
        except OSError as error:  # in a folder that is closed to this user it may well be there
            return isinstance(error, FileNotFoundError | NotADirectoryError)
        return self.file is not None and self.file != (status.st_dev, status.st_ino)

    def remove_file(self) -> None:
        """Remove the file of a unix socket if it is this one's; log it where that is refused."""
        if isinstance(self.spec.address, Unix) and self.file is not None:
            socket_files.remove(self.spec.address.path, self.file)

    @property
    def is_open(self) -> bool:
        """Whether the descriptor is this socket still: an app may have closed it, and the number be something else."""
        if self.socket.fileno() < 0:
            return False
        try:
            name = self.socket.getsockname()
            kind = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        except OSError:
            return False
        if kind != socket.SOCK_STREAM or _has_peer(self.socket):
            return False
        if isinstance(self.spec.address, Tcp):
            return isinstance(name, tuple) and self.spec.address.port in {0, name[1]}
        return not isinstance(self.spec.address, Unix) or self.place == real(self.spec.address)

    @property
    def listens(self) -> bool:
        """Whether clients can connect, or could before it was deafened."""
        try:
            return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError:
            return False


def bind(place: Address, spec: ListenSpec, options: Options, *, beside: Sequence[Listener] = ()) -> Listener:
    """Bind a place of the spec's address; ``beside`` are own listeners that overlap it.

    Raises:
        StartupFailure(ADDRESS_IN_USE): another process listens there.
        StartupFailure(ADDRESS_DENIED): this user may not bind it.
        StartupFailure(ADDRESS_UNAVAILABLE): it is no address of this machine, or cannot carry a listening socket.
    """
    requested = spec.address
    if isinstance(requested, Inherited):
        return _inherited(requested, spec, options)
    shown = place if isinstance(place, Tcp) and isinstance(requested, Tcp) and requested.port else requested
    try:
        return _open(place, spec, options, beside)
    except OSError as error:
        raise _explained(error, shown, spec.origin, beside) from error


def look(place: Address, spec: ListenSpec, options: Options) -> None:
    """Look whether ``bind`` would succeed: nothing listens, and no file is made or removed.

    Raises:
        StartupFailure: as in ``bind``.
    """
    requested = spec.address
    if isinstance(requested, Inherited):
        bind(place, spec, options._replace(listen=False)).socket.detach()  # it is not ours to close
    elif isinstance(requested, Unix) and not requested.is_abstract:
        try:
            socket_files.look(requested, spec.origin)
        except OSError as error:
            raise _explained(error, requested, spec.origin) from error
    else:
        bind(place, spec, options._replace(listen=False)).socket.close()


def bind_again(
    place: Address, spec: ListenSpec, options: Options, *, beside: Sequence[Listener] = ()
) -> Listener | None:
    """Bind a place that was busy; None while it is. Nothing is looked up, so that it may be tried again and again.

    Raises:
        StartupFailure(ADDRESS_DENIED or ADDRESS_UNAVAILABLE): as in ``bind``.
    """
    try:
        return _open(place, spec, options, beside)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        raise _explained(error, spec.address, spec.origin, beside) from error


def is_busy(failure: StartupFailure) -> bool:
    """Return whether a failure may pass by itself: another process listens there (EADDRINUSE)."""
    error = failure.__cause__
    return failure.cause is ADDRESS_IN_USE and isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def is_deaf(listener: socket.socket) -> bool:
    """Return whether a listening socket gets no new connections any more, see ``deafen``."""
    if sys.platform != "linux":
        return False
    try:
        return listener.getsockopt(socket.SOL_SOCKET, _BIND_TO_INTERFACE) == _NO_INTERFACE
    except OSError:
        return False


def deafen(listener: Listener) -> None:
    """Let a listener get no new connections; handshakes that have begun still end in its backlog.

    Without effect where the system cannot, and on a descriptor that was passed to this process.
    """
    if sys.platform == "linux" and not isinstance(
        listener.spec.address, Inherited
    ):  # which another process has as well
        with contextlib.suppress(OSError):
            listener.socket.setsockopt(socket.SOL_SOCKET, _BIND_TO_INTERFACE, _NO_INTERFACE)


def adopt(fd: int, spec: ListenSpec) -> Listener:
    """Return the listener of a socket that a predecessor has bound.

    Raises:
        OSError: the descriptor is no socket.
    """
    taken = socket.socket(fileno=fd)
    taken.set_inheritable(False)
    taken.setblocking(False)
    name = taken.getsockname() if taken.family == socket.AF_UNIX else ""
    file = socket_files.identify(name) if isinstance(name, str) and name else None
    return Listener(taken, spec, file)


def _has_peer(of: socket.socket) -> bool:
    try:
        of.getpeername()
    except OSError:
        return False
    return True


def _open(place: Address, spec: ListenSpec, options: Options, beside: Sequence[Listener]) -> Listener:
    """Bind a place.

    Raises:
        OSError: from the kernel.
    """
    if isinstance(place, Unix):
        return _open_unix(place, spec, options)
    assert isinstance(place, Tcp)  # noqa: S101 - descriptors are adopted, not bound
    host, _, scope = place.host.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.reuse_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if beside and sys.platform == "linux":
            _share_port([opened, *(one.socket for one in beside)])
        if family == socket.AF_INET6:  # only the wildcard of IPv6 serves IPv4 too, as in other runners
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != ALL_IPV6)
        opened.bind((host, place.port, 0, int(scope or 0)) if family == socket.AF_INET6 else (host, place.port))
        return _listening(Listener(opened, spec), options, beside)
    except OSError:
        opened.close()
        raise


def _share_port(sockets: Iterable[socket.socket]) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):  # closed by an app: it blocks no port
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _listening(listener: Listener, options: Options, beside: Sequence[Listener] = ()) -> Listener:
    listener.socket.setblocking(False)
    if options.listen and not (options.yields and beside):
        listener.socket.listen(options.backlog)
    return listener


def _open_unix(place: Unix, spec: ListenSpec, options: Options) -> Listener:
    requested = spec.address
    path = requested.path if isinstance(requested, Unix) else place.path
    if place.is_abstract:
        return _open_abstract(path, spec, options)
    socket_files.remove_stale(Unix(path), spec.origin)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        socket_files.bind(opened, path, private=options.mode is not None)
    except OSError:
        opened.close()
        raise
    try:
        file = socket_files.give(path, options.owner, options.mode)
        return _listening(Listener(opened, spec, file), options)
    except OSError as error:
        opened.close()
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise StartupFailure(
            ADDRESS_DENIED,
            f"cannot set mode and owner of {requested}: {error.strerror}",
            origin=spec.origin,
            hint="only root may give a socket to another user",
        ) from error


def _open_abstract(path: str, spec: ListenSpec, options: Options) -> Listener:
    if options.mode is not None or options.owner is not None:
        logs.warning(f"{spec.address} has neither mode nor owner: who may connect to it cannot be restricted")
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.bind("\0" + path[1:])
        return _listening(Listener(opened, spec), options)
    except OSError:
        opened.close()
        raise


def _inherited(address: Inherited, spec: ListenSpec, options: Options) -> Listener:
    origin = spec.origin
    hint = "pass a bound stream socket on that descriptor"
    try:
        os.fstat(address.fd)
        listener = adopt(address.fd, spec)
    except OSError as error:
        raise StartupFailure(
            ADDRESS_UNAVAILABLE, f"cannot listen on {address}: {error.strerror or error}", origin=origin, hint=hint
        ) from error
    if listener.socket.type != socket.SOCK_STREAM:
        listener.socket.detach()
        raise StartupFailure(
            ADDRESS_UNAVAILABLE, f"cannot listen on {address}: it is no stream socket", origin=origin, hint=hint
        )
    try:
        return _listening(listener, options)
    except OSError as error:
        raise StartupFailure(
            ADDRESS_UNAVAILABLE, f"cannot listen on {address}: {error.strerror}", origin=origin, hint=hint
        ) from error


def _in_use(address: Address, origin: str, beside: Sequence[Listener]) -> StartupFailure:
    from arun.listen.holders import holder_of

    if holder := holder_of(address):
        return StartupFailure(ADDRESS_IN_USE, f"cannot listen on {address}: held by {holder}", origin=origin)
    if beside:  # it was opened by another user, so that the port cannot be shared
        return StartupFailure(
            ADDRESS_IN_USE,
            f"cannot listen on {address}: it overlaps {beside[0].spec.address}, which this process serves as well",
            origin=origin,
            hint="name one address that stands for both",
        )
    return StartupFailure(ADDRESS_IN_USE, f"cannot listen on {address}: already in use", origin=origin)


def _explained(error: OSError, address: Address, origin: str, beside: Sequence[Listener] = ()) -> StartupFailure:
    """Return the failure for an error of bind(2), with a hint for the user."""
    reason = (error.strerror or str(error)).lower()
    sentence = f"cannot listen on {address}: {reason}"
    if error.errno == errno.EADDRINUSE:
        return _in_use(address, origin, beside)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        if isinstance(address, Unix):
            hint = f"let this user write to {os.path.dirname(address.path)}"
        else:
            hint = (
                f"allow it with sysctl net.ipv4.ip_unprivileged_port_start={address.port if isinstance(address, Tcp) else 0}, "
                "give the interpreter CAP_NET_BIND_SERVICE, or start as root with "
                f"--shared-socket {address} and --uid"
            )
        return StartupFailure(ADDRESS_DENIED, sentence, origin=origin, hint=hint)
    if isinstance(address, Unix):
        if error.errno == errno.ELOOP:
            hint = "let root make the link, or name the folder that it leads to"
        elif error.errno in {errno.ENOENT, errno.ENOTDIR}:
            hint = f"create the folder {os.path.dirname(address.path)}"
        else:
            hint = "a unix socket's path holds at most 107 bytes"
        return StartupFailure(ADDRESS_UNAVAILABLE, sentence, origin=origin, hint=hint)
    return StartupFailure(ADDRESS_UNAVAILABLE, sentence, origin=origin)
