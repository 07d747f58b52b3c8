"""The way back of an instance: its recovery (recovery/recovery.py) between what the instance is and what drives it."""

from __future__ import annotations

import contextlib
import math
import time

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

__all__ = ("LoopWayBack", "WayBack")

#: Seconds until the code of the way back is loaded again that could not be.
_LATER = 2.0


class WayBack:
    """The way back of a fallback that serves. Its code is loaded when it is due first; where that fails, again later.

    ``more`` returns what the instance has bound and not adopted yet.
    """

    def __init__(self, instance: Instance, more: Callable[[], Sequence[Listener]] = tuple) -> None:
        self._instance, self._more = instance, more
        self._recovery: Recovery | None = None
        #: When its code is to be loaded, on the monotonic clock, and what was said of why it could not be.
        self._due, self._warned = 0.0, ""

    def tick(self) -> float:
        """Do what is due; return in how many seconds something is due again. It raises nothing."""
        if self._recovery is None:
            now = time.monotonic()
            if now >= self._due:
                self._due = now + _LATER
                self._load()
            if self._recovery is None:
                return self._due - now
        return self._recovery.tick()

    def ask(self) -> None:
        """Try at once, as SIGHUP asks. Handlers of signals may call it."""
        if self._recovery is not None:
            self._recovery.ask()

    def end(self) -> None:
        """Try no more, and end a probe that runs: the fallback ends."""
        if self._recovery is not None:
            self._recovery.end()

    def pause(self) -> None:
        """End a probe that runs; it is tried again at once, unless the process becomes another one."""
        if self._recovery is not None:
            self._recovery.pause()

    def forget(self) -> None:
        """Close what a forked child has inherited."""
        if self._recovery is not None:
            self._recovery.forget()

    def _load(self) -> None:
        """Load the code, unless that fails: its files are away, or of another version while an installer is at work."""
        try:
            self._recovery = _recovery_of(self._instance, self._more)
        except Exception as error:  # noqa: BLE001 - a fallback serves on, whatever happens here
            why = tracebacks.described(error)
            if why != self._warned:
                self._warned = why
                logs.warning(f"the way back is tried later: {why}")
            return
        self._instance.signals.on_return(self.ask)


def _recovery_of(instance: Instance, more: Callable[[], Sequence[Listener]]) -> Recovery:
    from arun.recovery.prober import Probe
    from arun.recovery.recovery import Recovery

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


class LoopWayBack(WayBack):
    """The way back in one process, driven by the loop that serves the fallback."""

    _loop: asyncio.AbstractEventLoop
    _waiting: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin soon: clients wait that came during the start, and nothing is imported before they are served."""
        self._loop = loop
        self._waiting = loop.call_later(SOON / 2, self._turn)

    def ask(self) -> None:
        """Try at once, unless the loop is closed by now."""
        super().ask()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        if self._recovery is None and self._instance.signals.count:  # it stops, and needs no way back any more
            return
        seconds = self.tick()
        self._waiting = None if seconds == math.inf else self._loop.call_later(seconds, self._turn)
