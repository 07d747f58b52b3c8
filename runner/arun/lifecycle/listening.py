"""From settings to listeners: the drop of privileges, the sockets claimed before and after it, and those given up."""

from __future__ import annotations

import os
import time

from arun.core import addresses
from arun.core.failures import ADDRESS_UNAVAILABLE, CERTIFICATE_UNUSABLE, StartupFailure
from arun.lifecycle.successor import needed_files
from arun.listen import claims, places, sockets, tls
from arun.listen.held import Listening
from arun.settings import BIND_RETRY, DEFAULT, SettingsRejected, listeners, read, validate
from arun.settings.entries import split_reference
from arun.system import logs, privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arun.core.addresses import Address
    from arun.core.listen_spec import ListenSpec
    from arun.instance.configuration import Configuration
    from arun.instance.fallback import FallbackPolicy
    from arun.instance.instance import Instance
    from arun.listen.held import Sockets
    from arun.listen.sockets import Listener
    from arun.listen.tls import Contexts
    from arun.settings import Settings

__all__ = (
    "bind_late",
    "bind_what_is_known",
    "is_free",
    "listen",
    "look",
    "want",
)

#: Seconds between two tries to bind a busy address.
_PAUSE = 0.1
_WITHOUT_END = float("inf")


def listen(
    instance: Instance, configuration: Configuration, held: Sockets, *, beside_workers: bool = False
) -> Listening:
    """Claim the sockets in their order around the drop of privileges: shared ones before it, ordinary ones after.

    What was inherited and is not named is not wanted any more; a fallback that names no address wants those of the start
    that failed. Certificates are read before the drop, as keys often are for root alone.

    Args:
        instance: the instance.
        configuration: what it is to go by; that of a reload's candidate included.
        held: the sockets that it holds then.
        beside_workers: others serve what is held, and go on if this fails: a reload or an upgrade.

    Raises:
        StartupFailure: one of the failures of the stages "identity", "listen" and "privileges".
    """
    settings, is_fallback = configuration.settings, instance.is_fallback
    identity = privileges.lookup(
        settings.uid, settings.gid, user_origin=settings.origin("uid"), group_origin=settings.origin("gid")
    )
    options = _options(settings)._replace(yields=beside_workers)
    before = _before(held, is_fallback=is_fallback)
    shared, named = _wanted(settings, before, inherits=is_fallback)
    if not is_fallback:
        held.give_up_stored([one.address for one in (*shared, *named)] or [DEFAULT])
    default = listeners.default(settings, inherits=is_fallback)
    contexts = dict(tls.load([default, *named]))
    is_named = bool(shared) or any(one.origin != "PORT" for one in named)
    named = _completed(instance, held, shared, named, default)
    wanted = [*shared, *named]
    if is_fallback:
        shared, never = tls.inherit(shared, before, contexts)
        named, neither = tls.inherit(named, before, contexts)
        refused = [*never, *neither]
        wanted = [*shared, *named, *refused]
        held.refuse(refused)
    held.want(wanted)
    patience = _patience(settings, configuration.fallback, is_fallback=is_fallback, beside_workers=beside_workers)
    claim = _Claim(held, options, patience, inherits=is_fallback)
    claimed = claim.all(shared)
    if identity is not None:
        _prepare_for_drop(instance, held, identity, contexts)
        held.give_to(identity.uid)
        privileges.drop(identity)
    claimed += claim.all(named, skips_failures=is_fallback and not is_named)
    held.want([_with_real_port(one, claimed) for one in wanted], busy=claim.busy)
    order = [listener.socket for listener in claimed]  # one that was claimed twice is as the second claim left it
    served = {one: listener for one in order for listener in held.listeners if listener.socket is one}
    if not served and not claim.busy:
        raise claim.skipped or _nowhere(held)
    others = [listener for listener in held.listeners if listener.socket not in served]
    held.remember_tls(others)
    leaving = [] if beside_workers else _leaving(others, list(served.values()))
    stay = {listener.socket for listener in leaving} | served.keys()
    surplus = [listener for listener in others if listener.socket not in stay]
    held.only(stay)
    return Listening(list(served.values()), contexts, surplus, leaving, options)


def look(
    instance: Instance, configuration: Configuration, held: Sequence[ListenSpec], step: Callable[[str, str], object]
) -> None:
    """Look whether ``listen`` would succeed, for a first start: nothing listens, and no file is made or removed.

    Certificates are loaded and privileges dropped as there. ``held`` is where the instance listens for which this is a trial:
    those addresses are its own. ``step`` is called with each step that has succeeded.

    Raises:
        StartupFailure: as in ``listen``.
    """
    settings = configuration.settings
    identity = privileges.lookup(
        settings.uid, settings.gid, user_origin=settings.origin("uid"), group_origin=settings.origin("gid")
    )
    options = _options(settings)
    shared, named = _wanted(settings, [], inherits=False)
    default = listeners.default(settings, inherits=False)
    secured = [one for one in (default, *named) if one.tls]
    contexts = tls.load(secured)
    if contexts:
        step("certificates", ", ".join(path for one in contexts for path in one.files))
    named = _completed(instance, instance.sockets, shared, named, default)
    own = [one.address for one in held]
    passed = any(isinstance(one, addresses.Inherited) for one in own)  # and served, where nothing else is named
    there = [place for address in own for place in places.known(address)]
    instance.sockets.want([*shared, *named])
    if shared:
        _look_at(shared, own, there, options, instance.sockets)
        step("shared addresses", ", ".join(str(one.address) for one in shared))
    if identity is not None:
        _prepare_for_drop(instance, instance.sockets, identity, contexts)
        privileges.drop(identity)
        step("privileges", f"uid {identity.uid}, gid {identity.gid}")
    if not (passed and named == [default]):
        _look_at(named, own, there, options, instance.sockets)
    step("addresses", ", ".join(str(one.address) for one in named))


def _look_at(
    wanted: Sequence[ListenSpec],
    own: Sequence[Address],
    there: Sequence[Address],
    options: sockets.Options,
    noted: Sockets,
) -> None:
    """Look at every place of these addresses, but those that are ``own`` or overlap what is ``there``.

    Those where another process listens are ``noted``, then the first of them is raised.
    """
    busy = []
    for one in wanted:
        if one.address in own:
            continue
        missing, found = None, False
        for place in places.resolve(one.address, one.origin):
            try:
                if not any(places.overlap(place, other) for other in there):
                    sockets.look(place, one, options)
                found = True
            except StartupFailure as failure:
                if sockets.is_busy(failure):
                    busy.append(claims.Busy(place, one, failure))
                elif failure.cause is ADDRESS_UNAVAILABLE:  # as claims.claim passes over a family that is switched off
                    missing = failure
                else:
                    raise
        if missing is not None and not (found or busy):
            raise missing
    noted.want(noted.wanted, busy)
    if busy:
        raise busy[0].failure


def want(instance: Instance, settings: Settings) -> None:
    """Note where settings want to listen, before anything of it is tried: the start may end before it comes to that."""
    held, inherits = instance.sockets, instance.is_fallback
    shared, named = _wanted(settings, _before(held, is_fallback=inherits), inherits=inherits)
    default = listeners.default(settings, inherits=inherits)
    held.want([*shared, *_completed(instance, held, shared, named, default)])


def bind_late(held: Sockets, options: sockets.Options) -> list[Listener]:
    """Bind what was busy and is not any more; return the new listeners. What is busy still stays so."""
    bound, busy = [], []
    for one in held.busy:
        try:
            listener = claims.try_again(one, held.listeners, options)
        except StartupFailure as failure:
            logs.warning(f"{failure.sentence}; it is not tried again")
            continue
        if listener is None:
            busy.append(one)
        else:
            bound.append(listener)
    held.want(held.wanted, busy=busy)
    return bound


def is_free(held: Sockets) -> bool:
    """Return whether something that was busy could be bound now; nothing is."""
    for one in held.busy:
        try:
            tried = claims.try_again(one, list(held.listeners), sockets.Options(listen=False))
        except StartupFailure:
            continue
        if tried is not None:
            claims.close(tried)
            return True
    return False


class _Claim:
    """The claims of one start: what is busy is tried again for some seconds, then the start has failed.

    Where there is no end of that, it is left to the process that serves, and gathered in ``busy``. ``skipped`` is the first
    failure of an address that could be done without.
    """

    def __init__(self, held: Sockets, options: sockets.Options, patience: float, *, inherits: bool) -> None:
        self._sockets, self._options, self._patience, self._inherits = held, options, patience, inherits
        self.busy: list[claims.Busy] = []
        self.skipped: StartupFailure | None = None

    def all(self, wanted: Sequence[ListenSpec], *, skips_failures: bool = False) -> list[Listener]:
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

    def _one(self, one: ListenSpec) -> list[Listener]:
        held = self._sockets.listeners
        claimed, busy = claims.claim([one], held, self._options, spare=self._spare, inherits=self._inherits)
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
        """Return the listeners that may be closed for another: they are neither wanted nor served."""
        if self._options.yields:
            return []
        wanted = [one.address for one in self._sockets.wanted]
        return [one for one in self._sockets.listeners if not any(claims.fits(one, each) for each in wanted)]


def _patience(settings: Settings, policy: FallbackPolicy, *, is_fallback: bool, beside_workers: bool) -> float:
    """Return for how many seconds a busy address is tried again before the start fails."""
    if settings.bind_retry is not None and not beside_workers:
        return settings.bind_retry
    if policy.config is not None:
        return 0.0
    if is_fallback:
        return _WITHOUT_END
    return 0.0 if beside_workers else BIND_RETRY


def _before(held: Sockets, *, is_fallback: bool) -> list[ListenSpec]:
    """Return what stood, or was to stand, before HTTP in this chain, by address."""
    before = [spec for one in held.listeners for spec in (one.spec, one.spec.at(one.place))]
    return [*before, *held.secured.values()] if is_fallback else before


def _completed(
    instance: Instance, held: Sockets, shared: Sequence[ListenSpec], named: list[ListenSpec], default: ListenSpec
) -> list[ListenSpec]:
    """Return what is wanted beside the shared sockets: what is named, or what stands for it where nothing is.

    A service manager's sockets are served in any case by a first start: it would not pass them otherwise.
    """
    is_named = bool(shared) or any(one.origin != "PORT" for one in named)
    if instance.is_fallback:
        past = [default.over(one)._replace(address=one.address, origin=one.origin) for one in instance.past.wanted]
        if past and not is_named:
            return past
    else:
        passed = [
            default._replace(address=listener.spec.address, origin="inherited")
            for listener in held.listeners
            if isinstance(listener.spec.address, addresses.Inherited)
        ]
        if passed:
            return named + passed if is_named else passed
    return named or ([] if shared or held.secured else [default])


def _with_real_port(one: ListenSpec, claimed: Sequence[Listener]) -> ListenSpec:
    """Return a wanted address with the port that the kernel has chosen, should its socket be lost."""
    if isinstance(one.address, addresses.Tcp) and not one.address.port:
        for listener in claimed:
            if listener.spec.address == one.address and isinstance(listener.place, addresses.Tcp):
                return one.at(one.address._replace(port=listener.place.port))
    return one


def _leaving(others: Sequence[Listener], served: Sequence[Listener]) -> list[Listener]:
    """Return the unwanted listeners that overlap one which is served: clients that wait there are served as well."""
    leaving = []
    for listener in others:
        taking = [one for one in served if places.overlap(listener.place, one.place)]
        if taking and listener.listens:
            leaving.append(listener._replace(spec=taking[0].spec.at(listener.spec.address)))
    return leaving


def _nowhere(held: Sockets) -> StartupFailure:
    from arun.core.failures import StartupFailure

    where = ", ".join(str(address) for address in held.secured)
    return StartupFailure(
        CERTIFICATE_UNUSABLE, f"nothing is left to listen on: TLS was spoken on {where}, and cannot be any more"
    )


def _wanted(
    settings: Settings, before: Sequence[ListenSpec], *, inherits: bool
) -> tuple[list[ListenSpec], list[ListenSpec]]:
    """Return what the settings name: to be bound before a drop of privileges, and after it."""
    shared, named = listeners.shared(settings, inherits=inherits), listeners.named(settings, inherits=inherits)
    return shared, [tls.with_certificates(one, before) for one in named] if inherits else named


def bind_what_is_known(instance: Instance, partial: Settings) -> None:
    """Bind the addresses that could be read from settings with a fault elsewhere, so that their clients are served.

    Best effort, and only for a successor, which wants them too if it names none.
    """
    if instance.configuration.fallback.config is None or instance.is_fallback:
        return
    shared, named = _wanted(partial, [], inherits=False)
    for one in (*shared, *named):
        try:
            claims.claim([one], instance.sockets.listeners, _options(partial))
        except (StartupFailure, OSError):
            continue  # what is reported is why the start failed


def _options(settings: Settings) -> sockets.Options:
    owner = None
    if settings.chown_socket:
        user, group = settings.chown_socket
        origin = settings.origin("chown_socket")
        identity = privileges.lookup(user, group or None, user_origin=origin, group_origin=origin)
        owner = (identity.uid, identity.gid) if identity else None
    return sockets.Options(
        backlog=settings.backlog,
        reuse_port=settings.reuse_port,
        listen=settings.listen == "early",
        mode=settings.chmod_socket,
        owner=owner,
    )


def _prepare_for_drop(instance: Instance, held: Sockets, identity: privileges.Identity, contexts: Contexts) -> None:
    """Notice before the drop what the dropped user will not be able to read, and load what serving needs while we can."""
    secrets = [path for one in contexts for path in one.files]
    for path in privileges.unreadable_after_drop(identity, secrets) if secrets else ():
        logs.warning(f"uid {identity.uid} cannot read {path}: neither a fallback nor a renewal can load it again")
    config = instance.successor
    unreadable = privileges.unreadable_after_drop(identity, needed_files(instance.launch, config))
    if not unreadable:
        return
    from arun.apps import shadows

    shadows.load_what_serving_needs()
    if config is None:
        return
    held.note_wanted_by_fallback(_wanted_by(config, instance.launch.directory, held, is_fallback=instance.is_fallback))
    for path in unreadable:
        if path == split_reference(config)[0]:
            continue  # the check of the chain has told that
        logs.warning(
            f"uid {identity.uid} cannot read {path}: if this start fails, this process serves the welcome page itself"
        )


def _wanted_by(config: str, directory: str, held: Sockets, *, is_fallback: bool) -> list[ListenSpec]:
    """Return where a fallback config wants to listen, as far as it can be read."""
    layers = read((config,), os.environ, directory=directory, factory_reset=True)
    try:
        settings = validate(layers)
    except SettingsRejected as rejected:
        settings = rejected.partial
    shared, named = _wanted(settings, _before(held, is_fallback=is_fallback), inherits=is_fallback)
    return [*shared, *named]
