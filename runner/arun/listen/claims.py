"""Claims: which listeners an instance takes from those it holds, which it binds, and which it gives up."""

from __future__ import annotations

import contextlib
import socket

from arun.core.addresses import Address, Inherited, Tcp
from arun.core.failures import ADDRESS_UNAVAILABLE, StartupFailure
from arun.core.values import Value
from arun.listen import places, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from arun.core.listen_spec import ListenSpec
    from arun.listen.sockets import Listener

__all__ = (
    "Busy",
    "claim",
    "close",
    "fits",
    "give_up",
    "overlapping",
    "try_again",
)


class Busy(Value):
    """A place where another process listens, the wanted address that leads there, and the failure to bind it."""

    place: Address
    wanted: ListenSpec
    failure: StartupFailure


def claim(
    wanted: Sequence[ListenSpec],
    held: list[Listener],
    options: sockets.Options,
    *,
    spare: Callable[[], Collection[Listener]] = tuple,
    inherits: bool = False,
) -> tuple[list[Listener], list[Busy]]:
    """Return the listeners for the wanted addresses, and the places where another process listens.

    A listener that is held already is taken where it fits, the others are bound. What is bound is put into ``held`` at
    once, so that the successor knows it if the next one fails. Own listeners that overlap a new one share the
    port with it; where the system refuses that, those that are ``spare`` are closed for it. With ``inherits`` a listener
    that is held keeps what the spec does not give: a TLS port never turns plain.

    Raises:
        StartupFailure: one of the failures of the stage "listen".
    """
    claimed: dict[socket.socket, Listener] = {}
    busy: list[Busy] = []
    for one in wanted:
        fitting = [listener for listener in held if listener.spec.address == one.address and _is_usable(listener)]
        for listener in fitting or _at_its_places(one, held, options, spare, busy):
            if options.listen and (listener.listens or not options.yields):
                listener.socket.listen(options.backlog)
            spec = (one.over(listener.spec) if inherits else one).at(listener.spec.address)
            held[held.index(listener)] = claimed[listener.socket] = listener._replace(spec=spec)
    return list(claimed.values()), busy


def _at_its_places(
    one: ListenSpec,
    held: list[Listener],
    options: sockets.Options,
    spare: Callable[[], Collection[Listener]],
    busy: list[Busy],
) -> list[Listener]:
    """Return the listeners at the places of an address, held or new."""
    found: list[Listener] = []
    missing: StartupFailure | None = None
    is_busy = False
    for place in places.resolve(one.address, one.origin):
        if isinstance(place, Tcp) and not place.port and found:
            place = place._replace(port=found[0].socket.getsockname()[1])  # noqa: PLW2901 - one port for a name
        there = [listener for listener in held if listener.place == place and _is_usable(listener)]
        try:
            found += there or [_bind(place, one, held, options, spare)]
        except StartupFailure as failure:
            if failure.cause is ADDRESS_UNAVAILABLE:  # localhost may have an address of a family that is switched off
                missing = failure
            elif sockets.is_busy(failure):
                is_busy = True
                busy.append(Busy(place, one, failure))
            else:
                raise
    if missing is not None and not (found or is_busy):
        raise missing
    return found


def _bind(
    place: Address,
    one: ListenSpec,
    held: list[Listener],
    options: sockets.Options,
    spare: Callable[[], Collection[Listener]],
) -> Listener:
    beside = overlapping(place, held)
    try:
        bound = sockets.bind(place, one, options, beside=beside)
    except StartupFailure as failure:
        in_the_way = [listener for listener in beside if listener in spare()]
        if not in_the_way or not sockets.is_busy(failure):
            raise
        for listener in in_the_way:
            _end(listener)
        bound = sockets.bind(place, one, options, beside=overlapping(place, held))
    held.append(bound)
    return bound


def try_again(one: Busy, held: list[Listener], options: sockets.Options) -> Listener | None:
    """Bind what was busy, as ``claim`` does; None while it is.

    Raises:
        StartupFailure: it cannot be bound any more, for another reason.
    """
    bound = sockets.bind_again(one.place, one.wanted, options, beside=overlapping(one.place, held))
    if bound is not None:
        held.append(bound)
    return bound


def fits(listener: Listener, address: Address) -> bool:
    """Return whether a listener fits an address: it was bound for it, or for another spelling of the same place."""
    if not _is_usable(listener):
        return False
    return listener.spec.address == address or listener.place in places.known(address)


def overlapping(place: Address, held: Sequence[Listener]) -> list[Listener]:
    """Return the listeners that overlap a place."""
    return [listener for listener in held if listener.socket.fileno() >= 0 and places.overlap(listener.place, place)]


def _is_usable(listener: Listener) -> bool:
    """Return whether clients reach a listener, or will when it listens."""
    return listener.socket.fileno() >= 0 and not sockets.is_deaf(listener.socket) and not listener.has_lost_its_file


def _end(listener: Listener) -> None:
    """Close a listener for all processes that have it, as a service manager has until it has read our report."""
    with contextlib.suppress(OSError):  # macOS refuses it
        listener.socket.shutdown(socket.SHUT_RDWR)
    listener.socket.close()


def give_up(held: list[Listener], wanted: Collection[Address]) -> list[Listener]:
    """Close the held listeners that are of no use, before others are bound; return them.

    Of no use is a listener that overlaps no wanted address, and a unix socket without its file, as no client can connect
    there; a service manager removes such files with the folder of a service. What a manager passed to be served
    is left alone.
    """
    given_up = []
    wanted_places = [place for address in wanted for place in places.known(address)]
    for listener in tuple(held):
        if isinstance(listener.spec.address, Inherited):
            continue
        is_wanted = listener.spec.address in wanted or any(
            places.overlap(listener.place, place) for place in wanted_places
        )
        if not is_wanted or listener.has_lost_its_file:
            held.remove(listener)
            _end(listener)
            given_up.append(listener)
    return given_up


def close(listener: Listener, *, keeps_file: bool = False) -> None:
    """Close a listener, and remove the file of a unix socket that arun made.

    With ``keeps_file`` the path belongs to another listener by now.
    """
    if not keeps_file:
        listener.remove_file()
    listener.socket.close()
