"""Metrics of an instance for Prometheus and OpenMetrics, by prometheus-client: times in seconds, sizes in bytes."""

from __future__ import annotations

import time

from arun.control.messages import Response
from arun.control.places import INSTALL
from arun.control.state import STATES
from arun.core.counters import BOUNDS, Measured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from arun.control.state import InstanceState
    from arun.core.counters import Counters

__all__ = ("exposition",)

_STATUSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


def exposition(state: InstanceState, accept: str) -> Response:
    """Return the metrics in the format that a scraper asks for; 501 where prometheus-client cannot be had."""
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except Exception as error:  # noqa: BLE001 - not installed, half installed, or files of it that are away
        return Response.line(501, f"metrics need prometheus-client ({type(error).__name__}: {error}): {INSTALL}")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(state))
    try:
        encode, kind = choose_encoder(accept)
    except Exception:  # noqa: BLE001 - of what a client writes, prometheus-client takes a version that is no number ill
        encode, kind = choose_encoder("")
    return Response(200, encode(registry), kind)


class _Collector:
    """The metrics of one moment; nothing is registered for longer than a scrape."""

    def __init__(self, state: InstanceState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from _of_instance(self._state)
        yield from _of_requests(self._state.total)
        yield from _of_workers(self._state)


def _of_instance(state: InstanceState) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, StateSetMetricFamily

    yield InfoMetricFamily(
        "arun", "What runs.", {"version": state.arun, "python": state.python, "config": state.config, "app": state.app}
    )
    yield StateSetMetricFamily("arun_state", "The state of the instance.", {one: one == state.state for one in STATES})
    yield GaugeMetricFamily("arun_ready", "Whether the app answers all requests.", float(state.is_ready))
    yield GaugeMetricFamily("arun_start_time_seconds", "When this start began, in seconds of the epoch.", state.began)
    yield GaugeMetricFamily("arun_fallback_level", "0: the primary; 1: its fallback, and so on.", state.level)
    yield GaugeMetricFamily("arun_generation", "The workers of how many configurations have served.", state.generation)
    if state.next_try is not None:
        seconds = max(0.0, state.next_try - time.time())
        yield GaugeMetricFamily("arun_next_try_seconds", "Until the primary is tried again.", seconds)
    reloads = CounterMetricFamily("arun_reloads", "Reloads that have ended.", labels=["outcome"])
    reloads.add_metric(["done"], state.reloads)
    reloads.add_metric(["failed"], state.failed_reloads)
    yield reloads
    fallbacks = CounterMetricFamily("arun_fallbacks", "Failed starts that a fallback followed.", labels=["identifier"])
    for identifier, number in state.fallbacks:
        fallbacks.add_metric([identifier], number)
    yield fallbacks


def _of_workers(state: InstanceState) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    states = ("starting", "serving", "leaving")
    workers = GaugeMetricFamily("arun_workers", "Processes that serve the app, by their state.", labels=["state"])
    for one in states:
        workers.add_metric([one], sum(worker.state == one for worker in state.workers))
    yield workers
    yield CounterMetricFamily("arun_worker_restarts", "Workers that were lost and replaced.", state.restarts)


def _of_requests(total: Counters) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield CounterMetricFamily("arun_requests", "Requests that have begun.", total.requests)
    yield GaugeMetricFamily("arun_requests_in_flight", "Requests that the app works on.", total.running)
    yield GaugeMetricFamily("arun_connections", "Connections that are open.", total.connections)
    measured = total.measured or Measured()
    responses = CounterMetricFamily(
        "arun_responses", "Requests that have ended, by the class of their status.", labels=["status"]
    )
    for name, number in zip(_STATUSES, measured.statuses, strict=True):
        responses.add_metric([name], number)
    yield responses
    yield CounterMetricFamily(
        "arun_received_bytes", "Bytes from clients, heads and framing included.", measured.received
    )
    yield CounterMetricFamily("arun_sent_body_bytes", "Bytes of the bodies of responses.", measured.sent)
    yield _histogram(
        "arun_request_duration_seconds",
        "From the complete head of a request to the end of its response.",
        measured.buckets,
        measured.seconds,
    )
    yield _histogram(
        "arun_request_queue_seconds",
        "From when a trusted proxy took a request (X-Request-Start), or its head was complete, to when the app began.",
        measured.queue_buckets,
        measured.queued,
    )


def _histogram(name: str, about: str, buckets: tuple[int, ...], total: float) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    so_far, cumulative = 0, []
    for bound, number in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
        so_far += number
        cumulative.append((bound, so_far))
    return HistogramMetricFamily(name, about, buckets=cumulative, sum_value=total)
