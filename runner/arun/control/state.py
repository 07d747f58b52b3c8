"""The state of an instance as one value, and what it is as JSON: what probes, metrics and commands go by."""

from __future__ import annotations

from arun.core.counters import Counters
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arun.core.failures import FailureRecord

__all__ = ("STATES", "InstanceState", "Offline", "Reload", "Waiting", "WorkerState", "document")

#: The version of the JSON: a name that is there keeps its meaning, and new ones may come.
VERSION = 1
#: Every state, in the order in which an instance mostly sees them.
STATES = ("starting", "serving", "fallback", "offline", "draining", "stopping")


class Offline(Value):
    """That an operator has taken the app offline: what the page says, and the clients that reach the app all the same.

    ``allow`` are IP addresses and networks.
    """

    text: str = ""
    allow: tuple[str, ...] = ()


class WorkerState(Value):
    """One process that serves: ``starting``, ``serving`` or ``leaving``, since when (epoch), and when it was last heard of.

    ``silent`` is in seconds: for how long its loop has not turned, as far as is known.
    """

    number: int
    pid: int
    state: str
    since: float
    silent: float
    counters: Counters


class Waiting(Value):
    """An address that another process has, and the sentence that says so: it shows the command line of that process."""

    address: str
    sentence: str


class Reload(Value):
    """How the last reload has ended, by its number: reloads are counted when they begin."""

    number: int
    is_done: bool = True
    failures: tuple[FailureRecord, ...] = ()


class InstanceState(Value):
    """One instance at one moment. Times are seconds since the epoch.

    ``reason`` says on one line why it is not ready, an identifier first where there is one; empty where it is. ``level`` is 0
    for the primary, 1 for its fallback, and so on. ``gone`` is what processes have counted that have gone. ``is_stuck`` is
    whether its loop, or that of every worker, has not turned for longer than ``worker-timeout``.
    """

    state: str
    since: float
    reason: str
    began: float
    arun: str
    python: str
    pid: int
    config: str = ""
    app: str = ""
    is_supervised: bool = False
    level: int = 0
    generation: int = 1
    listeners: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    failures: tuple[FailureRecord, ...] = ()
    next_try: float | None = None
    attempts: int = 0
    trying: bool = False
    offline: Offline | None = None
    workers: tuple[WorkerState, ...] = ()
    gone: Counters = Counters()
    restarts: int = 0
    reloads: int = 0
    failed_reloads: int = 0
    begun_reloads: int = 0
    last_reload: Reload | None = None
    fallbacks: tuple[tuple[str, int], ...] = ()
    is_stuck: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether the app answers all requests."""
        return self.state == "serving" and not self.is_stuck and not self.reason

    @property
    def total(self) -> Counters:
        """What all processes have counted, those that have gone included."""
        total = self.gone
        for worker in self.workers:
            total = total.plus(worker.counters)
        return total


def document(state: InstanceState, now: float, *, whole: bool) -> dict[str, Any]:
    """Return the state as JSON-able values.

    Only the ``whole`` of it has what a failure says, the text of tracebacks, and who holds an address: that is for the operator
    alone.
    """
    last = state.last_reload
    total = state.total
    return {
        "version": VERSION,
        "state": state.state,
        "ready": state.is_ready,
        "reason": state.reason,
        "since": round(state.since, 3),
        "began": round(state.began, 3),
        "uptime": round(now - state.began, 3),
        "arun": state.arun,
        "python": state.python,
        "pid": state.pid,
        "config": state.config,
        "app": state.app,
        "supervised": state.is_supervised,
        "level": state.level,
        "generation": state.generation,
        "listeners": list(state.listeners),
        "waiting": [one.sentence if whole else one.address for one in state.waiting],
        "failures": [_failure(one, whole=whole) for one in state.failures],
        "next_try": state.next_try,
        "attempts": state.attempts,
        "trying": state.trying,
        "offline": None if state.offline is None else state.offline._asdict(),
        "requests": total.requests,
        "in_flight": total.running,
        "connections": total.connections,
        "workers": [_worker(one) for one in state.workers],
        "restarts": state.restarts,
        "reloads": {
            "begun": state.begun_reloads,
            "done": state.reloads,
            "failed": state.failed_reloads,
            "last": None
            if last is None
            else {
                "number": last.number,
                "done": last.is_done,
                "failures": [_failure(one, whole=whole) for one in last.failures],
            },
        },
        "fallbacks": dict(state.fallbacks),
    }


def _worker(worker: WorkerState) -> dict[str, Any]:
    counters = worker.counters
    return {
        "number": worker.number,
        "pid": worker.pid,
        "state": worker.state,
        "since": round(worker.since, 3),
        "silent": round(worker.silent, 3),
        "requests": counters.requests,
        "in_flight": counters.running,
        "connections": counters.connections,
    }


def _failure(record: FailureRecord, *, whole: bool) -> dict[str, Any]:
    fields = record.as_dict()
    if whole:
        return fields
    return {name: fields[name] for name in ("id", "identifier", "stage", "when", "tries") if name in fields}
