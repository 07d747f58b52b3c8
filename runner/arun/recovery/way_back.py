"""The way back of an instance: its recovery (recovery/recovery.py) between what the instance is and what drives it."""

from __future__ import annotations

import math

from arun.instance.recovery_policy import SOON
from arun.system import logs, tracebacks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from arun.core.listen_spec import ListenSpec
    from arun.instance.instance import Instance
    from arun.listen.sockets import Listener
    from arun.recovery.prober import Probe
    from arun.recovery.recovery import Recovery

__all__ = ("LATER", "WayBack", "recovery_of")

#: Seconds until the code of the way back is loaded again that could not be.
LATER = 2.0


def recovery_of(instance: Instance, more: Callable[[], Sequence[Listener]] = tuple) -> Recovery | None:
    """Return the way back of a fallback that serves; None where its code cannot be loaded now: then try again later.

    ``more`` returns what the instance has bound and not adopted yet.
    """
    try:
        from arun.recovery.prober import Probe
        from arun.recovery.recovery import Recovery
    except (ImportError, OSError) as error:  # files of arun or of Python are away, or no descriptor is left
        logs.warning(f"the way back is tried later: {tracebacks.described(error)}")
        return None
    past, policy = instance.past, instance.configuration.fallback.chain.recover

    def held() -> tuple[ListenSpec, ...]:
        return tuple(dict.fromkeys(listener.spec for listener in (*instance.sockets.listeners, *more())))

    def start() -> Probe:
        return Probe(
            instance.launch,
            past.argv[1:],
            held(),
            starts_app=policy.probe == "full",
            is_told=instance.configuration.settings.log_level in {"debug", "trace"},
        )

    records = [record for record in past.failures if record.config == past.failures[0].config]
    return Recovery(policy, past.brake, start, held, records, instance)


class WayBack:
    """The way back in one process, driven by the loop that serves the fallback."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._recovery: Recovery | None = None
        self._waiting: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin soon: clients wait that came during the start, and nothing is imported before they are served."""
        loop.call_later(SOON / 2, self._begin, loop)

    def end(self) -> None:
        """End a probe that runs: the fallback ends."""
        if self._recovery is not None:
            self._recovery.end()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        signals = self._instance.signals
        if signals.count:
            return
        self._recovery = recovery = recovery_of(self._instance)
        if recovery is None:
            loop.call_later(LATER, self._begin, loop)
            return

        def ask() -> None:
            recovery.ask()
            loop.call_soon_threadsafe(self._turn, recovery, loop)

        self._turn(recovery, loop)
        signals.on_return(ask)

    def _turn(self, recovery: Recovery, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        seconds = recovery.tick()
        self._waiting = None if seconds == math.inf else loop.call_later(seconds, self._turn, recovery, loop)
