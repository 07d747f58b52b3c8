"""How a start ends: its failures told, its successor planned, and what is left to do where there is none."""

from __future__ import annotations

import contextlib
import os
import time

from arun.core import exits, genuine
from arun.core.failures import ExecFailed, FailureRecord, StartTimedOut, StartupFailure, printable
from arun.lifecycle import fallback, last_resort, status
from arun.listen import claims
from arun.settings import SettingsRejected
from arun.system import logs, pidfile, process, tracebacks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import NoReturn

    from arun.lifecycle.deadline import Watch
    from arun.lifecycle.fallback import Attempt

#: Looks at which the files of arun were there, before it is relied on that all of them are.
_LOOKS = 2

__all__ = ("failures_of", "leave", "overdue", "recorded", "run", "timed_out", "way_out")


def leave(attempt: Attempt, failures: tuple[StartupFailure, ...]) -> NoReturn:
    """Tell the failures and end the process: status 0 without any, otherwise 1 or the fallback."""
    attempt.signals.hold()
    try:
        _tell(attempt, failures)
    except BaseException as error:  # noqa: BLE001 - whatever the telling raises, the way out is taken
        logs.warning(f"a failure could not be told: {tracebacks.described(error)}")
    if attempt.signals.count:
        failures = ()  # it was told to stop: what the app made of being interrupted is told, and no failed start
    if not failures and attempt.pidfile is not None:
        pidfile.remove(attempt.pidfile)
    going_back = attempt.signals.going_back and not attempt.signals.count
    forced = attempt.signals.count > 1
    exits.leave(1 if failures else 0, failures, going_back=going_back, hurried=forced, unwinds=True)


def _tell(attempt: Attempt, failures: tuple[StartupFailure, ...]) -> None:
    """Record and tell the failures, with the interpreter as it was before the app came."""
    if failures:
        genuine.restore()
        process.silence()
    exits.release_descriptors()
    attempt.records = tuple(recorded(attempt, failure) for failure in failures)
    for failure in failures:
        _forget_frames(failure)
    for record in attempt.records:
        attempt.report(record)


def _forget_frames(failure: BaseException) -> None:
    """Let go of what the frames of a failed app hold: an exec needs memory, and the last resort goes on in this process."""
    failure.__traceback__ = failure.__cause__ = failure.__context__ = None


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
        if not isinstance(exits.interruption_in(error), process.StopRequested):  # whatever it passed through
            failures = failures_of(error)
    leave(attempt, failures)


def way_out(attempt: Attempt, serve: Callable[[Attempt], None], failures: tuple[StartupFailure, ...]) -> int:
    """Become the fallback, or return the status to end with; called by the exit shim when all hooks have run.

    ``serve`` runs a start in this process: the last resort where the exec is refused.
    """
    status = _succeed(attempt, serve, failures)
    for path in attempt.pidfiles if status else ():  # while a successor serves they name it
        pidfile.remove(path)
    return status


def _succeed(attempt: Attempt, serve: Callable[[Attempt], None], failures: tuple[StartupFailure, ...]) -> int:
    plan = fallback.Plan()
    try:
        if failures:
            plan = fallback.plan(attempt, failures)
            _tell_plan(attempt, plan)
        if plan.config is not None or not failures:
            _become(attempt, plan.config)
    except process.StopRequested:
        return 0
    except Exception as error:  # noqa: BLE001 - an app may have done anything to this process, and clients wait
        refused = error if isinstance(error, ExecFailed) else ExecFailed(f"it failed: {tracebacks.described(error)}")
        if attempt.last_resort == "page" or plan.config in {None, fallback.welcome_config()}:
            return _last_resort(attempt, refused, serve, plan.config)
        _tell_chain(attempt, refused)
    else:
        if plan.is_last and not plan.is_narrowed and attempt.last_resort == "page" and _can_answer(attempt):
            return _answer_plainly(attempt, None, "the last resort has failed;")
    for listener in attempt.listeners:
        claims.close(listener)
    status.failed(attempt)
    return 1


def _become(attempt: Attempt, config: str | None) -> None:
    """Become the fallback, or without one what the process first was.

    Raises:
        StopRequested, ExecFailed: as in ``fallback``.
    """
    if config is None:
        fallback.go_back(attempt)
    fallback.become(attempt, config, attempt.records)


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
    return StartupFailure(tracebacks.described(error), detail=tracebacks.whole_traceback(error))


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


def _last_resort(attempt: Attempt, failure: ExecFailed, serve: Callable[[Attempt], None], config: str | None) -> int:
    """Serve the welcome page in this very process, or a few plain lines; returns the status when it was told to stop.

    ``config`` is what it was to become, None for what it first was.

    No config is read: the file may be what this user cannot read. Without one, a fallback serves the welcome page on
    what it inherits; that is joined by where the fallback would listen, which was noted before a drop of privileges.
    """
    record = recorded(attempt, failure)
    logs.frame(record)
    if attempt.command is not None:
        attempt.command.tell(serves=False)
    if fallback.files_are_away():
        return _answer_plainly(
            attempt, lambda: _become(attempt, config), "the files of arun are gone; until they are back"
        )
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
    except Exception as error:  # noqa: BLE001 - no descriptor, no memory, a file that is gone
        for last in failures_of(error):
            logs.frame(FailureRecord.of(last, config=fallback.WELCOME, when=time.time()))
        return _answer_plainly(attempt, None, "it cannot do that;")
    return 0


def _can_answer(attempt: Attempt) -> list[socket.socket]:
    """Return the sockets on which a few plain lines may be said; none that speaks TLS ever turns plain."""
    return [one.socket for one in attempt.listeners if one.transport.tls is None and one.socket.fileno() >= 0]


def _answer_plainly(attempt: Attempt, succeed: Callable[[], None] | None, why: str) -> int:
    """Answer 503 in plain text until a stop signal comes, or the files that ``succeed`` needs are back."""
    plain = _can_answer(attempt)
    if not plain:
        return 1
    logs.warning(f"{why} this process (pid: {os.getpid()}) answers every request with status 503, in plain text")
    looks_back = 0

    def look() -> None:
        """Go on as the successor when nothing has been missing for some looks: files come back one by one."""
        nonlocal looks_back, succeed
        looks_back = 0 if fallback.files_are_away() else looks_back + 1
        if succeed is None or looks_back <= _LOOKS:
            return
        try:
            succeed()
        except StartupFailure as failure:
            logs.frame(recorded(attempt, failure))
            succeed = None
            attempt.signals.install()

    attempt.signals = process.StopSignals()
    try:
        for listener in plain:
            listener.listen()
        with contextlib.suppress(ValueError):  # the main thread is stuck, and this is another one
            attempt.signals.install()
        last_resort.answer(plain, look)
    except process.StopRequested:
        return 0
