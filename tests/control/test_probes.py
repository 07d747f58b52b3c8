"""The probes, /status and the reasons, in each state that an instance can be in."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until

if TYPE_CHECKING:
    from typing import Any

    from tests.control.conftest import Controls

WORKERS = pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])


@WORKERS
def test_an_instance_answers_while_its_app_is_imported_and_when_it_serves(
    controlled: Controls, workers: tuple[str, ...]
) -> None:
    gate = controlled.arun.folder / "gate"
    shop = controlled(*workers, ready=False, env={"GATE": str(gate)})
    until(shop.state, OSError)
    assert shop.probes() == (200, 503, 503)
    assert shop.state()["state"] == "starting"
    until(lambda: _waits_for_import(shop.probe("/readyz").text), AssertionError)
    gate.touch()
    shop.instance.wait_for("serving ")
    state = shop.becomes(state="serving", ready=True, reason="")
    assert shop.probes() == (200, 200, 200)
    assert (state["level"], state["failures"], state["listeners"]) == (0, [], [f"http://{shop.instance.address}"])
    assert {one["pid"] for one in state["workers"]} == set(shop.instance.children() or [shop.instance.pid])


def _waits_for_import(text: str) -> None:
    assert text.startswith("starting: waiting for "), text
    assert "to be imported" in text, text


def test_a_preloaded_instance_answers_while_its_app_is_imported(controlled: Controls) -> None:
    gate = controlled.arun.folder / "gate"
    shop = controlled("--preload", ready=False, env={"GATE": str(gate)})
    until(shop.state, OSError)
    assert shop.probes() == (200, 503, 503)
    gate.touch()
    shop.becomes(state="serving")
    assert shop.probes() == (200, 200, 200)


@WORKERS
def test_a_fallback_is_alive_and_not_ready_and_says_why(controlled: Controls, workers: tuple[str, ...]) -> None:
    controlled.arun.write("broken.py", "import missing_one\n")
    shop = controlled(*workers, "--fallback-config", "welcome", app="broken:app")
    state = shop.becomes(state="fallback")
    assert shop.probes() == (200, 200, 503)
    answer = shop.probe("/readyz")
    assert answer.text == "fallback: app-dependency-missing\n"
    assert int(answer.headers["retry-after"]) > 0
    assert json.loads(shop.probe("/readyz", Accept="application/json").body) == {
        "status": "fail",
        "state": "fallback",
        "reason": "app-dependency-missing",
    }
    assert state["level"] == 1
    assert state["fallbacks"] == {"app-dependency-missing": 1}
    assert state["failures"][0]["sentence"]


def test_a_fallback_answers_probes_below_the_status_path_of_the_start_that_failed(arun: Any) -> None:
    arun.write("broken.py", "raise ValueError\n")
    shop = arun("broken.py", "--bind", "{address}", "--fallback-config", "welcome", "--status-path", "/-/")
    shop.wait_for("this is a fallback")
    assert [shop.get(f"/-/{name}").status for name in ("livez", "startupz", "readyz")] == [200, 200, 503]
    assert shop.get("/").status == 503


def test_what_a_failure_says_is_for_the_control_socket_alone(controlled: Controls) -> None:
    controlled.arun.write("broken.py", "raise ValueError('postgres://u:canary@db')\n")
    shop = controlled("--fallback-config", "welcome", "--status-path", "/-/", app="broken:app")
    shop.becomes(state="fallback")
    (failure,) = json.loads(shop.probe("/status").body)["failures"]
    assert failure["identifier"] == "app-import-failed"
    assert "canary" not in shop.probe("/status").text + shop.probe("/metrics").text
    assert {"sentence", "detail", "hint"}.isdisjoint(failure)


def test_the_command_line_of_a_process_that_has_the_address_is_for_the_control_socket_alone(
    controlled: Controls,
) -> None:
    host, _, port = controlled.arun.address.rpartition(":")
    with socket.create_server((host, int(port))):
        shop = controlled("--fallback-config", "welcome")
        (told,), (shown,) = shop.state()["waiting"], json.loads(shop.probe("/status").body)["waiting"]
    assert f"held by pid {os.getpid()} (" in told
    assert shown == f"http://{controlled.arun.address}"


@WORKERS
def test_a_draining_instance_is_not_ready_and_still_answers(controlled: Controls, workers: tuple[str, ...]) -> None:
    shop = controlled(*workers, "--timeout-graceful-shutdown", "20")
    asking = threading.Thread(target=shop.instance.get, args=("/slow",))
    asking.start()
    until(lambda: _runs(shop.state()["in_flight"]), AssertionError)
    shop.instance.send(signal.SIGTERM)
    shop.becomes(state="draining")
    assert shop.probes() == (200, 200, 503)
    (controlled.arun.folder / "go").touch()
    asking.join()
    assert shop.instance.wait() == 0
    assert not shop.path.exists()


def _runs(number: int) -> None:
    assert number == 1


def test_one_process_answers_while_its_loop_is_stuck_and_says_that_it_is(controlled: Controls) -> None:
    shop = controlled("--worker-timeout", "1", "--no-supervise")
    asking = threading.Thread(target=shop.instance.get, args=("/stuck/4",))
    asking.start()
    until(lambda: _is_stuck(shop.probes()), AssertionError)
    assert "has not turned" in shop.probe("/livez").text
    asking.join()
    until(lambda: _is_well(shop.probes()), AssertionError)


def _is_stuck(probes: tuple[int, int, int]) -> None:
    assert probes == (503, 200, 503)


def _is_well(probes: tuple[int, int, int]) -> None:
    assert probes == (200, 200, 200)


def test_a_supervisor_answers_while_the_loops_of_its_workers_are_stuck_and_they_are_replaced(
    controlled: Controls,
) -> None:
    shop = controlled("--supervise", "--worker-timeout", "1")
    (before,) = shop.state()["workers"]

    def ask() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            shop.instance.get("/stuck/60")

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: _has_restarted(shop.state()["restarts"]), AssertionError)
    asking.join()
    state = shop.becomes(state="serving", ready=True)
    assert state["workers"][0]["pid"] != before["pid"]


def _has_restarted(number: int) -> None:
    assert number == 1


def test_the_status_path_answers_on_the_addresses_of_the_app_and_only_there(controlled: Controls) -> None:
    shop = controlled("--status-path", "/-/", "--workers", "2")
    for _ in range(4):  # whichever worker it comes to
        assert shop.instance.get("/-/readyz").text == "serving\n"
    state = json.loads(shop.instance.get("/-/status").body)
    assert len(state["workers"]) == 2
    assert "arun_requests_total" in shop.instance.get("/-/metrics").text
    assert shop.instance.get("/-/reload", method="POST").status == 405
    assert shop.instance.get("/-/stop").status == 404
    assert shop.instance.get("/readyz").text.startswith("pid ")
    assert shop.instance.get("/-/livez", method="HEAD").body == b""


def test_without_a_status_path_the_app_has_every_path(controlled: Controls) -> None:
    shop = controlled()
    assert shop.instance.get("/livez").text.startswith("pid ")


def test_orders_are_not_taken_on_the_status_address(controlled: Controls) -> None:
    shop = controlled()
    host, _, port = shop.status_address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("POST", "/stop")
    assert connection.getresponse().status == 404
    connection.close()
    assert shop.state()["state"] == "serving"


def test_the_state_survives_an_upgrade_of_a_supervisor(controlled: Controls) -> None:
    shop = controlled("--workers", "2")
    for _ in range(10):
        shop.instance.get()
    until(lambda: _at_least(shop.state()["requests"], 10), AssertionError)
    shop.instance.send(signal.SIGUSR2)
    shop.instance.wait_for("serving shop:app", times=2)
    state = shop.becomes(state="serving", ready=True)
    assert state["pid"] == shop.instance.pid
    assert state["requests"] >= 10
    assert shop.probes() == (200, 200, 200)


def _at_least(number: int, least: int) -> None:
    assert number >= least
