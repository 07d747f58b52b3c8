"""Metrics: what is counted, that it never goes back, and that a real Prometheus reads it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from tests.conftest import own_address, until

if TYPE_CHECKING:
    from tests.control.conftest import Controlled, Controls

pytest.importorskip("prometheus_client")
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def number(shop: Controlled, name: str) -> float:
    """The value of one sample."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", shop.probe("/metrics").text, re.MULTILINE)
    assert found, name
    return float(found[1])


def reaches(shop: Controlled, name: str, least: float) -> None:
    def look() -> None:
        assert number(shop, name) >= least

    until(look, AssertionError)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_requests_are_counted_with_their_statuses_bytes_and_times(
    controlled: Controls, workers: tuple[str, ...]
) -> None:
    shop = controlled(*workers)
    for _ in range(10):
        shop.instance.get("/", headers={"X-Request-Start": f"t={time.time() - 2:.3f}"})
    reaches(shop, "arun_requests_total", 10)
    reaches(shop, 'arun_responses_total{status="2xx"}', 10)
    assert number(shop, "arun_sent_body_bytes_total") >= 10 * len("pid 1")
    assert number(shop, "arun_received_bytes_total") > 10 * len("GET / HTTP/1.1\r\n")
    assert number(shop, "arun_request_duration_seconds_count") == 10
    assert number(shop, "arun_request_queue_seconds_sum") >= 20
    assert number(shop, 'arun_request_queue_seconds_bucket{le="1.0"}') == 0
    assert number(shop, 'arun_state{arun_state="serving"}') == 1
    assert number(shop, 'arun_workers{state="serving"}') == (2 if workers else 1)


@pytest.mark.parametrize("form", ["t={0:.3f}", "{0:.3f}", "{1:.0f}", "t={2:.0f}"], ids=["t=s", "s", "ms", "t=us"])
def test_a_proxy_may_write_the_time_in_seconds_milliseconds_or_microseconds(controlled: Controls, form: str) -> None:
    shop = controlled()
    began = time.time() - 3
    shop.instance.get("/", headers={"X-Request-Start": form.format(began, began * 1e3, began * 1e6)})
    reaches(shop, "arun_request_queue_seconds_count", 1)
    assert 2.9 < number(shop, "arun_request_queue_seconds_sum") < 10


@pytest.mark.parametrize("value", ["t=", "soon", "-1", "1e400", "t=99999999999", "0"])
def test_nonsense_is_no_time_in_a_queue(controlled: Controls, value: str) -> None:
    shop = controlled()
    shop.instance.get("/", headers={"X-Request-Start": value})
    reaches(shop, "arun_request_queue_seconds_count", 1)
    assert number(shop, "arun_request_queue_seconds_sum") < 1


def test_a_wsgi_request_that_waits_for_a_thread_is_in_the_queue(controlled: Controls) -> None:
    controlled.arun.write(
        "slow.py",
        "import time\ndef app(environ, start_response):\n    time.sleep(0.3)\n"
        "    start_response('200 OK', [('Content-Length', '0')])\n    return []\n",
    )
    shop = controlled("--threads", "1", app="slow:app")
    with shop.instance.connect() as first, shop.instance.connect() as second:
        for client in (first, second):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for client in (first, second):
            client.recv(65_536)
    reaches(shop, "arun_request_queue_seconds_count", 2)
    assert 0.2 < number(shop, "arun_request_queue_seconds_sum") < 5


def test_counters_never_go_back_when_workers_are_killed_reloaded_and_upgraded(controlled: Controls) -> None:
    shop = controlled("--workers", "2")
    seen = 0.0

    def look() -> None:
        nonlocal seen
        now = number(shop, "arun_requests_total")
        assert now >= seen
        seen = now

    def ask() -> None:
        begun = seen
        for _ in range(10):
            shop.instance.get()
        reaches(shop, "arun_requests_total", begun + 10)
        look()

    ask()
    os.kill(shop.state()["workers"][0]["pid"], signal.SIGKILL)
    reaches(shop, "arun_worker_restarts_total", 1)
    until(lambda: _serving(shop, look), AssertionError)
    assert number(shop, "arun_worker_restarts_total") == 1
    ask()
    assert shop.command("reload").returncode == 0
    look()
    assert number(shop, 'arun_reloads_total{outcome="done"}') == 1
    ask()
    shop.instance.send(signal.SIGUSR2)
    shop.instance.wait_for("serving shop:app with 2 workers", times=2)
    until(lambda: _serving(shop, look), AssertionError, OSError)
    assert seen >= 30


def _serving(shop: Controlled, look: object) -> None:
    assert callable(look)
    look()
    assert [one["state"] for one in shop.state()["workers"]][:2] == ["serving"] * 2


def test_a_fallback_is_counted_by_its_identifier_for_as_long_as_the_process_lives(controlled: Controls) -> None:
    controlled.arun.write("late.py", "import missing_one\n")
    shop = controlled("--recover", "signal", "--fallback-config", "welcome", app="late:app")
    shop.becomes(state="fallback")
    name = 'arun_fallbacks_total{identifier="app-dependency-missing"}'
    assert number(shop, name) == 1
    assert number(shop, 'arun_state{arun_state="fallback"}') == 1
    controlled.arun.write("late.py", "from shop import app\n")
    assert shop.command("reload").returncode == 0
    assert number(shop, name) == 1
    assert number(shop, "arun_fallback_level") == 0


def test_open_metrics_is_spoken_to_who_asks_for_it(controlled: Controls) -> None:
    shop = controlled()
    answer = shop.probe("/metrics", Accept=OPEN_METRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    for accept in ("application/openmetrics-text; version=x", "text/plain; version=1..2", "\x7f"):
        assert shop.probe("/metrics", Accept=accept).status in {200, 400}


def test_without_prometheus_client_metrics_say_so_in_a_line(controlled: Controls) -> None:
    controlled.arun.write("hidden/prometheus_client.py", "raise ImportError('hidden')\n")
    shop = controlled(env={"PYTHONPATH": str(controlled.arun.folder / "hidden")})
    answer = shop.probe("/metrics")
    assert answer.status == 501
    assert "pip install 'arun-server[metrics]'" in answer.text
    assert len(answer.text.splitlines()) == 1
    assert shop.probes() == (200, 200, 200)


def test_a_supervisor_loads_prometheus_client_when_somebody_asks(controlled: Controls) -> None:
    shop = controlled("--supervise")
    loaded = Path(f"/proc/{shop.instance.pid}/maps")
    assert "_ssl" not in loaded.read_text()
    shop.probe("/metrics")
    assert "_ssl" in loaded.read_text()  # which prometheus-client brings with it


PROMETHEUS = shutil.which("prometheus")


@pytest.mark.skipif(PROMETHEUS is None, reason="needs Debian's prometheus")
def test_a_real_prometheus_scrapes_an_instance_with_workers(controlled: Controls, tmp_path: Path) -> None:
    shop = controlled("--workers", "2")
    for _ in range(12):
        shop.instance.get()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs:\n- job_name: shop\n  static_configs: [{{targets: ['{shop.status_address}']}}]\n"
    )
    listens = own_address()
    command = [
        str(PROMETHEUS),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={listens}",
        "--log.level=warn",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as prometheus:
        try:
            until(
                lambda: _has(listens, "arun_requests_total", 12),
                AssertionError,
                OSError,
                ValueError,
                http.client.HTTPException,
            )
            _has(listens, "up", 1)
            _has(listens, 'arun_workers{state="serving"}', 2)
            _has(listens, "arun_request_duration_seconds_count", 12)
        except AssertionError:
            print((tmp_path / "log").read_text())  # noqa: T201 - for the report of the failure
            raise
        finally:
            prometheus.terminate()


def _has(address: str, query: str, least: float) -> None:
    host, _, port = address.rpartition(":")
    target = f"/api/v1/query?query={quote(query)}"
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request("GET", target)
        result = json.loads(connection.getresponse().read())["data"]["result"]
    assert result, query
    assert float(result[0]["value"][1]) >= least
