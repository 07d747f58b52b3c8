"""The fallback as pure values: what the options name, and the plan of what follows a failed start."""

from __future__ import annotations

import os

from arun.core.failures import FALLBACK_LIMIT, FALLBACK_LOOP, StartupFailure
from arun.core.values import Value
from arun.instance.recovery_policy import RecoverPolicy
from arun.settings.entries import config_key, shown, welcome_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from arun.settings import Settings

__all__ = (
    "COMMAND_LINE",
    "ChainPolicy",
    "FallbackPolicy",
    "Plan",
    "is_gone",
    "plan",
    "refusal",
)

#: The name of a start that no config file describes.
COMMAND_LINE = "command line"


class ChainPolicy(Value):
    """What a start says that holds for the fallbacks after it as well, until one of them says otherwise.

    A field bears the name of its option, and crosses each exec in the handover under that name: one that is added here, with a
    default, needs nothing else.
    """

    #: What the chain comes to when none of its links works: ``page`` or ``exit``.
    last_resort: str = "page"
    #: Whether the built-in page shows causes to visitors from this machine.
    debug: bool = False
    #: The text of the page that the built-in fallback shows instead of its own; empty for none.
    welcome_html: str = ""
    #: When a fallback tries the first start again.
    recover: RecoverPolicy = RecoverPolicy()
    #: The command to run when a fallback serves; empty for none.
    on_fallback: str = ""
    #: The form of the log that is named, and the level that the built-in fallback keeps; empty for none.
    log_format: str = ""
    log_level: str = ""
    #: The path below which probes are answered on the app's addresses; empty for none.
    status_path: str = ""

    def given_by(self, settings: Settings) -> ChainPolicy:
        """Return it with what the settings give; the page itself is read later (instance/own_page.py)."""
        names = [name for name in self._fields if name not in {"recover", "welcome_html"}]
        given: dict[str, Any] = {
            name: getattr(settings, name) for name in names if settings.given(name.replace("_", "-"))
        }
        return self._replace(**given, recover=self.recover.given_by(settings))


class FallbackPolicy(Value):
    """What follows if this start fails: as the options ``fallback-config``, ``fallback-on``, ``fallback-limit``.

    ``origin`` is where ``config`` is named. ``chain`` is what holds for the whole chain.
    """

    config: str | None = None
    causes: frozenset[str] = frozenset(("all",))
    limit: int = 8
    origin: str = ""
    chain: ChainPolicy = ChainPolicy()

    @property
    def names_own(self) -> bool:
        """Whether it names a config of the user's own: the built-in one is always sound."""
        return self.config is not None and self.config != welcome_config()


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
    end: StartupFailure | None = None
    if policy.config is not None:
        end = refusal(policy, name, tried, directory)
        if end is None:
            return Plan(policy.config)
    is_tried = config_key(welcome_config()) in {*tried, config_key(name)}
    serves_page = is_chain and policy.chain.last_resort == "page" and not is_tried
    return Plan(welcome_config() if serves_page else None, is_chain, end)


def refusal(policy: FallbackPolicy, name: str, tried: Sequence[str], directory: str) -> StartupFailure | None:
    """Return why the fallback that a policy names may not be tried after this start; None where it may."""
    config = policy.config or ""
    if config_key(config) in {*tried, config_key(name)}:
        return StartupFailure(FALLBACK_LOOP, f"{shown(config, directory)} was tried before in this chain")
    if len(tried) >= policy.limit:
        return StartupFailure(
            FALLBACK_LIMIT, f"the chain of fallbacks has {len(tried)} links, and fallback-limit is {policy.limit}"
        )
    return None


def is_gone(path: str) -> bool:
    """Return whether there is no such file; one in a folder that is closed to this user may well be there."""
    try:
        os.lstat(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False
