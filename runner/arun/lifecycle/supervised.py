"""The status of an instance with workers: what is reported when they serve, reload, fail and stop, and its way back."""

from __future__ import annotations

import math

from arun.core import exits
from arun.core.exits import PARTING
from arun.instance.serving import Reloads
from arun.supervisor.workers import counted
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arun.core.failures import StartupFailure
    from arun.instance.instance import Instance
    from arun.listen.sockets import Listener
    from arun.recovery.way_back import WayBack
    from arun.supervisor.workers import Worker

__all__ = ("SupervisedStatus",)


class SupervisedStatus:
    """The status of an instance with workers; see runner/arun/supervisor/contract.py.

    ``leaving`` are listeners to close as soon as the workers accept the connections that wait there.
    """

    def __init__(self, instance: Instance, leaving: Sequence[Listener] = ()) -> None:
        self._instance = instance
        self._leaving = leaving
        self._was_ready = False
        self.reloads = Reloads()
        #: The way back, where this is a fallback that serves.
        self.recovery: WayBack | None = None
        if instance.can_go_back:
            from arun.recovery.way_back import WayBack

            self._way_back = WayBack(instance, lambda: self.bound())  # noqa: PLW0108 - which is set later
        #: Returns what a reload that has begun has bound.
        self.bound: Callable[[], Sequence[Listener]] = tuple

    def ready(self, app: str, workers: int) -> None:
        """Report that all workers serve: after a start, or after a reload."""
        instance = self._instance
        exits.release_descriptors()
        served = f"{app} with {counted(workers)}"
        self.reloads.end(well=True)
        if self._was_ready:
            instance.status.app = served
            logs.info(f"arun: reloaded, serving {served}", "reloaded", app=app, workers=workers)
            self._serving(instance.describe(served))
            return
        self._was_ready = True
        instance.sockets.let_go(self._leaving)  # the workers have them
        instance.status.ready(served, instance.sockets.listeners, instance.describe(served), instance.past.failures)
        instance.serving()
        instance.sockets.store()
        if instance.can_go_back:
            instance.status.returns(instance.configuration.fallback.chain.recover, instance.past.brake)
            self.recovery = self._way_back

    def recover(self) -> float:
        """Do what is due on the way back of a fallback that serves; return in how many seconds it is again."""
        return math.inf if self.recovery is None else self.recovery.tick()

    def failed(self, failure: StartupFailure) -> None:
        """Report and record why workers could not be started; the instance goes on."""
        record = self._instance.record(failure)
        self.reloads.note(record)
        logs.frame(record)
        self._instance.outage.survived(record)

    def unchanged(self, text: str) -> None:
        """Report that the workers from before a reload or an upgrade go on."""
        self.reloads.end(well=False)
        self._was_ready = True  # what serves next is a reload
        self._serving(text)

    def stopping(self, workers: Sequence[Worker]) -> float:
        """Report that these workers are stopped; return for how many seconds they close kept connections before that."""
        instance, signals = self._instance, self._instance.signals
        if self.recovery is not None:
            self.recovery.end()
        instance.status.leaving(f"stopping {counted(len(workers))}", returns=signals.going_back and not signals.count)
        if signals.going_back:
            return PARTING
        for listener in instance.sockets.listeners:
            listener.socket.close()  # the workers have it too, and accept the connections that wait before it is gone
        return 0.0

    def reopen(self) -> None:
        """Open the log file again."""
        self._instance.output.reopen()

    def _serving(self, state: str) -> None:
        self._instance.status.serving(state)
        self._instance.sockets.store()
