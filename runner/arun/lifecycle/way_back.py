"""The way back of an instance: its recovery (lifecycle/recovery.py) between what the instance is and what drives it."""

from __future__ import annotations

import math

from arun.system import logs, tracebacks

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

__all__ = ("LATER", "drive", "recovery_of")

#: Seconds until the code of the way back is loaded again that could not be.
LATER = 2.0


def recovery_of(instance: Instance, more: Callable[[], Sequence[Listener]] = tuple) -> Recovery | None:
    """Return the way back of a fallback that serves; None where its code cannot be loaded now: then try again later.

    ``more`` returns what the instance has bound and not adopted yet.
    """
    try:
        from arun.lifecycle.prober import Probe
        from arun.lifecycle.recovery import Recovery
    except (ImportError, OSError) as error:  # files of arun or of Python are away, or no descriptor is left
        logs.warning(f"the way back is tried later: {tracebacks.described(error)}")
        return None
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
    return Recovery(policy, past.brake, start, held, records, instance)


def drive(recovery: Recovery, loop: asyncio.AbstractEventLoop, signals: StopSignals) -> None:
    """Let an event loop drive the way back."""
    waiting: asyncio.TimerHandle | None = None

    def turn() -> None:
        nonlocal waiting
        if waiting is not None:
            waiting.cancel()
        seconds = recovery.tick()
        waiting = None if seconds == math.inf else loop.call_later(seconds, turn)

    def ask() -> None:
        recovery.ask()
        loop.call_soon_threadsafe(turn)

    turn()
    signals.on_return(ask)
