"""How a start ends: its failures told, its successor planned, and what is left to do where there is none."""

from __future__ import annotations

import os
import time

from runner import exits, fallback, telling
from runner.apps import tracebacks
from runner.failures import (
    ExecFailed,
    FailureRecord,
    StartTimedOut,
    StartupFailure,
    printable,
)
from runner.settings import SettingsRejected
from runner.system import listeners, logs, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from runner.fallback import Attempt
    from runner.watch import Watch

__all__ = ("failures_of", "leave", "overdue", "recorded", "run", "timed_out", "way_out")


def leave(attempt: Attempt, failures: tuple[StartupFailure, ...]) -> NoReturn:
    """Tell the failures and end the process: status 0 without any, otherwise 1 or the fallback."""
    attempt.signals.hold()
    if failures:
        process.silence()
    exits.release_descriptors()
    attempt.records = tuple(recorded(attempt, failure) for failure in failures)
    for record in attempt.records:
        attempt.report(record)
    if attempt.signals.count:
        failures = ()  # it was told to stop: what the app made of being interrupted is told, and no failed start
    going_back = attempt.signals.going_back and not attempt.signals.count
    forced = attempt.signals.count > 1
    exits.leave(1 if failures else 0, failures, going_back=going_back, hurried=forced, unwinds=True)


def run(attempt: Attempt, serve: Callable[[], None]) -> NoReturn:
    """Run a process of the instance from what it has to do to its end; a fork of the app's ends as it would elsewhere."""
    failures: tuple[StartupFailure, ...] = ()
    try:
        serve()
    except process.StopRequested:
        pass
    except BaseException as error:  # noqa: BLE001 - a fault of ours must be told too
        if exits.in_forked_child():
            exits.leave(exits.status_of(error))
        failures = failures_of(error)
    leave(attempt, failures)


def way_out(attempt: Attempt, serve: Callable[[Attempt], None], failures: tuple[StartupFailure, ...]) -> int:
    """Become the fallback, or return the status to end with; called by the exit shim when all hooks have run.

    ``serve`` runs a start in this process: the last resort where the exec is refused.
    """
    plan = fallback.Plan()
    try:
        if not failures:
            fallback.go_back(attempt)
        plan = fallback.plan(attempt, failures)
        _tell_plan(attempt, plan)
        if plan.config is not None:
            fallback.become(attempt, plan.config, attempt.records)
    except process.StopRequested:
        return 0
    except ExecFailed as failure:
        if attempt.last_resort == "page" or plan.config in {None, fallback.welcome_config()}:
            return _last_resort(attempt, failure, serve)
        _tell_chain(attempt, failure)
    for listener in attempt.listeners:
        listeners.close(listener)
    telling.failed(attempt)
    return 1


def overdue(attempt: Attempt, origin: str, watch: Watch) -> None:
    """End a start whose main thread does not come back, told to stop or out of time; called in the watch's thread."""
    leave(attempt, () if attempt.signals.count or watch.stop_caught else (timed_out(watch, origin),))


def timed_out(watch: Watch, origin: str) -> StartTimedOut:
    """The failure of a start that used up its time; ``origin`` is where its limit came from."""
    return StartTimedOut(
        f"the start took longer than {watch.timeout or 0:g} s; it was waiting for {watch.waiting_for}", origin=origin
    )


def failures_of(error: BaseException) -> tuple[StartupFailure, ...]:
    """Return what an exception stands for; one that nobody foresaw is a failure of ours."""
    if isinstance(error, SettingsRejected):
        return error.problems
    return (error,) if isinstance(error, StartupFailure) else (_unexpected(error),)


def _unexpected(error: BaseException) -> StartupFailure:
    exits.release_descriptors()
    try:
        import traceback

        detail = "".join(traceback.format_exception(error))
    except BaseException as second:  # noqa: BLE001 - whatever is broken here, the way out has to be reached
        detail = f"(no traceback: {second!r})"
    return StartupFailure(tracebacks.described(error), detail=detail)


def recorded(attempt: Attempt, failure: StartupFailure) -> FailureRecord:
    """Return the record of a failure of this attempt."""
    config = fallback.shown(attempt.config, attempt.program.cwd)
    return FailureRecord.of(failure, config=config, when=time.time())


def _tell_plan(attempt: Attempt, plan: fallback.Plan) -> None:
    """Tell why the fallback that was named does not follow, and what the end of a chain comes to."""
    if plan.is_narrowed:
        name = printable(fallback.shown(attempt.fallback or fallback.welcome_config(), attempt.program.cwd))
        logs.info(f"arun: no fallback to {name}: fallback-on is {', '.join(sorted(attempt.falls_back_on))}")
    if plan.is_last:
        _tell_chain(attempt, plan.end)
        if plan.config is not None:
            logs.info("arun: the chain ends here; its last resort is the welcome page")


def _tell_chain(attempt: Attempt, end: StartupFailure | None = None) -> None:
    """One message for the end of a chain: why it ends where it named a successor, and every link of it."""
    links = attempt.history(attempt.records)
    if end is not None:
        logs.frame(record := recorded(attempt, end))
        attempt.records += (record,)
    lines = [f"arun: starts that failed in this chain: {len(links.tried)}"]
    lines += [f"arun:   {printable(record.config)}: {record.summary()}" for record in links.failures]
    logs.write("".join(f"{line}\n" for line in lines))


def _last_resort(attempt: Attempt, failure: ExecFailed, serve: Callable[[Attempt], None]) -> int:
    """Serve the welcome page in this very process; returns the status once it has been told to stop.

    No config is read: the file may be what this user cannot read. Without one, a fallback serves the welcome page on
    what it inherits; that is joined by where the fallback would listen, which was noted before a drop of privileges.
    """
    record = recorded(attempt, failure)
    logs.frame(record)
    if attempt.command is not None:
        attempt.command.tell(serves=False)
    logs.warning(f"this process (pid: {os.getpid()}) serves the welcome page itself")
    attempt.listeners, attempt.wanted = fallback.without_lost(attempt), (*attempt.wanted, *attempt.fallback_addresses)
    past = attempt.history((*attempt.records, record))
    again = fallback.Attempt(attempt.program, process.StopSignals(), (), past)
    again.listeners, again.secured, again.is_last_resort = attempt.listeners, attempt.secured, True
    again.manager, again.log_file, again.is_detached = attempt.manager, attempt.log_file, attempt.is_detached
    try:
        again.signals.tell_reopen(again.reopen_log_file)
        again.signals.install()
        serve(again)
    except process.StopRequested:
        return 0
    except StartupFailure as last:
        logs.frame(FailureRecord.of(last, config=fallback.WELCOME, when=time.time()))
        return 1
    return 0
