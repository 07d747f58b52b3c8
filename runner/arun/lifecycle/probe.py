"""The probe of a start, seen from inside: a process that tries one, ends all that the app leaves behind, and reports.

It is two processes. The inner one runs the trial (lifecycle/trial.py) and writes reports into a pipe: lines of JSON. The outer
one imports nothing of the app: it waits for the inner one, adopts what that leaves behind, ends it, and goes last. So the
process that has started the probe has one child, and none when the pipe is closed. On SIGTERM, which on Linux also comes
when that process ends, the outer one ends all at once.
"""

from __future__ import annotations

import os
import signal
from functools import partial

from arun.core import exits
from arun.core.genuine import monotonic
from arun.lifecycle import trial
from arun.lifecycle.outcome import Failed, outcome_of
from arun.recovery import awaited, watched
from arun.recovery.connects import Connects
from arun.supervisor import forking
from arun.supervisor.workers import ended_by
from arun.system import logs, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import socket
    from typing import Any, NoReturn

    from arun.instance.handover import Trial
    from arun.instance.instance import Instance
    from arun.lifecycle.outcome import Outcome
    from arun.settings import Layers, Settings

__all__ = ("run",)

#: The signals that the outer process waits for; they are blocked.
_AWAITED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class _Reporter(trial.Observer):
    """Writes the reports of a trial: one line of JSON each, the last one being ``ready`` or ``failed``."""

    def __init__(self, instance: Instance, fd: int) -> None:
        self._instance, self._fd = instance, fd
        self._began = monotonic()
        #: The paths that were read before the app.
        self._before: list[str] = []
        self._settings: Settings | None = None
        self._connects = Connects()

    def write(self, **fields: Any) -> None:
        """Write a report."""
        _write(self._fd, **fields, after=round(monotonic() - self._began, 4))

    def limited(self, what: str, seconds: float | None) -> None:
        self.write(report="limit", of=what, seconds=seconds)

    def read(self, layers: Layers, settings: Settings | None) -> None:
        """Report what the start reads before the app: it may be all that is known of one that ends without a word."""
        before = watched.read_so_far(layers, settings, self._instance.launch.called)
        self._before, self._settings = before, settings
        self.write(report="read", watched=watched.signatures(before))

    def connects(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note what the loop connects to."""
        self._connects.ask(loop)

    def step(self, name: str, detail: str) -> None:
        forking.end_with_parent(signal.SIGKILL)  # again, as a drop of privileges forgets it
        self.write(report="step", name=name, detail=detail)

    def leave(self, outcome: Outcome) -> NoReturn:
        """Report the outcome and end the inner process; also called in another thread than the main one."""
        instance = self._instance
        instance.signals.ignore()
        failures = outcome.failures if isinstance(outcome, Failed) else ()
        paths = watched.gather(self._before, self._settings, failures) if failures else []
        texts = [str(error) for error in watched.chains(failures)]
        records = instance.report(failures)
        try:
            if records:
                self.write(
                    report="failed",
                    records=[record.as_dict() for record in records],
                    watched=watched.signatures(paths),
                    awaited=awaited.find([*texts, *(record.detail for record in records)], self._connects.tried),
                    busy=[str(one.place) for one in instance.sockets.busy],
                )
            elif not instance.signals.count:
                self.write(report="ready")
        except OSError as error:  # what has started the probe is gone
            logs.warning(f"the result of a probe is lost: {error}")
        exits.leave(int(bool(failures)), hurried=True)


def _write(fd: int, **fields: Any) -> None:
    import json

    view = memoryview(json.dumps(fields).encode() + b"\n")
    while view:
        view = view[os.write(fd, view) :]


def run(instance: Instance, told: Trial) -> NoReturn:
    """Be a probe: what ``told`` says was asked for by the process that has started this one."""
    os.set_inheritable(told.fd, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    forking.end_with_parent(signal.SIGTERM)
    if os.getppid() == told.parent:  # else it has ended already
        forking.adopt_orphans()
        inner, line = forking.fork(partial(_try, instance, told), ())
        how = _wait_for(inner)
        line.close()
        _end_all()
        _write(told.fd, report="ended", how=how)
    exits.leave_at_once(0)


def _try(instance: Instance, told: Trial, line: socket.socket) -> NoReturn:
    """Be the inner process."""
    line.close()
    reporter = _Reporter(instance, told.fd)
    body = partial(
        trial.run,
        instance,
        reporter.leave,
        reporter.step,
        held=told.held,
        owner=told.owner or told.parent,
        starts_app=told.starts_app,
        observer=reporter,
    )
    reporter.leave(outcome_of(body, instance.signals))


def _wait_for(inner: int) -> str:
    """Wait until the inner process has ended, or this one is to end; return how it has ended, in words."""
    while signal.sigwait(_AWAITED) == signal.SIGCHLD:
        ended, status = os.waitpid(inner, os.WNOHANG)
        if ended:
            return ended_by(status)
        process.reap(process.children() - {inner})
    return "had to be ended"


def _end_all() -> None:
    """End and reap every child, and those that come to this process as their parents end, until none is left."""
    while children := process.children():
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        for pid in children:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue
