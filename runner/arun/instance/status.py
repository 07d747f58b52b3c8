"""Where the state of an instance is reported: lines on standard error, the service manager, the command that waits for it."""

from __future__ import annotations

import os
import sys
import time
from _thread import RLock

from arun import __version__
from arun.core import addresses, native
from arun.core.outlook import Outlook
from arun.instance.recovery_policy import RecoveryState
from arun.settings import entries
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from arun.core.failures import FailureRecord
    from arun.instance.recovery_policy import Brake, RecoverPolicy
    from arun.listen.sockets import Listener
    from arun.settings import Layers, Settings
    from arun.system.daemon import WaitingCommand
    from arun.system.notify import ServiceManager

__all__ = ("Status",)


class Status:
    """The state of an instance, reported wherever it is waited for.

    Args:
        manager: the service manager that started the process, if there is one.
        report: takes a failure; a worker reports its failures to its supervisor.
        outlook: what a page in the app's place goes by so far.
    """

    def __init__(
        self,
        manager: ServiceManager | None = None,
        report: Callable[[FailureRecord], object] = logs.frame,
        outlook: Outlook | None = None,
    ) -> None:
        self.failed = report
        self._manager = manager
        self._command: WaitingCommand | None = None
        self._outlook = outlook or Outlook()
        #: Held while it changes: orders come from another thread. A handler of a signal may come in between.
        self._changing = RLock()
        self._on_outlook: Callable[[], object] | None = None
        #: Since when the instance is in its state, in seconds of the epoch; what it waits for; and what it serves.
        self.state, self.since = "starting", time.time()
        self.waiting_for = ""
        self.app = ""
        #: Since when it serves, on the monotonic clock.
        self._since: float | None = None

    # ---- what a page in the app's place goes by

    def outlook(self) -> Outlook:
        """Return it as it is now."""
        return self._outlook

    def foresee(self, **changes: Any) -> None:
        """Change it, field by field: ``failures``, ``next_try``, ``attempts``, ``offline``, ``allowed``."""
        with self._changing:
            self._outlook = self._outlook._replace(**changes)
        if self.state in {"serving", "offline"}:
            self._serves()
        if self._on_outlook is not None:
            self._on_outlook()

    def on_outlook(self, callback: Callable[[], object] | None) -> None:
        """Call ``callback`` at each change of it, in the thread that makes it."""
        self._on_outlook = callback

    # ---- the state

    def enter(self, state: str) -> None:
        """Be in this state from now on; see ``arun.control.state.STATES``."""
        if state != self.state:
            self.state, self.since = state, time.time()

    def _serves(self) -> None:
        self.enter("serving" if self._outlook.offline is None else "offline")

    def waiting(self, step: str) -> None:
        """Note what the start waits for now."""
        self.waiting_for = step

    @property
    def served(self) -> float:
        """Seconds since the instance began to serve; 0 where it has not."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    # ---- a start

    def read(self, layers: Layers, directory: str, *, is_built_in: bool) -> None:
        """Report the configs, the lines that they print, and what is odd in them."""
        for config in layers.configs:
            name = entries.shown(os.path.join(directory, config.name), directory)
            if is_built_in:
                logs.info(f"[arun] getting the built-in configuration, {name}")
            else:
                logs.info(f"[arun] getting {config.format.upper()} configuration from {name}")
            for line in config.lines:
                logs.info(line)
        for line in layers.warnings:
            logs.warning(line)

    def without_effect(self, settings: Settings) -> None:
        """Report options that have no effect beside the others."""
        for line in settings.idle:
            logs.warning(line)

    def starting(self) -> None:
        """Report that a start begins."""
        date = time.strftime("%a %b %d %H:%M:%S %Y")
        logs.info(
            f"*** Starting arun {__version__} ({sys.maxsize.bit_length() + 1}bit) on [{date}] ***",
            "starting",
            version=__version__,
        )
        build, python, system = native.build(), ".".join(map(str, sys.version_info[:3])), os.uname()
        logs.info(
            f"arun: {build}, {sys.implementation.name} {python}, {system.sysname} {system.release} {system.machine}",
            "system",
            build=build,
            python=python,
        )

    def attach(self, command: WaitingCommand | None) -> None:
        """Report to a command that waits for this start, too: the process has gone to the background."""
        self._command = command

    # ---- serving

    def ready(self, app: str, served: Iterable[Listener], state: str, past: Sequence[FailureRecord]) -> None:
        """Report where the instance runs, what it serves, and that it is a fallback, if it is one."""
        self.app, self.waiting_for = app, ""
        if past:
            self.enter("fallback")
        else:
            self._serves()
        self._since = time.monotonic()
        _running_on(served)
        if past:
            logs.warning(
                f"this is a fallback: {past[0].config} failed with {past[0].summary()}{past[0].mark()}",
                "fallback-serving",
                id=past[0].id,
                identifier=past[0].identifier,
                config=past[0].config,
            )
        logs.info(f"serving {app}", "serving", app=app)
        self.serving(state)
        if self._command is not None:
            self._command.release(serves=True)

    def ready_late(self, served: Iterable[Listener], state: str) -> None:
        """Report where the instance runs as well, now that another process does not any more."""
        _running_on(served)
        self.serving(state)

    def serving(self, state: str) -> None:
        """Report to the service manager that the instance serves, for the first time or after a reload."""
        if self._manager is not None:
            self._manager.ready(state)

    def reloading(self, state: str) -> None:
        """Report to the service manager that a reload has begun; ``serving`` ends it."""
        if self._manager is not None:
            self._manager.reloading(state)

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two calls of ``watchdog``; None where no service manager waits for any."""
        return None if self._manager is None else self._manager.watchdog_interval

    def watchdog(self) -> None:
        """Report to the service manager that the process is alive."""
        if self._manager is not None:
            self._manager.watchdog()

    def stay_alive(self, call_later: Callable[..., object]) -> None:
        """Report that the process is alive now and at each interval, by the timers of an event loop."""
        if self._manager is not None:
            self._manager.stay_alive(call_later)

    # ---- the way back

    def returns(self, policy: RecoverPolicy, brake: Brake) -> None:
        """Report when a fallback that serves from now on tries the first start again."""
        logs.info(f"arun: the first start is tried again {policy.described()}")
        if policy.is_automatic:
            self.recovering(RecoveryState(next_try=time.time() + brake.first_try(policy)))

    def recovering(self, state: RecoveryState) -> None:
        """Take the state of the way back; the page says when it is tried next."""
        self.foresee(next_try=state.next_try, attempts=state.attempts, trying=state.is_trying)

    def still_failing(
        self,
        records: Sequence[FailureRecord],
        now: tuple[FailureRecord, ...],
        state: Callable[[], str],
        *,
        is_new: bool,
        is_asked: bool,
    ) -> None:
        """Report why the first start would fail if it was tried now; the same cause is not told twice, unless it was asked for.

        ``now`` are the failures that hold, and ``state`` returns what a service manager shows.
        """
        self.foresee(failures=now)
        if is_new:
            logs.info("arun: tried the first start again; it would fail now for another reason:")
            for record in records:
                self.failed(record)
            if self._manager is not None:
                self._manager.status(state())
        elif is_asked:
            logs.warning(f"the first start would fail still, and this fallback stays: {records[0].summary()}")
        elif logs.debugs():
            logs.debug(f"tried the first start again, {now[0].tries} times so far; it would fail as before")

    # ---- the end

    def leaving(self, state: str = "stopping", *, returns: bool = False) -> None:
        """Report that the instance ends; that it returns to its primary only the service manager does not know yet."""
        self.waiting_for = "the return to the primary" if returns else "the end of the requests that have begun"
        self.enter("draining")
        if not returns:
            logs.info(f"arun: {state}", "stopping")
        if self._manager is not None and returns:
            self._manager.reloading("going back to the first start")
        elif self._manager is not None:
            self._manager.stopping(state)

    def refused(self) -> None:
        """Let the waiting command end: the instance does not serve what it was asked to."""
        if self._command is not None:
            self._command.release(serves=False)

    def ended(self, records: Sequence[FailureRecord]) -> None:
        """Report that the start has failed, and nothing follows."""
        if self._manager is not None and records:
            self._manager.status(f"failed: {records[0].summary()}")
        self.refused()


def _running_on(served: Iterable[Listener]) -> None:
    for listener in served:
        url = addresses.url(listener.address, "https" if listener.spec.tls else "http")
        logs.info(f"arun running on {url} (Press CTRL+C to quit)", "listening", url=url)
