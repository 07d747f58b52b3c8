"""The way back of a fallback that serves: made from what the instance knows, and driven by an event loop."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from arun.core.listen_spec import ListenSpec
    from arun.lifecycle.instance import Instance
    from arun.lifecycle.prober import Probe
    from arun.lifecycle.recovery import Recovery
    from arun.listen.sockets import Listener
    from arun.system.stop_signals import StopSignals

__all__ = ("recovery_of", "turn")


def recovery_of(instance: Instance, more: Callable[[], Sequence[Listener]] = tuple) -> Recovery:
    """Return the way back of a fallback that serves from now on; ``more`` returns what it has bound and not adopted yet."""
    from arun.lifecycle.prober import Probe  # only a fallback that serves needs them
    from arun.lifecycle.recovery import Recovery

    past, policy = instance.past, instance.configuration.fallback.recover

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
    return Recovery(policy, past.brake, start, held, records, instance.status, instance.signals.go_back)


def turn(recovery: Recovery, loop: asyncio.AbstractEventLoop, signals: StopSignals) -> None:
    """Let an event loop drive the way back."""
    waiting: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal waiting
        if waiting is not None:
            waiting.cancel()
        seconds = recovery.tick()
        waiting = None if seconds == math.inf else loop.call_later(seconds, look)

    def ask() -> None:
        recovery.ask()
        loop.call_soon_threadsafe(look)

    look()
    signals.on_return(ask)
