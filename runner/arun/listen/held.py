"""The sockets of an instance: every listener that it holds, where it wants to listen, and where TLS was spoken."""

from __future__ import annotations

import contextlib
import os

from arun.core.addresses import Inherited
from arun.core.values import Value
from arun.listen import activation, claims, places, sockets
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from arun.core.addresses import Address
    from arun.core.listen_spec import ListenSpec, Tls
    from arun.listen.certificates import LiveContext
    from arun.listen.claims import Busy
    from arun.listen.sockets import Listener
    from arun.system.notify import ServiceManager

__all__ = ("Listening", "Sockets")


class Listening(Value):
    """The listeners of an instance, the context of each TLS that they speak, and what is not wanted any more.

    ``leaving`` overlap one that is served: the clients that wait there are served as well, then they are closed.
    ``surplus`` is closed at once. ``options`` are for what is bound later, where another process listens now.
    """

    listeners: list[Listener]
    contexts: Mapping[Tls, LiveContext]
    surplus: list[Listener]
    leaving: list[Listener]
    options: sockets.Options


class Sockets:
    """Every listener that an instance holds, bound by itself or inherited.

    Args:
        inherited: the listeners of a predecessor.
        passed: those of a service manager: of socket activation, or out of its store.
        secured: where TLS was spoken, or was to be, and no listener is open: none may be opened there without it.
        manager: the service manager that keeps descriptors, if there is one.
    """

    def __init__(
        self,
        inherited: Iterable[Listener] = (),
        passed: Iterable[Listener] = (),
        secured: Mapping[Address, ListenSpec] | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        passed = tuple(passed)
        self.inherited = (*inherited, *passed)
        self.listeners: list[Listener] = list(self.inherited)
        self.secured: dict[Address, ListenSpec] = dict(secured or {})
        #: Where the instance wants to listen, for a successor that names no address.
        self.wanted: tuple[ListenSpec, ...] = ()
        #: Where its fallback would listen, as far as that could be read before a drop of privileges.
        self.wanted_by_fallback: tuple[ListenSpec, ...] = ()
        #: Wanted addresses where another process listens, until it is gone.
        self.busy: tuple[Busy, ...] = ()
        #: Listeners out of the store, until it is known which are wanted.
        self._stored = tuple(one for one in passed if not isinstance(one.spec.address, Inherited))
        self._manager = manager

    def _derived(self) -> Sockets:
        other = Sockets.__new__(Sockets)  # the module copy would be a file more on the way of every start
        other.__dict__.update(self.__dict__)
        return other

    def candidate(self, more: Iterable[Listener] = ()) -> Sockets:
        """Return sockets for a start beside this instance: they hold the same listeners, and ``more``."""
        other = self._derived()
        other.listeners = [*self.listeners, *(one for one in more if not self.has(one))]
        other.secured, other.busy, other.wanted = dict(self.secured), (), ()
        other._stored = ()  # noqa: SLF001 - another one of this class
        return other

    def of_worker(self) -> Sockets:
        """Return the same sockets for a worker: the service manager is its supervisor's."""
        other = self._derived()
        other._manager = None  # noqa: SLF001 - another one of this class
        return other

    def has(self, listener: Listener) -> bool:
        """Return whether the listener's socket is held."""
        return any(listener.socket is one.socket for one in self.listeners)

    def beside(self, other: Sockets) -> list[Listener]:
        """Return the listeners that another one does not hold."""
        return [one for one in self.listeners if not other.has(one)]

    def only(self, kept: Collection[socket.socket]) -> None:
        """Hold these sockets and no others from now on; nothing is closed."""
        self.listeners[:] = [one for one in self.listeners if one.socket in kept]

    def revert(self) -> None:
        """Hold what was inherited, and nothing else; close the rest."""
        inherited = {one.socket for one in self.inherited}
        self.close([one for one in self.listeners if one.socket not in inherited])
        self.listeners = list(self.inherited)

    def want(self, wanted: Iterable[ListenSpec], busy: Iterable[Busy] = ()) -> None:
        """Want these addresses; ``busy`` are those of them where another process listens."""
        self.wanted, self.busy = tuple(wanted), tuple(busy)

    def note_wanted_by_fallback(self, wanted: Iterable[ListenSpec]) -> None:
        """Note where the fallback would listen, which may not be readable when it is needed."""
        self.wanted_by_fallback = tuple(wanted)

    def refuse(self, refused: Iterable[ListenSpec]) -> None:
        """Note where TLS was spoken and cannot be any more: no listener is opened there."""
        self.secured.update((one.address, one) for one in refused)

    def close(self, surplus: Sequence[Listener]) -> None:
        """Close listeners that are not wanted any more, and let a service manager forget them; they stay in ``listeners``."""
        if self._manager is not None:
            self._manager.remove(activation.named(surplus))
        going = {one.socket for one in surplus}
        kept = {one.place for one in self.listeners if one.socket not in going}
        for listener in surplus:
            keeps_file = listener.place in kept
            sockets.deafen(listener)  # workers that have it too accept the connections that wait before it is gone
            claims.close(listener, keeps_file=keeps_file)

    def let_go(self, leaving: Sequence[Listener]) -> None:
        """Close listeners that made room for others, once their clients are served."""
        going = {one.socket for one in leaving}
        self.listeners[:] = [one for one in self.listeners if one.socket not in going]
        self.close(leaving)
        if leaving:
            self.store()  # the manager knows some of the others by the name of one that it has just forgotten

    def store(self) -> None:
        """Let a service manager keep the listeners over a restart."""
        if self._manager is not None:
            self._manager.store(activation.named(self.listeners))

    def give_up_stored(self, wanted: Collection[Address]) -> None:
        """Close the listeners out of the store that are of no use."""
        if not self._stored:
            return
        given_up = claims.give_up(self.listeners, wanted)
        self.remember_tls(given_up)
        if self._manager is not None:
            self._manager.remove(activation.named(given_up))

    def remember_tls(self, closed: Iterable[Listener]) -> None:
        """Note where TLS was spoken by listeners that are closed now."""
        self.secured.update((one.spec.address, one.spec) for one in closed if one.spec.tls)

    def still_open(self) -> list[Listener]:
        """Return the listeners that are still open: an app may have closed descriptors that are not its own.

        Where a host name has lost one of its listeners, the others get their own addresses, so that the name is bound again.
        """
        lost = [one for one in self.listeners if not one.is_open]
        names = {one.spec.address for one in lost}
        self.remember_tls(lost)
        for listener in lost:
            if listener.socket.fileno() >= 0:
                logs.warning(f"the socket of {listener.spec.address} is lost: the app has closed it")
                listener.socket.detach()  # the number may be something else by now
        return [
            one._replace(spec=one.spec.at(one.place)) if one.spec.address in names else one
            for one in self.listeners
            if one not in lost
        ]

    def drop_lost(self) -> None:
        """Hold only what is still open."""
        self.listeners = self.still_open()

    def plain(self) -> list[socket.socket]:
        """Return the open sockets where HTTP begins without TLS: a TLS port never turns plain."""
        return [one.socket for one in self.listeners if one.spec.tls is None and one.socket.fileno() >= 0]

    def give_to(self, uid: int) -> None:
        """Make the user that this process becomes the owner of the sockets: on Linux only the owner may share their ports."""
        for listener in self.listeners:
            with contextlib.suppress(OSError):
                os.fchown(listener.socket.fileno(), uid, -1)

    def deafen_overlapping(self, own: Iterable[Listener]) -> None:
        """Deafen listeners of a failed start that overlap held ones, so that these get the connections again."""
        for listener in own:
            if any(places.overlap(listener.place, other.place) for other in self.listeners):
                sockets.deafen(listener)
