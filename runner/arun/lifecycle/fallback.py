"""The fallback as pure values: what the options name, and the plan of what follows a failed start."""

from __future__ import annotations

import os
import stat

from arun.core.failures import FALLBACK_LIMIT, FALLBACK_LOOP, StartupFailure
from arun.core.values import Value
from arun.settings.entries import UNREAD_FORMATS, split_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = (
    "COMMAND_LINE",
    "WELCOME",
    "FallbackPolicy",
    "Plan",
    "config_key",
    "is_gone",
    "located",
    "plan",
    "shown",
    "unfit",
    "welcome_config",
)

#: The folder that holds the packages ``arun`` and ``arun_welcome``.
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: The name of a start that no config file describes.
COMMAND_LINE = "command line"
#: The name that stands for the built-in fallback, and the file that it means.
WELCOME = "welcome"


class FallbackPolicy(Value):
    """What follows if this start fails: as the options ``fallback-config``, ``fallback-on``, ``fallback-limit``, ``last-resort``.

    ``debug``: the built-in page, should it follow, shows causes to visitors from this machine.
    """

    config: str | None = None
    causes: frozenset[str] = frozenset(("all",))
    limit: int = 8
    last_resort: str = "page"
    debug: bool = False


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


def config_key(reference: str) -> str:
    """Return what makes a config the same config: device and inode of its file, and its section."""
    path, section = split_reference(reference)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return reference
    return f"{status.st_dev}:{status.st_ino}:{section}"


def shown(reference: str, directory: str) -> str:
    """Return a config as a user would name it: relative below the directory, the built-in one by its name."""
    if reference == welcome_config():
        return WELCOME
    return os.path.relpath(reference, directory) if reference.startswith(directory.rstrip("/") + "/") else reference


def located(reference: str | None) -> str | None:
    """Return the file that a reference means; only the built-in config has a name that is no path."""
    return welcome_config() if reference == WELCOME else reference


def welcome_config() -> str:
    """Return the path of the built-in fallback config."""
    return os.path.join(_HOME, "arun_welcome", "welcome.ini")


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
