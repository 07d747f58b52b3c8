"""What an instance goes by: one frozen value from its settings, fallback and addresses, and the candidate for the next one."""

from __future__ import annotations

import os

from arun.core.values import Value
from arun.instance.fallback import FallbackPolicy
from arun.settings import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.listen.held import Listening, Sockets
    from arun.settings import Layers, Settings
    from arun.system.environment import Surroundings

__all__ = ("Candidate", "Configuration")


class Configuration(Value):
    """What an instance goes by: frozen, so that a reload builds a candidate and swaps it whole.

    ``name`` is the config file, or what stands for it. ``directory`` is the starting directory, where relative paths count
    from. ``validated`` holds the settings and is None until they are validated. ``claimed`` holds what it listens on,
    ``surroundings`` what the app is to find; both are None until the sockets are bound. Code that runs after that reads
    ``settings`` and ``listening``, which are never None.
    """

    name: str
    directory: str
    fallback: FallbackPolicy = FallbackPolicy()
    validated: Settings | None = None
    claimed: Listening | None = None
    surroundings: Surroundings | None = None

    def read(self, layers: Layers) -> Configuration:
        """Return it with what is known before settings are validated: the config's name, and the fallback."""
        chain = self.fallback.chain
        if layers.last_resort:
            chain = chain._replace(last_resort=layers.last_resort)
        config = None if layers.asked else entries.located(layers.fallback)
        policy = self.fallback._replace(config=config, chain=chain, origin=layers.fallback_origin)
        name = os.path.join(self.directory, layers.configs[0].name) if layers.configs else self.name
        return self._replace(name=name, fallback=policy)

    def ending_as(self, settings: Settings) -> Configuration:
        """Return it with what settings say about the end of a start, also those that cannot be taken otherwise."""
        policy = self.fallback._replace(
            limit=settings.fallback_limit,
            causes=frozenset(settings.fallback_on),
            chain=self.fallback.chain.given_by(settings),
        )
        return self._replace(fallback=policy)

    def with_page(self, settings: Settings) -> Configuration:
        """Return it with the page of the user's own that the settings name, if they do: the built-in fallback shows it too.

        Raises:
            StartupFailure: as in ``own_page.read``.
        """
        if not settings.welcome_html:
            return self
        from arun.instance import own_page

        chain = self.fallback.chain._replace(welcome_html=own_page.read(settings))
        return self._replace(fallback=self.fallback._replace(chain=chain))

    @property
    def settings(self) -> Settings:
        """Its settings; to be asked for only once they are validated."""
        assert self.validated is not None  # noqa: S101 - a start has them from here on
        return self.validated

    @property
    def listening(self) -> Listening:
        """What it listens on; to be asked for only once the sockets are bound."""
        assert self.claimed is not None  # noqa: S101 - a start has it from here on
        return self.claimed

    @property
    def status_path(self) -> str | None:
        """The path below which probes are answered on the app's addresses, also in a fallback; None for none."""
        return self.fallback.chain.status_path or None

    def with_settings(self, settings: Settings) -> Configuration:
        """Return it with validated settings."""
        return self.ending_as(settings)._replace(validated=settings)


class Candidate(Value):
    """What an instance is to serve with next, until its workers are ready or have failed."""

    configuration: Configuration
    sockets: Sockets
    #: The number of the generation of workers that serve with it, from 1.
    generation: int = 1
