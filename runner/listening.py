"""From settings to listeners: who we become, which sockets are claimed before and after, which are given up."""

from __future__ import annotations

import os

from runner import addresses, fallback, settings
from runner.failures import StartupFailure
from runner.system import listeners, logs, privileges, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.fallback import Attempt
    from runner.settings import Settings
    from runner.system.sockets import Listener

__all__ = ("bind_for_last_resort", "bind_what_is_known", "listen")

_FIRST_ORDINARY_PORT = 1024
DEFAULT = addresses.Tcp("127.0.0.1", 8000)


def listen(attempt: Attempt, chosen: Settings) -> list[Listener]:
    """Claim the sockets in their order around the drop of privileges: shared ones before it, ordinary ones after.

    What the attempt inherited and nobody names is given up; a fallback that names no address takes all of it.

    Raises:
        StartupFailure: one of the failures of the stages "identity", "listen" and "privileges".
    """
    identity = privileges.lookup(
        chosen.uid, chosen.gid, user_origin=chosen.origin("uid"), group_origin=chosen.origin("gid")
    )
    options = _options(chosen)
    inherited = list(attempt.listeners)
    claimed = listeners.claim(chosen.shared_addresses, attempt.listeners, options)
    if identity is not None:
        _prepare_for_drop(attempt, identity)
        privileges.drop(identity)
    named = list(chosen.addresses)
    given = [
        (listener.requested, "inherited")
        for listener in inherited
        if attempt.is_fallback or isinstance(listener.requested, addresses.Inherited)
    ]
    if given and all(origin == "PORT" for _, origin in named):
        wanted = given
    else:
        wanted = named or ([] if claimed else [(DEFAULT, "default")])
    if not attempt.is_fallback:  # a service manager's sockets are served in any case: it would not pass them otherwise
        wanted += given
    claimed += listeners.claim(wanted, attempt.listeners, options)
    for listener in [one for one in attempt.listeners if one not in claimed]:
        attempt.listeners.remove(listener)
        listeners.close(listener)
    return list(dict.fromkeys(claimed))


def bind_what_is_known(attempt: Attempt, partial: Settings) -> None:
    """Bind the addresses that could be read from settings with a fault elsewhere, so that their clients are answered.

    Best effort, and only for a successor. Where uid or gid were to give up rights first, nothing is bound that may have
    been meant to need the lesser ones: no low port, and no unix socket.
    """
    if attempt.fallback is None or attempt.is_fallback:
        return
    wanted = partial.addresses
    if partial.uid or partial.gid:
        wanted = tuple(
            (address, origin)
            for address, origin in wanted
            if isinstance(address, addresses.Tcp) and address.port >= _FIRST_ORDINARY_PORT
        )
    try:
        _bind_what_can_be_bound(attempt, wanted, _options(partial))
    except StartupFailure:
        return  # the owner of unix sockets is unknown: one more fault in the settings


def bind_for_last_resort(attempt: Attempt) -> None:
    """Bind, best effort, where the fallback would listen that this process could not become."""
    _bind_what_can_be_bound(attempt, attempt.fallback_addresses, sockets.Options())


def _bind_what_can_be_bound(
    attempt: Attempt, wanted: Sequence[tuple[addresses.Address, str]], options: sockets.Options
) -> None:
    for address, origin in wanted:
        try:
            listeners.claim([(address, origin)], attempt.listeners, options)
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


def _prepare_for_drop(attempt: Attempt, identity: privileges.Identity) -> None:
    """Notice before the drop what the dropped user will not be able to read, and load what serving needs while we can."""
    needed = fallback.needed_files(attempt, attempt.fallback)
    unreadable = privileges.unreadable_after_drop(identity, needed)
    if not unreadable:
        return
    from runner.apps import shadows

    shadows.load_what_serving_needs()
    if attempt.fallback is None:
        return
    attempt.fallback_addresses = _addresses_of(attempt.fallback, attempt.program.cwd)
    for path in unreadable:
        logs.warning(
            f"uid {identity.uid} cannot read {path}: if this start fails, this process serves the welcome page itself"
        )


def _addresses_of(config: str, directory: str) -> tuple[tuple[addresses.Address, str], ...]:
    """Return where a fallback config wants to listen, as far as it can be read."""
    layers = settings.read((config,), os.environ, directory=directory, factory_reset=True)
    try:
        return settings.judge(layers).addresses
    except settings.SettingsRejected as rejected:
        return rejected.partial.addresses
