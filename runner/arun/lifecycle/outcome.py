"""How a start, with all the serving that may follow it, has ended: one of three outcomes."""

from __future__ import annotations

from arun.core import exits
from arun.core.failures import INTERNAL_ERROR, StartupFailure
from arun.core.values import Value
from arun.settings import SettingsRejected
from arun.system import tracebacks
from arun.system.stop_signals import StopRequested, StopSignals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

__all__ = ("Failed", "Outcome", "ReturnToPrimary", "Stopped", "failures_of", "outcome_of")


class Stopped(Value):
    """A stop signal came, or nothing was left to do: status 0."""


class ReturnToPrimary(Value):
    """SIGHUP asks a fallback to try the first start of its chain again."""


class Failed(Value):
    """It has failed: the fallback follows, or status 1."""

    failures: tuple[StartupFailure, ...]


if TYPE_CHECKING:
    Outcome: TypeAlias = Stopped | ReturnToPrimary | Failed


def outcome_of(body: Callable[[], object], signals: StopSignals) -> Outcome:
    """Run a body and return how it ended; a child that an app has forked ends here, as it would elsewhere."""
    try:
        body()
    except BaseException as error:  # noqa: BLE001 - a fault of arun's own must be reported too
        if exits.in_forked_child():
            exits.leave(exits.status_of(error))
        if not isinstance(exits.interruption_in(error), StopRequested):  # whatever it has passed through
            return Failed(failures_of(error))
    return ReturnToPrimary() if signals.going_back and not signals.count else Stopped()


def failures_of(error: BaseException) -> tuple[StartupFailure, ...]:
    """Return the failures that an exception stands for; one that no code foresees is a failure of arun's own."""
    if isinstance(error, SettingsRejected):
        return error.problems
    return (error,) if isinstance(error, StartupFailure) else (_unexpected(error),)


def _unexpected(error: BaseException) -> StartupFailure:
    exits.release_descriptors()
    return StartupFailure(INTERNAL_ERROR, tracebacks.described(error), detail=tracebacks.whole_traceback(error))
