"""The fallback as pure values: what the options name, and the plan of what follows a failed start."""

from __future__ import annotations

import os
import stat

from arun.core.failures import FALLBACK_LIMIT, FALLBACK_LOOP, StartupFailure
from arun.core.values import Value
from arun.lifecycle.recovery_policy import RecoverPolicy
from arun.settings.entries import UNREAD_FORMATS, config_key, shown, split_reference, welcome_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = (
    "COMMAND_LINE",
    "FallbackPolicy",
    "Plan",
    "is_gone",
    "plan",
    "unfit",
)

#: The name of a start that no config file describes.
COMMAND_LINE = "command line"


class FallbackPolicy(Value):
    """What follows if this start fails: as the options ``fallback-config``, ``fallback-on``, ``fallback-limit``, ``last-resort``.

    ``debug``: the built-in page, should it follow, shows causes to visitors from this machine. ``recover``: when a fallback
    tries the first start again.
    """

    config: str | None = None
    causes: frozenset[str] = frozenset(("all",))
    limit: int = 8
    last_resort: str = "page"
    debug: bool = False
    recover: RecoverPolicy = RecoverPolicy()


class Plan(Value):
    """What follows a failed start: the config to become, or None for nothing.

    ``is_last``: the start belongs to a chain that ends with it: it names no fallback of its own, or none that
    may be tried (``end`` is the reason). What follows then is the built-in config, once, unless ``last-resort`` is
    ``exit``. ``is_narrowed``: ``fallback-on`` does not name such a failure.
    """

    config: str | None = None
    is_last: bool = False
    end: StartupFailure | None = None
    is_narrowed: bool = False


def plan(
    policy: FallbackPolicy, name: str, tried: Sequence[str], failures: Sequence[StartupFailure], directory: str
) -> Plan:
    """Decide what follows a failed start.

    Nothing follows where no fallback is asked for, or none for such a failure (``fallback-on``).

    Args:
        policy: what the options name.
        name: the config of the start, or what stands for it.
        tried: the keys of the configs that have failed before it in its chain.
        failures: why it has failed.
        directory: the starting directory, for the names of configs in messages.
    """
    is_fallback = bool(tried)
    is_chain = is_fallback or policy.config is not None
    if not any({"all", one.cause.identifier, one.cause.stage} & policy.causes for one in failures):
        return Plan(is_last=is_fallback, is_narrowed=is_chain)
    known = {*tried, config_key(name)}
    end: StartupFailure | None = None
    if policy.config is not None:
        if config_key(policy.config) in known:
            end = StartupFailure(FALLBACK_LOOP, f"{shown(policy.config, directory)} was tried before in this chain")
        elif len(tried) >= policy.limit:
            end = StartupFailure(
                FALLBACK_LIMIT, f"the chain of fallbacks has {len(tried)} links, and fallback-limit is {policy.limit}"
            )
        else:
            return Plan(policy.config)
    serves_page = is_chain and policy.last_resort == "page" and config_key(welcome_config()) not in known
    return Plan(welcome_config() if serves_page else None, is_chain, end)


def unfit(config: str) -> str:
    """Return why no config can be read where a reference leads, as it looks from outside; empty where nothing is wrong."""
    path = split_reference(config)[0]
    if path.endswith(".py"):
        return "is a program in Python, and arun runs no program to be configured"
    if os.path.splitext(path)[1].lower() in UNREAD_FORMATS:
        return "is in no format that arun reads"
    if is_gone(path):
        return "is not there"
    try:
        mode = os.stat(path).st_mode
    except OSError as error:  # a link that leads nowhere, a folder that is closed
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISREG(mode):
        return "is a directory" if stat.S_ISDIR(mode) else "is no regular file"
    return "" if os.access(path, os.R_OK) else "cannot be read: permission denied"


def is_gone(path: str) -> bool:
    """Return whether there is no such file; one in a folder that is closed to this user may well be there."""
    try:
        os.lstat(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False
