"""How an instance ends: its failures are reported, its successor is planned, and the process becomes it or exits."""

from __future__ import annotations

import contextlib
import os
from functools import partial

from arun.core import exits
from arun.core.failures import EXEC_FAILED, StartupFailure, printable
from arun.instance import fallback
from arun.lifecycle import plain_503, start, successor
from arun.lifecycle.outcome import Failed, ReturnToPrimary
from arun.listen import claims
from arun.settings import entries
from arun.system import logs, tracebacks
from arun.system.stop_signals import StopRequested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from arun.core.failures import FailureRecord
    from arun.instance.fallback import Plan
    from arun.instance.instance import Instance
    from arun.lifecycle.outcome import Outcome

__all__ = ("finish",)

#: Consecutive looks that must find all files of arun.
_LOOKS = 2
#: After so many looks it is tried whether the arun that is installed now loads.
_LOOKS_ANEW = 6


def finish(instance: Instance, outcome: Outcome) -> NoReturn:
    """End the process as the outcome of its start demands: status 0, status 1, the fallback, or the primary again.

    It may be called in another thread than the main one, where that one does not come back.
    """
    signals = instance.signals
    signals.ignore()
    failures = outcome.failures if isinstance(outcome, Failed) else ()
    records = instance.report(failures)
    if signals.count:
        failures = ()  # a stop signal came: what the app made of its interruption is reported, and is no failed start
    follow: Callable[[], int] | None = None
    if failures:
        instance.status.waiting("the fallback")
        follow = partial(_follow_failure, instance, failures, records)
    else:
        instance.remove_pidfile()
        if isinstance(outcome, ReturnToPrimary) and not signals.count:
            follow = partial(_return, instance)
        else:
            instance.remove_control()
            instance.outage.over("stopped")
    exits.leave(int(bool(failures)), then=follow, hurried=signals.count > 1, unwinds=True)


def _follow_failure(instance: Instance, failures: Sequence[StartupFailure], records: tuple[FailureRecord, ...]) -> int:
    """Become the fallback, or return the status to end with; called by the exit shim when all hooks have run."""
    status = _fall_back(instance, failures, records)
    if status:
        instance.remove_control()
        instance.remove_pidfiles()  # while a successor serves they name it
    return status


def _fall_back(instance: Instance, failures: Sequence[StartupFailure], records: tuple[FailureRecord, ...]) -> int:
    configuration = instance.configuration
    policy = configuration.fallback
    plan = fallback.Plan()
    try:
        plan = fallback.plan(policy, configuration.name, instance.past.tried, failures, configuration.directory)
        records += _report_plan(instance, plan, records)
        if plan.config is not None:
            successor.become_fallback(instance, plan.config, records)
    except StopRequested:
        return 0
    except Exception as error:  # noqa: BLE001 - an app may have done anything to this process, and clients wait
        refused = _refusal(error)
        if policy.chain.last_resort == "page" or plan.config in {None, entries.welcome_config()}:
            config = plan.config
            again = None if config is None else partial(successor.become_fallback, instance, config, records)
            return _serve_here(instance, refused, records, again)
        _report_chain(instance, records, refused)
    else:
        is_spent = plan.is_last and not plan.is_narrowed and policy.chain.last_resort == "page"
        if is_spent and instance.sockets.plain():
            return _respond_plainly(instance, None, "the last resort has failed;")
    for listener in instance.sockets.listeners:
        claims.close(listener)
    instance.status.ended(records)
    instance.outage.over("exited", records)
    return 1


def _return(instance: Instance) -> int:
    """Become the primary again, or return the status to end with."""
    try:
        successor.return_to_primary(instance)
    except StopRequested:
        return 0
    except Exception as error:  # noqa: BLE001 - as in _fall_back
        refused = _refusal(error)
        return _serve_here(instance, refused, (), partial(successor.return_to_primary, instance))


def _refusal(error: Exception) -> StartupFailure:
    """Return the failure of an exec that did not come about."""
    return (
        error
        if isinstance(error, StartupFailure)
        else StartupFailure(EXEC_FAILED, f"it failed: {tracebacks.described(error)}")
    )


def _report_plan(instance: Instance, plan: Plan, records: tuple[FailureRecord, ...]) -> tuple[FailureRecord, ...]:
    """Report why the fallback that was named does not follow, and what the end of a chain comes to.

    Returns the record of that reason, if there is one.
    """
    policy = instance.configuration.fallback
    if plan.is_narrowed:
        config = policy.config or entries.welcome_config()
        name = printable(entries.shown(config, instance.configuration.directory))
        logs.info(f"arun: no fallback to {name}: fallback-on is {', '.join(sorted(policy.causes))}")
    if not plan.is_last:
        return ()
    more = _report_chain(instance, records, plan.end)
    if plan.config is not None:
        logs.info("arun: the chain ends here; its last resort is the welcome page")
    return more


def _report_chain(
    instance: Instance, records: tuple[FailureRecord, ...], end: StartupFailure | None = None
) -> tuple[FailureRecord, ...]:
    """Report the end of a chain in one message: why it ends where it named a successor, and every link of it."""
    links = instance.history(records)
    more = () if end is None else (instance.record(end, records[0].id if records else ""),)
    for record in more:
        logs.frame(record)
    lines = [f"arun: starts that failed in this chain: {len(links.tried)}"]
    lines += [f"arun:   {printable(record.config)}: {record.summary()}" for record in links.failures]
    logs.block(lines, "chain", length=len(links.tried))
    return more


def _serve_here(
    instance: Instance, refused: StartupFailure, records: tuple[FailureRecord, ...], again: Callable[[], object] | None
) -> int:
    """Serve the welcome page in this very process, or a few plain lines: the last resort where an exec is refused.

    ``again`` tries that exec once more, where there is one. Returns the status to end with, when a stop signal came.
    """
    record = instance.record(refused)
    logs.frame(record)
    instance.status.refused()
    if successor.files_are_away():
        return _respond_plainly(instance, again, "the files of arun are gone; until they are back")
    logs.warning(f"this process (pid: {os.getpid()}) serves the welcome page itself")
    page = instance.in_place((*records, record))
    outcome = start.run(page, partial(finish, page))
    if not isinstance(outcome, Failed):
        return 0
    for failure in outcome.failures:  # no descriptor, no memory, a file that is gone
        logs.frame(page.record(failure)._replace(config=entries.WELCOME))
    return _respond_plainly(instance, None, "it cannot do that;")


def _respond_plainly(instance: Instance, again: Callable[[], object] | None, why: str) -> int:
    """Respond with 503 in plain text until a stop signal comes, or the files that ``again`` needs are back."""
    plain = instance.sockets.plain()
    if not plain:
        return 1
    logs.warning(f"{why} this process (pid: {os.getpid()}) answers every request with status 503, in plain text")
    instance.status.enter("fallback")
    if instance.control is not None:
        instance.control.start()
    looks = looks_back = 0
    signals = instance.renew_signals()

    def look() -> None:
        """Go on as the successor when nothing has been missing for some looks: files come back one by one.

        Those that another version does without do not come back: now and then it is tried whether what is there loads.
        """
        nonlocal looks, looks_back, again
        looks += 1
        if again is not None and looks % _LOOKS_ANEW == 0 and successor.files_are_away():
            successor.is_installed_anew(instance.launch)
        looks_back = 0 if successor.files_are_away() else looks_back + 1
        if again is None or looks_back <= _LOOKS:
            return
        try:
            again()
        except StartupFailure as failure:
            logs.frame(instance.record(failure))
            again = None
            signals.install()

    try:
        for listener in plain:
            listener.listen()
        with contextlib.suppress(ValueError):  # the main thread is stuck, and this is another one
            signals.install()
        plain_503.respond(plain, look)
    except StopRequested:
        return 0
