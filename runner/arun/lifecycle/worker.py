"""The process of one worker, from its fork to its end: it loads the app, serves it, and tells its supervisor."""

from __future__ import annotations

import gc
import os
from functools import partial

from arun.core.exits import Interruption
from arun.core.failures import StartupFailure
from arun.lifecycle import build, end
from arun.lifecycle.deadline import Watch
from arun.supervisor import forking
from arun.supervisor.channel import Channel, Span
from arun.supervisor.reports import DRAINING, FAILED, READY
from arun.system import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import NoReturn

    from arun.lifecycle.build import Loaded, Setup
    from arun.server.server import Orders
    from arun.settings import Settings

__all__ = ("work",)


def work(setup: Setup, slot: int | None, began: float, connection: socket.socket) -> NoReturn:
    """Be the worker of a slot, or with none the process that loads the app and forks the workers.

    ``began`` is when its start began, on the monotonic clock; ``connection`` leads to the supervisor.
    """
    channel = Channel(connection, _span(setup.chosen), setup.chosen.worker_timeout)
    supervisor = os.getppid()

    def serve(watch: Watch) -> None:
        setup.surroundings.restore()
        _serve(setup, build.load(setup, watch), watch, channel)

    def load(watch: Watch) -> None:
        setup.surroundings.restore()  # a worker that is forked from here finds what the app has made of them
        loaded = build.load(setup, watch)
        forking.flush_files()
        watch.finish()  # a process with one thread forks
        gc.collect()
        gc.freeze()
        channel.report(READY)
        for count, (number, since, line) in enumerate(forking.worker_orders(connection), 1):
            if since == began:  # ordered while the app was loaded: the watch knows of pauses since
                since = watch.began  # noqa: PLW2901
            try:
                forking.fork_for(supervisor, partial(_work_preloaded, setup, loaded, number, since), line, connection)
            except OSError:
                line.close()  # the supervisor sees it
            if count == setup.chosen.workers:
                for listener in setup.listening.leaving:
                    listener.socket.close()  # the workers have it

    _run(setup, channel, slot, began, load if slot is None else serve)


def _work_preloaded(setup: Setup, loaded: Loaded, slot: int, began: float, connection: socket.socket) -> NoReturn:
    """Be a worker that was forked with the app in it."""
    channel = Channel(connection, _span(setup.chosen), setup.chosen.worker_timeout)
    fresh = loaded.afresh(setup.chosen)
    _run(setup, channel, slot, began, lambda watch: _serve(setup, fresh, watch, channel))


def _run(setup: Setup, channel: Channel, slot: int | None, began: float, body: Callable[[Watch], None]) -> NoReturn:
    """Run the body with signals, surroundings and watch of its own; how it ends is told the supervisor."""
    attempt, chosen = setup.attempt, setup.chosen
    attempt.signals = process.StopSignals(is_workers=True, of_app=attempt.signals.of_app)
    attempt.signals.tell_reopen(attempt.reopen_log_file)
    attempt.manager = attempt.pidfile = None  # they are its supervisor's to tell, and to remove
    attempt.report = partial(channel.report, FAILED)
    origin = chosen.origin("start_timeout")

    def run() -> None:
        attempt.signals.install()
        process.dump_when_dying()
        if slot is not None:
            process.bind_to_cores(slot - 1, chosen.cpu_affinity)
        watch = Watch(
            chosen.start_timeout,
            partial(end.overdue, attempt, origin),
            lambda: attempt.signals.count > 0,
            channel.waiting,
            began,
        )
        watch.begin()
        try:
            body(watch)
        except (StartupFailure, Interruption):
            if watch.expired:  # whatever the app made of the interruption
                raise end.timed_out(watch, origin) from None
            raise
        finally:
            watch.finish()

    end.run(attempt, run)


def _serve(setup: Setup, loaded: Loaded, watch: Watch, channel: Channel) -> None:
    def ready(orders: Orders) -> None:
        channel.serve(loaded.app.target.text, orders.requests, orders.retire, orders.stop)

    build.serve(setup, loaded, watch, build.Told(ready, partial(channel.report, DRAINING), channel.spent))


def _span(chosen: Settings) -> Span:
    requests = chosen.max_requests
    if requests and chosen.max_requests_jitter:
        requests += int.from_bytes(os.urandom(8), "big") % (chosen.max_requests_jitter + 1)
    return Span(requests, chosen.max_worker_lifetime, chosen.reload_on_rss)
