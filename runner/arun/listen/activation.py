"""Listeners that a service manager passes: by socket activation, or out of its store, where arun put them before a restart."""

from __future__ import annotations

import os
import socket

from arun.core import addresses
from arun.core.addresses import Inherited
from arun.core.listen_spec import ListenSpec, Tls
from arun.listen import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from arun.core.addresses import Address
    from arun.listen.sockets import Listener

__all__ = ("from_service_manager", "named", "stored_listener")

#: How the names begin under which a service manager stores what arun bound; a name of a unit does not begin so.
_STORED = "arun-"
#: The first descriptor that systemd passes, see sd_listen_fds(3).
_FIRST_PASSED = 3
#: Digits of a plausible number of sockets.
_LONGEST_COUNT = 4
#: How the name of a stored listener begins where HTTP is the first thing, and where TLS comes before it.
_PLAIN, _TLS = f"{_STORED}http-", f"{_STORED}https-"
#: Bytes that stand for themselves in a name: printable ASCII, but for what parts names and for our own escapes.
_UNESCAPED = frozenset(range(ord("!"), ord("~") + 1)) - frozenset(b":%")
#: Bytes of a name, see FDNAME in sd_notify(3).
_LONGEST_NAME = 255


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
    return stored_listener(fd, name) or sockets.adopt(fd, ListenSpec(Inherited(fd)))


def stored_listener(fd: int, name: str) -> Listener | None:
    """Return the listener that was stored under the name, or None where arun gave no such name.

    A listener that spoke TLS has a spec with TLS and no certificate: it is served with one that the settings name, or
    not at all.

    Raises:
        OSError: the descriptor is no socket.
    """
    tls = name.startswith(_TLS)
    if not tls and not name.startswith(_PLAIN):
        return None
    try:
        requested = addresses.parse(_unescaped(name.removeprefix(_TLS if tls else _PLAIN)))
    except ValueError:  # the name of a unit that looks like ours
        return None
    return sockets.adopt(fd, ListenSpec(requested, Tls(()) if tls else None))


def named(listeners: Iterable[Listener]) -> dict[str, list[int]]:
    """Return the descriptors of the listeners that arun bound, by their names in the store; a host's addresses have one together."""
    found: dict[str, list[int]] = {}
    for listener in listeners:
        if not isinstance(listener.spec.address, Inherited):
            found.setdefault(_name(listener.spec.address, tls=listener.spec.tls is not None), []).append(
                listener.socket.fileno()
            )
    return found


def _name(address: Address, *, tls: bool) -> str:
    """Return the name for a listener: printable ASCII without colons, as sd_notify(3) wants it."""
    text = "".join(chr(byte) if byte in _UNESCAPED else f"%{byte:02X}" for byte in os.fsencode(str(address)))
    return f"{_TLS if tls else _PLAIN}{text}"[:_LONGEST_NAME]


def _unescaped(text: str) -> str:
    first, *more = text.split("%")
    return os.fsdecode(first.encode() + b"".join(bytes([int(one[:2], 16)]) + one[2:].encode() for one in more))
