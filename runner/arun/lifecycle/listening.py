"""From settings to listeners: who we become, which sockets are claimed before and after, which are given up."""

from __future__ import annotations

import contextlib
import os
import time

from arun import settings
from arun.core import addresses
from arun.core.failures import StartupFailure
from arun.core.values import Value
from arun.lifecycle import fallback, transports
from arun.listen import activation, claims, places, sockets
from arun.listen.claims import Wanted
from arun.system import logs, privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arun.core.transport import Transport
    from arun.lifecycle.fallback import Attempt
    from arun.lifecycle.transports import Contexts
    from arun.listen.sockets import Listener
    from arun.settings import Settings

__all__ = (
    "Listening",
    "bind_late",
    "bind_what_is_known",
    "deafen",
    "give_up",
    "is_free",
    "let_go",
    "listen",
    "want",
    "withdraw",
)

#: Seconds between two tries to bind a busy address.
_PAUSE = 0.1
_WITHOUT_END = float("inf")


class Listening(Value):
    """The listeners of an instance, the context of each TLS that they speak, and what is not wanted any more.

    ``leaving`` overlap one that is served: the clients that wait there are served as well, then they are closed.
    ``surplus`` is closed at once. ``options`` are for what is bound later, where somebody else listens now.
    """

    listeners: list[Listener]
    contexts: Contexts
    surplus: list[Listener]
    leaving: list[Listener]
    options: sockets.Options


def listen(attempt: Attempt, chosen: Settings, *, beside_workers: bool = False) -> Listening:
    """Claim the sockets in their order around the drop of privileges: shared ones before it, ordinary ones after.

    What the attempt inherited and nobody names is not wanted any more; a fallback that names no address wants those of
    the start that failed. Certificates are read before the drop, as keys often are for root alone.

    Args:
        attempt: the start, a reload's trial included.
        chosen: its settings.
        beside_workers: others serve what is held, and go on if this fails: a reload or an upgrade.

    Raises:
        StartupFailure: one of the failures of the stages "identity", "listen" and "privileges".
    """
    identity = privileges.lookup(
        chosen.uid, chosen.gid, user_origin=chosen.origin("uid"), group_origin=chosen.origin("gid")
    )
    options = _options(chosen)._replace(yields=beside_workers)
    before = _before(attempt)
    shared, named = _wanted(attempt, chosen, before)
    if attempt.stored and not attempt.is_fallback:
        _give_up_stored(attempt, [one.address for one in (*shared, *named)] or [settings.DEFAULT])
    ordinary = transports.ordinary(chosen, inherits=attempt.is_fallback)
    contexts = dict(transports.load([ordinary, *(one.transport for one in named)]))
    is_named = bool(shared) or any(one.origin != "PORT" for one in named)
    named = _completed(attempt, shared, named, ordinary)
    attempt.wanted = (*shared, *named)
    if attempt.is_fallback:
        shared, never = transports.inherit(shared, before, contexts)
        named, neither = transports.inherit(named, before, contexts)
        refused = [*never, *neither]
        attempt.wanted = (*shared, *named, *refused)
        attempt.secured.update((one.address, one.transport) for one in refused)
    claim = _Claim(attempt, options, _patience(attempt, chosen, beside_workers=beside_workers))
    claimed = claim.all(shared)
    if identity is not None:
        _prepare_for_drop(attempt, identity, contexts)
        _give_sockets_to(attempt, identity)
        privileges.drop(identity)
    claimed += claim.all(named, skips_failures=attempt.is_fallback and not is_named)
    attempt.busy = tuple(claim.busy)
    attempt.wanted = tuple(_with_real_port(one, claimed) for one in attempt.wanted)
    order = [listener.socket for listener in claimed]  # one that was claimed twice is as the second claim left it
    served = {one: listener for one in order for listener in attempt.listeners if listener.socket is one}
    if not served and not claim.busy:
        raise claim.skipped or _nowhere(attempt)
    others = [listener for listener in attempt.listeners if listener.socket not in served]
    _remember_tls(attempt, others)
    leaving = [] if beside_workers else _leaving(others, list(served.values()))
    stay = {listener.socket for listener in leaving} | served.keys()
    surplus = [listener for listener in others if listener.socket not in stay]
    attempt.listeners[:] = [listener for listener in attempt.listeners if listener.socket in stay]
    return Listening(list(served.values()), contexts, surplus, leaving, options)


def want(attempt: Attempt, chosen: Settings) -> None:
    """Note where settings want to listen, before anything of it is tried: the start may end before it comes to that."""
    shared, named = _wanted(attempt, chosen, _before(attempt))
    ordinary = transports.ordinary(chosen, inherits=attempt.is_fallback)
    attempt.wanted = (*shared, *_completed(attempt, shared, named, ordinary))


def bind_late(attempt: Attempt, listening: Listening) -> list[Listener]:
    """Bind what was busy and is not any more; return the new listeners. What is busy still stays so."""
    bound, busy = [], []
    for one in attempt.busy:
        try:
            listener = claims.try_again(one, attempt.listeners, listening.options)
        except StartupFailure as failure:
            logs.warning(f"{failure.sentence}; it is not tried again")
            continue
        if listener is None:
            busy.append(one)
        else:
            bound.append(listener)
    attempt.busy = tuple(busy)
    return bound


def is_free(attempt: Attempt) -> bool:
    """Tell whether something that was busy could be bound now; nothing is."""
    for one in attempt.busy:
        try:
            tried = claims.try_again(one, list(attempt.listeners), sockets.Options(listen=False))
        except StartupFailure:
            continue
        if tried is not None:
            claims.close(tried)
            return True
    return False


def give_up(attempt: Attempt, surplus: Sequence[Listener]) -> None:
    """Close what nobody wants any more, and let a service manager forget it."""
    if attempt.manager is not None:
        attempt.manager.remove(activation.named(surplus))
    going = {listener.socket for listener in surplus}
    kept = {listener.place for listener in attempt.listeners if listener.socket not in going}
    for listener in surplus:
        keeps_file = listener.place in kept
        sockets.deafen(listener)  # workers that have it too take in who waits there before it is gone
        claims.close(listener, keeps_file=keeps_file)


def deafen(leaving: Sequence[Listener]) -> None:
    """Let new connections go to those that are served."""
    for listener in leaving:
        sockets.deafen(listener)


def let_go(attempt: Attempt, leaving: Sequence[Listener]) -> None:
    """Close what was leaving, once its clients are served."""
    going = {listener.socket for listener in leaving}
    attempt.listeners[:] = [listener for listener in attempt.listeners if listener.socket not in going]
    give_up(attempt, leaving)
    if leaving and attempt.manager is not None:
        attempt.manager.store(
            activation.named(attempt.listeners)
        )  # it knows some of them by the name of one that it has just forgotten


def withdraw(own: Sequence[Listener], serving: Sequence[Listener]) -> None:
    """Let connections go to those who serve again, where a start beside them has come to nothing."""
    for listener in own:
        if any(places.overlap(listener.place, other.place) for other in serving):
            sockets.deafen(listener)


class _Claim:
    """The claims of one start: what is busy is tried again for some seconds, then the start has failed.

    Where there is no end of that, it is left to the process that serves, and gathered in ``busy``. ``skipped`` is the first
    failure of an address that could be done without.
    """

    def __init__(self, attempt: Attempt, options: sockets.Options, patience: float) -> None:
        self._attempt, self._options, self._patience = attempt, options, patience
        self.busy: list[claims.Busy] = []
        self.skipped: StartupFailure | None = None

    def all(self, wanted: Sequence[Wanted], *, skips_failures: bool = False) -> list[Listener]:
        """Return the listeners for the wanted addresses."""
        claimed: list[Listener] = []
        for one in wanted:
            try:
                claimed += self._one(one)
            except StartupFailure as failure:
                if not skips_failures:
                    raise
                self.skipped = self.skipped or failure
                logs.warning(failure.sentence)
        return claimed

    def _one(self, one: Wanted) -> list[Listener]:
        held = self._attempt.listeners
        claimed, busy = claims.claim([one], held, self._options, spare=self._spare)
        if not busy:
            return claimed
        if not self._patience:
            raise busy[0].failure
        for there in busy:
            until = "" if self._patience == _WITHOUT_END else f" for {self._patience:g} s"
            logs.warning(f"{there.failure.sentence}; it is tried again{until}")
        if self._patience == _WITHOUT_END:
            self.busy += busy
            return claimed
        deadline = time.monotonic() + self._patience
        while busy and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            tried = [(there, claims.try_again(there, held, self._options)) for there in busy]
            claimed += [listener for _, listener in tried if listener is not None]
            busy = [there for there, listener in tried if listener is None]
        if busy:
            raise busy[0].failure
        return claimed

    def _spare(self) -> list[Listener]:
        """Return what may be closed for another: nobody wants it, and nobody serves it."""
        if self._options.yields:
            return []
        wanted = [one.address for one in self._attempt.wanted]
        return [one for one in self._attempt.listeners if not any(claims.fits(one, each) for each in wanted)]


def _patience(attempt: Attempt, chosen: Settings, *, beside_workers: bool) -> float:
    """Return for how many seconds a busy address is tried again before the start fails."""
    if chosen.bind_retry is not None and not beside_workers:
        return chosen.bind_retry
    if attempt.fallback is not None:
        return 0.0
    if attempt.is_fallback:
        return _WITHOUT_END
    return 0.0 if beside_workers else settings.BIND_RETRY


def _before(attempt: Attempt) -> list[transports.Before]:
    """Return what stood, or was to stand, before HTTP in this chain, by address."""
    held = [(address, one.transport) for one in attempt.listeners for address in (one.requested, one.place)]
    return [*held, *attempt.secured.items()] if attempt.is_fallback else held


def _completed(attempt: Attempt, shared: Sequence[Wanted], named: list[Wanted], ordinary: Transport) -> list[Wanted]:
    """Return what is wanted beside the shared sockets: what is named, or what stands for it where nothing is.

    A service manager's sockets are served in any case by a first start: it would not pass them otherwise.
    """
    is_named = bool(shared) or any(one.origin != "PORT" for one in named)
    if attempt.is_fallback:
        past = [
            Wanted(addresses.parse(one.address), one.origin, ordinary.over(one.transport), inherits=True)
            for one in attempt.past.wanted
        ]
        if past and not is_named:
            return past
    else:
        passed = [
            Wanted(listener.requested, "inherited", ordinary)
            for listener in attempt.listeners
            if isinstance(listener.requested, addresses.Inherited)
        ]
        if passed:
            return named + passed if is_named else passed
    return named or ([] if shared or attempt.secured else [Wanted(settings.DEFAULT, "default", ordinary)])


def _with_real_port(one: Wanted, claimed: Sequence[Listener]) -> Wanted:
    """Return a wanted address with the port that the kernel has chosen, should its socket be lost."""
    if isinstance(one.address, addresses.Tcp) and not one.address.port:
        for listener in claimed:
            if listener.requested == one.address and isinstance(listener.place, addresses.Tcp):
                return one._replace(address=one.address._replace(port=listener.place.port))
    return one


def _leaving(others: Sequence[Listener], served: Sequence[Listener]) -> list[Listener]:
    """Return the unwanted listeners that overlap one which is served: clients that wait there are served as well."""
    leaving = []
    for listener in others:
        taking = [one for one in served if places.overlap(listener.place, one.place)]
        if taking and listener.listens:
            leaving.append(listener._replace(transport=taking[0].transport))
    return leaving


def _give_sockets_to(attempt: Attempt, identity: privileges.Identity) -> None:
    """Let the user that this process becomes share the ports of what is bound: Linux lets the same user alone."""
    for listener in attempt.listeners:
        with contextlib.suppress(OSError):
            os.fchown(listener.socket.fileno(), identity.uid, -1)


def _give_up_stored(attempt: Attempt, wanted: Sequence[addresses.Address]) -> None:
    """Give up what a service manager kept and is of no use."""
    given_up = claims.give_up(attempt.listeners, wanted)
    _remember_tls(attempt, given_up)
    if attempt.manager is not None:
        attempt.manager.remove(activation.named(given_up))


def _remember_tls(attempt: Attempt, closed: Sequence[Listener]) -> None:
    attempt.secured.update((one.requested, one.transport) for one in closed if one.transport.tls)


def _nowhere(attempt: Attempt) -> StartupFailure:
    from arun.core.failures import CertificateUnusable

    where = ", ".join(str(address) for address in attempt.secured)
    return CertificateUnusable(f"nothing is left to listen on: TLS was spoken on {where}, and cannot be any more")


def _wanted(
    attempt: Attempt, chosen: Settings, before: Sequence[transports.Before]
) -> tuple[list[Wanted], list[Wanted]]:
    """Return what the settings name: to be bound before a drop of privileges, and after it."""
    inherits = attempt.is_fallback
    ordinary = transports.ordinary(chosen, inherits=inherits)
    shared = [Wanted(address, origin, ordinary, inherits) for address, origin in chosen.shared_addresses]
    named = [Wanted(address, origin, ordinary, inherits) for address, origin in chosen.addresses]
    return shared, named + transports.secure(chosen, before, inherits=inherits)


def bind_what_is_known(attempt: Attempt, partial: Settings) -> None:
    """Bind the addresses that could be read from settings with a fault elsewhere, so that their clients are answered.

    Best effort, and only for a successor, which wants them too if it names none.
    """
    if attempt.fallback is None or attempt.is_fallback:
        return
    shared, named = _wanted(attempt, partial, [])
    for one in (*shared, *named):
        try:
            claims.claim([one], attempt.listeners, _options(partial))
        except (StartupFailure, OSError):
            continue  # what is told is why the start failed


def _options(chosen: Settings) -> sockets.Options:
    owner = None
    if chosen.chown_socket:
        user, group = chosen.chown_socket
        origin = chosen.origin("chown_socket")
        identity = privileges.lookup(user, group or None, user_origin=origin, group_origin=origin)
        owner = (identity.uid, identity.gid) if identity else None
    return sockets.Options(
        backlog=chosen.backlog,
        reuse_port=chosen.reuse_port,
        listen=chosen.listen == "early",
        mode=chosen.chmod_socket,
        owner=owner,
    )


def _prepare_for_drop(attempt: Attempt, identity: privileges.Identity, contexts: Contexts) -> None:
    """Notice before the drop what the dropped user will not be able to read, and load what serving needs while we can."""
    secrets = [path for tls in contexts for path in tls.files]
    for path in privileges.unreadable_after_drop(identity, secrets) if secrets else ():
        logs.warning(f"uid {identity.uid} cannot read {path}: neither a fallback nor a renewal can load it again")
    needed = fallback.needed_files(attempt, attempt.successor)
    unreadable = privileges.unreadable_after_drop(identity, needed)
    if not unreadable:
        return
    from arun.apps import shadows

    shadows.load_what_serving_needs()
    if attempt.successor is None:
        return
    attempt.fallback_addresses = _addresses_of(attempt, attempt.successor)
    for path in unreadable:
        logs.warning(
            f"uid {identity.uid} cannot read {path}: if this start fails, this process serves the welcome page itself"
        )


def _addresses_of(attempt: Attempt, config: str) -> tuple[Wanted, ...]:
    """Return where a fallback config wants to listen, as far as it can be read."""
    layers = settings.read((config,), os.environ, directory=attempt.program.cwd, factory_reset=True)
    try:
        chosen = settings.judge(layers)
    except settings.SettingsRejected as rejected:
        chosen = rejected.partial
    shared, named = _wanted(attempt, chosen, _before(attempt))
    return (*shared, *named)
