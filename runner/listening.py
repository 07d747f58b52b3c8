"""From settings to listeners: who we become, which sockets are claimed before and after, which are given up."""

from __future__ import annotations

import os

from runner import addresses, fallback, settings, transports
from runner.failures import StartupFailure
from runner.system import listeners, logs, privileges, sockets
from runner.system.listeners import Wanted
from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.fallback import Attempt
    from runner.settings import Settings
    from runner.system.sockets import Listener
    from runner.transports import Contexts

__all__ = ("Listening", "bind_for_last_resort", "bind_what_is_known", "give_up", "listen")

_FIRST_ORDINARY_PORT = 1024


class Listening(Value):
    """The listeners of an instance, the context of each TLS that they speak, and what nobody wants any more."""

    listeners: list[Listener]
    contexts: Contexts
    surplus: list[Listener]


def listen(attempt: Attempt, chosen: Settings) -> Listening:
    """Claim the sockets in their order around the drop of privileges: shared ones before it, ordinary ones after.

    What the attempt inherited and nobody names is surplus; a fallback that names no address takes all of it.
    Certificates are read before the drop, as keys often are for root alone.

    Raises:
        StartupFailure: one of the failures of the stages "identity", "listen" and "privileges".
    """
    identity = privileges.lookup(
        chosen.uid, chosen.gid, user_origin=chosen.origin("uid"), group_origin=chosen.origin("gid")
    )
    options = _options(chosen)
    transports.check(chosen)
    shared, named = _wanted(attempt, chosen, inherits=attempt.is_fallback)
    if attempt.stored and not attempt.is_fallback:
        _give_up_stored(attempt, [one.address for one in (*shared, *named)] or [settings.DEFAULT])
    ordinary = transports.ordinary(chosen, inherits=attempt.is_fallback)
    contexts = dict(transports.load([ordinary, *(one.transport for one in named)]))
    if attempt.is_fallback:
        takes_all = all(one.origin == "PORT" for one in named)
        kept, closed = transports.inherit(attempt.listeners, [*shared, *named], ordinary, takes_all=takes_all)
        attempt.secured.update(closed)
        shared, again = transports.secured(shared, attempt.secured)
        named, more = transports.secured(named, attempt.secured)
        contexts.update({**kept, **again, **more})
    inherited = list(attempt.listeners)
    claimed = listeners.claim(shared, attempt.listeners, options)
    if identity is not None:
        _prepare_for_drop(attempt, identity, contexts)
        privileges.drop(identity)
    given = [
        Wanted(listener.requested, "inherited", ordinary, attempt.is_fallback)
        for listener in inherited
        if attempt.is_fallback or isinstance(listener.requested, addresses.Inherited)
    ]
    if given and all(one.origin == "PORT" for one in named):
        wanted = given
    else:
        wanted = named or ([] if claimed or attempt.secured else [Wanted(settings.DEFAULT, "default", ordinary)])
    if attempt.is_fallback and any(one.origin == "default" for one in wanted):
        logs.info(f"arun: the fallback has no address, named or handed over; it takes the default {settings.DEFAULT}")
    if not attempt.is_fallback:  # a service manager's sockets are served in any case: it would not pass them otherwise
        wanted += given
    claimed += listeners.claim(wanted, attempt.listeners, options)
    order = [listener.socket for listener in claimed]  # one that was claimed twice is as the second claim left it
    served = {one: listener for one in order for listener in attempt.listeners if listener.socket is one}
    surplus = [listener for listener in attempt.listeners if listener.socket not in served]
    for listener in surplus:
        attempt.listeners.remove(listener)
    _remember_tls(attempt, surplus)
    if not served:
        raise _nowhere(attempt)
    return Listening(list(served.values()), contexts, surplus)


def give_up(attempt: Attempt, surplus: Sequence[Listener]) -> None:
    """Close what nobody wants any more, and let a service manager forget it."""
    if attempt.manager is not None:
        attempt.manager.remove(surplus)
    for listener in surplus:
        listeners.close(listener)


def _give_up_stored(attempt: Attempt, wanted: Sequence[addresses.Address]) -> None:
    """Give up what a service manager kept and is of no use: an old address may be in the way of a new one."""
    given_up = listeners.give_up(attempt.listeners, wanted)
    _remember_tls(attempt, given_up)
    if attempt.manager is not None:
        attempt.manager.remove(given_up)


def _remember_tls(attempt: Attempt, closed: Sequence[Listener]) -> None:
    attempt.secured.update((one.requested, one.transport) for one in closed if one.transport.tls)


def _nowhere(attempt: Attempt) -> StartupFailure:
    from runner.tls_failures import CertificateUnusable

    where = ", ".join(str(address) for address in attempt.secured)
    return CertificateUnusable(f"nothing is left to listen on: TLS was spoken on {where}, and cannot be any more")


def _wanted(attempt: Attempt, chosen: Settings, *, inherits: bool) -> tuple[list[Wanted], list[Wanted]]:
    """Return what the settings name: to be bound before a drop of privileges, and after it."""
    ordinary = transports.ordinary(chosen, inherits=inherits)
    shared = [Wanted(address, origin, ordinary, inherits) for address, origin in chosen.shared_addresses]
    named = [Wanted(address, origin, ordinary, inherits) for address, origin in chosen.addresses]
    return shared, named + transports.secure(chosen, attempt.listeners, inherits=inherits)


def bind_what_is_known(attempt: Attempt, partial: Settings) -> None:
    """Bind the addresses that could be read from settings with a fault elsewhere, so that their clients are answered.

    Best effort, and only for a successor. Where uid or gid were to give up rights first, no ordinary socket is bound that
    may have been meant to need the lesser ones: no low port, and no unix socket.
    """
    if attempt.fallback is None or attempt.is_fallback:
        return
    shared, named = _wanted(attempt, partial, inherits=False)
    if partial.uid or partial.gid:
        named = [
            one for one in named if isinstance(one.address, addresses.Tcp) and one.address.port >= _FIRST_ORDINARY_PORT
        ]
    try:
        _bind_what_can_be_bound(attempt, [*shared, *named], _options(partial))
    except StartupFailure:
        return  # the owner of unix sockets is unknown: one more fault in the settings


def bind_for_last_resort(attempt: Attempt) -> None:
    """Bind, best effort, where the fallback would listen that this process could not become."""
    _bind_what_can_be_bound(attempt, attempt.fallback_addresses, sockets.Options())


def _bind_what_can_be_bound(attempt: Attempt, wanted: Sequence[Wanted], options: sockets.Options) -> None:
    for one in wanted:
        if one.address in attempt.secured and one.transport.tls is None:
            continue  # it would turn plain
        try:
            listeners.claim([one], attempt.listeners, options)
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
    needed = fallback.needed_files(attempt, attempt.fallback)
    unreadable = privileges.unreadable_after_drop(identity, needed)
    if not unreadable:
        return
    from runner.apps import shadows

    shadows.load_what_serving_needs()
    if attempt.fallback is None:
        return
    attempt.fallback_addresses = _addresses_of(attempt, attempt.fallback)
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
    shared, named = _wanted(attempt, chosen, inherits=True)
    return (*shared, *named)
