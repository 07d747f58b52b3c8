"""The process of one worker, from its fork to its end: it loads the app, serves it, and reports to its supervisor."""

from __future__ import annotations

import gc
import os
from functools import partial

from arun.core import exits
from arun.instance.configuration import Candidate
from arun.instance.status import Status
from arun.lifecycle import build
from arun.lifecycle.deadline import Deadline
from arun.lifecycle.outcome import Failed, outcome_of
from arun.supervisor import forking
from arun.supervisor.channel import Channel, Served, WorkerLifetime
from arun.supervisor.reports import DRAINING, FAILED, READY
from arun.system import environment, logs, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import NoReturn

    from arun.instance.instance import Instance
    from arun.lifecycle.build import Loaded
    from arun.lifecycle.outcome import Outcome
    from arun.server.server import Server
    from arun.settings import Settings

    Body = Callable[[Instance, Deadline], None]

__all__ = ("work",)


def work(
    supervised: Instance, candidate: Candidate, slot: int | None, began: float, connection: socket.socket
) -> NoReturn:
    """Be the worker of a slot, or with none the process that loads the app and forks the workers.

    Args:
        supervised: the instance as its supervisor knows it.
        candidate: what the worker is to serve with.
        slot: the number of the worker.
        began: when its start began, on the monotonic clock.
        connection: the line to the supervisor.
    """
    configuration = candidate.configuration
    settings, surroundings = configuration.settings, configuration.surroundings
    assert surroundings is not None  # noqa: S101 - a start that has come to its workers has entered them
    channel = Channel(connection, _lifetime(settings), settings.worker_timeout)
    supervisor = os.getppid()

    def serve(instance: Instance, deadline: Deadline) -> None:
        surroundings.restore()
        environment.name_worker((slot or 1) - 1, candidate.generation)
        _serve(instance, build.load(instance, deadline), deadline, channel)

    def load(instance: Instance, deadline: Deadline) -> None:
        surroundings.restore()  # a worker that is forked from here finds what the app has made of them
        loaded = build.load(instance, deadline)
        forking.flush_files()
        deadline.finish()  # a process with one thread forks
        gc.collect()
        gc.freeze()
        channel.report(READY)
        for count, (number, since, line) in enumerate(forking.worker_orders(connection), 1):
            if since == began:  # ordered while the app was loaded: the deadline knows of pauses since
                since = deadline.began  # noqa: PLW2901
            try:
                forking.fork_for(
                    supervisor,
                    partial(_work_preloaded, instance, loaded, (number, candidate.generation), since),
                    line,
                    connection,
                )
            except OSError:
                line.close()  # the supervisor sees it
            if count == settings.workers:
                for listener in configuration.listening.leaving:
                    listener.socket.close()  # the workers have it

    instance = supervised.as_worker(_status(supervised, channel), candidate)
    _run(instance, channel, slot, began, load if slot is None else serve)


def _work_preloaded(
    loader: Instance, loaded: Loaded, named: tuple[int, int], began: float, connection: socket.socket
) -> NoReturn:
    """Be a worker that was forked with the app in it; ``named`` are the numbers of its slot and its generation."""
    slot, generation = named
    environment.name_worker(slot - 1, generation)
    configuration = loader.configuration
    channel = Channel(connection, _lifetime(configuration.settings), configuration.settings.worker_timeout)
    served = Candidate(configuration, loader.sockets)
    instance = loader.as_worker(_status(loader, channel), served)
    fresh = loaded.afresh(configuration.settings)
    _run(instance, channel, slot, began, lambda one, deadline: _serve(one, fresh, deadline, channel))


def _status(supervised: Instance, channel: Channel) -> Status:
    return Status(report=partial(channel.report, FAILED), outlook=supervised.status.outlook())


def _run(instance: Instance, channel: Channel, slot: int | None, began: float, body: Body) -> NoReturn:
    """Run the body with signals and a deadline of its own; report its end to the supervisor."""
    settings, signals = instance.configuration.settings, instance.signals
    signals.on_reopen(instance.output.reopen)
    logs.be_worker(slot or 0)

    def run() -> None:
        signals.install()
        process.dump_when_dying()
        if slot is not None:
            process.bind_to_cores(slot - 1, settings.cpu_affinity)
        with Deadline(
            settings.start_timeout,
            settings.origin("start_timeout"),
            partial(_leave, instance),
            lambda: signals.count > 0,
            on_step=channel.waiting,
            began=began,
        ) as deadline:
            body(instance, deadline)

    _leave(instance, outcome_of(run, signals))


def _leave(instance: Instance, outcome: Outcome) -> NoReturn:
    """End the process: its supervisor draws the conclusions."""
    signals = instance.signals
    signals.ignore()
    failures = outcome.failures if isinstance(outcome, Failed) else ()
    instance.report(failures)
    exits.leave(int(bool(failures) and not signals.count), hurried=signals.count > 1, unwinds=True)


def _serve(instance: Instance, loaded: Loaded, deadline: Deadline, channel: Channel) -> None:
    status = instance.status

    def ready(server: Server) -> None:
        served = Served(server.counters, server.retire, partial(_foresee, status), server.stop)
        channel.serve(loaded.app.target.text, served)

    if order := channel.outlook():
        _foresee(status, order)
    reports = build.Reports(ready, partial(channel.report, DRAINING), channel.spent, channel.ask)
    try:
        build.serve(instance, loaded, deadline, reports)
    finally:
        channel.last_beat()


def _foresee(status: Status, order: str) -> None:
    """Let the page in the app's place go by what the supervisor says."""
    from arun.lifecycle import foresight

    status.foresee(**foresight.read(order))


def _lifetime(settings: Settings) -> WorkerLifetime:
    requests = settings.max_requests
    if requests and settings.max_requests_jitter:
        requests += int.from_bytes(os.urandom(8), "big") % (settings.max_requests_jitter + 1)
    return WorkerLifetime(requests, settings.max_worker_lifetime, settings.reload_on_rss)
