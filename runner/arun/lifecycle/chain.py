"""The fallback chain before an outage: what would follow a failed start is read and looked at while nothing has failed.

Nothing of an app is imported, nothing listens, and no name is resolved: a start must not wait for it.
"""

from __future__ import annotations

import os
import sys

from arun.apps import target as targets
from arun.core import addresses, redaction
from arun.core.failures import (
    ADDRESS_DENIED,
    ADDRESS_UNAVAILABLE,
    APP_NOT_FOUND,
    CERTIFICATE_MISSING,
    CERTIFICATE_UNREADABLE,
    CONFIG_UNREADABLE,
    DIRECTORY_UNUSABLE,
    FALLBACK_BROKEN,
    FILE_UNUSABLE,
    PRIVILEGES_DENIED,
    StartupFailure,
    printable,
)
from arun.core.values import Value
from arun.instance import fallback, own_page
from arun.settings import SettingsRejected, entries, listeners, read, validate
from arun.system import logs, privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from arun.instance.configuration import Configuration
    from arun.instance.fallback import FallbackPolicy
    from arun.settings import Settings
    from arun.system.privileges import Identity

__all__ = ("Link", "enforce", "links", "report")

#: Where Linux says from which port upward any user may listen; 1024 where it does not.
_UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


#: Links that are looked at: a start must not wait for more.
_MOST_LINKS = 16


class Link(Value):
    """One config of the chain: its reference, its settings as far as they can be read, and what would make it fail."""

    config: str
    settings: Settings | None = None
    problems: tuple[StartupFailure, ...] = ()


class _Surroundings(Value):
    """What a fallback would be started with: directory, environment, user, and where the first start listens."""

    directory: str
    environ: Mapping[str, str]
    identity: Identity | None
    held: tuple[addresses.Address, ...]


def links(configuration: Configuration, environ: Mapping[str, str]) -> tuple[tuple[Link, ...], StartupFailure | None]:
    """Return what would follow this start, one config after the other, without the built-in one; of a long chain the first ones.

    The second value is why the last config of the chain has no successor although it names one: a loop, or fallback-limit.

    Args:
        configuration: of the start; its settings are validated.
        environ: the environment that a fallback would be started with.
    """
    tried: tuple[str, ...] = ()
    settings, policy = configuration.settings, configuration.fallback
    around = _Surroundings(configuration.directory, environ, _identity(settings), _bound_before_drop(settings))
    name, found = configuration.name, list[Link]()
    while policy.config is not None and policy.names_own and len(found) < _MOST_LINKS:
        end = fallback.refusal(policy, name, tried, configuration.directory)
        if end is not None:
            return tuple(found), end
        link, following = _link(policy, around)
        found.append(link)
        tried, name, policy = (*tried, entries.config_key(name)), policy.config, following
    return tuple(found), None


def report(configuration: Configuration, environ: Mapping[str, str]) -> StartupFailure | None:
    """Warn of what is broken in the chain of fallbacks, and return the failure that ``strict-fallback`` makes of it."""
    chain, end = links(configuration, environ)
    first: StartupFailure | None = None
    for number, link in enumerate(chain):
        name = printable(entries.shown(link.config, configuration.directory))
        for problem in link.problems:
            logs.warning(f"the fallback config {name}: {_summary(problem)}")
            first = first or _broken(configuration, f"the fallback config {name} would fail: {_summary(problem)}")
        if link.problems:
            following = chain[number + 1].config if number + 1 < len(chain) else None
            logs.warning(f"should this start fail, {name} would fail too; then {_then(configuration, following)}")
    if end is not None:
        logs.warning(f"{end.cause.identifier}: {end.sentence}; then {_then(configuration, None)}")
        first = first or _broken(configuration, f"the chain of fallbacks ends early: {end.sentence}")
    return first


def enforce(configuration: Configuration, environ: Mapping[str, str]) -> None:
    """Report the chain of a first start; a fallback is no time to look at it, nor to refuse what works.

    Raises:
        StartupFailure(FALLBACK_BROKEN): something in it is broken, and ``strict-fallback`` is on.
    """
    failure = report(configuration, environ)
    if failure is not None and configuration.settings.strict_fallback:
        raise failure


def _broken(configuration: Configuration, sentence: str) -> StartupFailure:
    return StartupFailure(FALLBACK_BROKEN, sentence, origin=configuration.fallback.origin)


def _summary(problem: StartupFailure) -> str:
    origin = "" if problem.origin in {"", "fallback config"} else f" (from {problem.origin})"
    return redaction.masked(f"{problem.cause.identifier}: {problem.sentence}{origin}")


def _then(configuration: Configuration, following: str | None) -> str:
    if following is not None:
        return f"{printable(entries.shown(following, configuration.directory))} is tried"
    if configuration.fallback.chain.last_resort == "page":
        return "the welcome page is served"
    return "the instance ends with status 1"


def _link(policy: FallbackPolicy, around: _Surroundings) -> tuple[Link, FallbackPolicy]:
    """Return the fallback that the policy names, and its own policy."""
    assert policy.config is not None  # noqa: S101 - the caller has looked
    path = entries.split_reference(policy.config)[0]
    if problem := _closed(path, around):
        return Link(policy.config, None, (problem,)), fallback.FallbackPolicy()
    layers = read((policy.config,), around.environ, directory=around.directory, factory_reset=True)
    following = fallback.FallbackPolicy(config=entries.located(layers.fallback))
    try:
        settings = validate(layers)
    except SettingsRejected as rejected:
        return Link(policy.config, None, rejected.problems), following
    included = tuple(filter(None, (_closed(one.path, around) for one in layers.configs)))
    problems = (*included, *_problems(settings, around))
    return Link(policy.config, settings, problems), following._replace(limit=settings.fallback_limit)


def _closed(path: str, around: _Surroundings) -> StartupFailure | None:
    """Return the failure of a config file that is there, and that the user who would read it may not."""
    if (
        around.identity is None
        or not privileges.unreadable_after_drop(around.identity, [path])
        or fallback.is_gone(path)
    ):
        return None
    name = entries.shown(path, around.directory)
    return StartupFailure(CONFIG_UNREADABLE, f"uid {around.identity.uid} cannot read the config {name}")


def _problems(settings: Settings, around: _Surroundings) -> Iterator[StartupFailure]:
    """Yield what would make a start with these settings fail, as far as files, users and addresses tell."""
    for look in (_look_at_user, _look_at_directory, _look_at_files, _look_at_addresses, _look_at_app):
        try:
            look(settings, around)
        except StartupFailure as failure:
            yield failure


def _identity(settings: Settings) -> Identity | None:
    """Return what the start becomes before its app is imported; an unknown user is a failure of that start."""
    try:
        return _wanted_identity(settings)
    except StartupFailure:
        return None


def _wanted_identity(settings: Settings) -> Identity | None:
    return privileges.lookup(
        settings.uid, settings.gid, user_origin=settings.origin("uid"), group_origin=settings.origin("gid")
    )


def _bound_before_drop(settings: Settings) -> tuple[addresses.Address, ...]:
    """Return where the start listens before it drops its privileges: a fallback takes those sockets over."""
    drops = _identity(settings) is not None
    named = [one.address for one in listeners.named(settings, inherits=False)]
    return (*(address for address, _ in settings.shared_addresses), *([] if drops else named))


def _look_at_user(settings: Settings, around: _Surroundings) -> None:
    wanted = _wanted_identity(settings)
    now = around.identity
    uid, gid = (os.geteuid(), os.getegid()) if now is None else (now.uid, now.gid)
    if wanted is not None and uid != 0 and (wanted.uid, wanted.gid) != (uid, gid):
        sentence = f"it would be started as uid {uid}, gid {gid}, and cannot become uid {wanted.uid}, gid {wanted.gid}"
        raise StartupFailure(
            PRIVILEGES_DENIED, sentence, origin=wanted.origin, hint="leave uid and gid out of the fallback config"
        )


def _directory(settings: Settings, around: _Surroundings) -> str:
    return os.path.join(around.directory, settings.chdir or "")


def _look_at_directory(settings: Settings, around: _Surroundings) -> None:
    path = _directory(settings, around)
    if settings.chdir and not os.path.isdir(path):
        raise StartupFailure(DIRECTORY_UNUSABLE, f"there is no directory {path}", origin=settings.origin("chdir"))


def _look_at_files(settings: Settings, around: _Surroundings) -> None:
    if settings.welcome_html:
        own_page.read(settings)
    if settings.env_file:
        path = os.path.join(_directory(settings, around), settings.env_file)
        if not _readable(path, around):
            raise StartupFailure(FILE_UNUSABLE, _unreadable(path, around), origin=settings.origin("env_file"))
    for spec in (listeners.default(settings, inherits=True), *listeners.named(settings, inherits=True)):
        if spec.tls is not None and (closed := [one for one in spec.tls.files if not _readable(one, around)]):
            cause = CERTIFICATE_MISSING if fallback.is_gone(closed[0]) else CERTIFICATE_UNREADABLE
            raise StartupFailure(cause, _unreadable(closed[0], around), origin=spec.tls.origin)


def _unreadable(path: str, around: _Surroundings) -> str:
    return f"there is no file {path}" if fallback.is_gone(path) else f"cannot read {path}{_as_user(around)}"


def _readable(path: str, around: _Surroundings) -> bool:
    if around.identity is not None:
        return not privileges.unreadable_after_drop(around.identity, [path])
    return os.access(path, os.R_OK)


def _as_user(around: _Surroundings) -> str:
    return "" if around.identity is None else f" as uid {around.identity.uid}"


def _look_at_addresses(settings: Settings, around: _Surroundings) -> None:
    """Look at the addresses that would have to be bound anew.

    Raises:
        StartupFailure(ADDRESS_DENIED or ADDRESS_UNAVAILABLE): one of them could not.
    """
    for spec in (*listeners.shared(settings, inherits=True), *listeners.named(settings, inherits=True)):
        address = spec.address
        if address in around.held:
            continue
        if isinstance(address, addresses.Tcp) and 0 < address.port < _first_open_port() and not _is_root(around):
            raise StartupFailure(
                ADDRESS_DENIED,
                f"cannot listen on {address}{_as_user(around)}",
                origin=spec.origin,
                hint="bind it before the drop, with --shared-socket in the first start, or name no address in the fallback",
            )
        if isinstance(address, addresses.Unix) and not address.is_abstract:
            folder = os.path.dirname(address.path)
            if not os.path.isdir(folder):
                raise StartupFailure(ADDRESS_UNAVAILABLE, f"there is no folder {folder}", origin=spec.origin)


def _is_root(around: _Surroundings) -> bool:
    return (os.geteuid() if around.identity is None else around.identity.uid) == 0


def _first_open_port() -> int:
    try:
        with open(_UNPRIVILEGED, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def _look_at_app(settings: Settings, around: _Surroundings) -> None:
    """Look whether the file of the app is there, or that of its module.

    Raises:
        StartupFailure(APP_NOT_FOUND): it is not, or the user who would serve it cannot read it.
    """
    name = "app" if settings.app is not None else "wsgi_file"
    text, origin = getattr(settings, name), settings.origin(name)
    if text is None:
        return
    places = targets.Places.of(_directory(settings, around), settings.app_dir)
    target = targets.parse(text, places, origin=origin, attribute=settings.callable or "", is_path=name == "wsgi_file")
    folders = [os.path.join(_directory(settings, around), one) for one in settings.pythonpath]
    path = targets.file_of(target, (*folders, *sys.path))
    if path is None:
        raise StartupFailure(APP_NOT_FOUND, f"there is no module {target.name!r}", origin=origin)
    if path and not _readable(path, around):
        raise StartupFailure(APP_NOT_FOUND, _unreadable(path, around), origin=origin)
