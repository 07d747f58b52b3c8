"""Workers that have done their part or have died, and who comes after them: without a failed request, and not for ever."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until
from tests.process.asking import Asking, served_by
from tests.process.conftest import PAGE, SAFE
from tests.process.family import settled, stop, workers
from tests.process.shops import SHOP, WAITS

if TYPE_CHECKING:
    from tests.process.conftest import Instance, Starter

BIND = ("--bind", "{address}")
WAYS = {"forked": ((), 2), "preload": (("--preload",), 3)}
#: An app that holds a megabyte more with each request.
GROWS = SHOP.replace("    body =", "    held.append(bytes(range(256)) * 4096)\n    body =") + "\nheld = []\n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--max-requests", "40", "--max-requests-jitter", "20"), r"it has served \d+ requests \(--max-requests\)"),
        (("--max-worker-lifetime", "1.5"), r"it has served for [2-9] s \(--max-worker-lifetime\)"),
        (("--reload-on-rss", "96"), r"it holds \d+ MB \(--reload-on-rss\)"),
    ],
    ids=["requests", "lifetime", "rss"],
)
@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_has_done_its_part_gets_a_successor_without_a_failed_request(
    arun: Starter, way: str, options: tuple[str, ...], why: str
) -> None:
    arun.write("shop.py", GROWS)
    more, count = WAYS[way]
    instance = arun("shop.py", *BIND, "--workers", "2", *more, *options).ready()
    first = workers(instance)
    with Asking(instance) as asking:
        instance.wait_for(" gets a successor: ", times=3)
        until(lambda: assert_new(asking, first), AssertionError)
    reasons = re.findall(r"arun: worker \d \(pid: \d+\) gets a successor: (.*)", instance.said)
    assert [one for one in reasons if not re.fullmatch(why, one)] == []
    assert " died" not in instance.said
    assert "replaced" not in instance.said
    settled(instance, count, without=first)
    stop(instance)


def assert_new(asking: Asking, first: set[int]) -> None:
    assert served_by(asking.answers[-10:]).isdisjoint(first)


def test_a_worker_serves_as_many_requests_as_it_is_reported(arun: Starter) -> None:
    """Counts are looked at once a second: one that is not reached is still none after two looks."""
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--supervise", "--max-requests", "5").ready()
    first = one_of(instance)  # which is one request
    for _ in range(3):
        instance.get()
    asked = time.monotonic()
    until(lambda: assert_passed(asked, 2.5), AssertionError)
    assert "gets a successor" not in instance.said
    instance.get()
    instance.wait_for(f"arun: worker 1 (pid: {min(first)}) gets a successor: it has served 5 requests")
    settled(instance, 1, without=first)
    stop(instance)


def test_the_jitter_lets_a_worker_serve_more_than_the_least(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    options = ("--max-requests", "1", "--max-requests-jitter", "1000000000")
    instance = arun("shop.py", *BIND, "--workers", "2", *options).ready()
    before = settled(instance, 2)
    with Asking(instance):
        asked = time.monotonic()
        until(lambda: assert_passed(asked, 2.5), AssertionError)
    assert settled(instance, 2) == before
    stop(instance)


def assert_passed(since: float, seconds: float) -> None:
    assert time.monotonic() - since > seconds


def die(instance: Instance, *, times: int) -> None:
    """Kill a worker of the only one, and wait until that is reported."""
    (worker,) = one_of(instance)
    os.kill(worker, signal.SIGKILL)
    instance.wait_for("was ended by SIGKILL", times=times)


def one_of(instance: Instance) -> set[int]:
    """Wait until there is one worker, and it serves."""

    def look() -> set[int]:
        found = workers(instance)
        assert len(found) == 1, instance.said
        return found

    found = until(look, AssertionError)
    assert instance.get().status == 200
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_crash_loop_is_braked_and_ends_in_the_fallback(arun: Starter, way: str) -> None:
    arun.write("shop.py", SHOP)
    arun.write("safe.ini", SAFE)
    options = ("--supervise", *WAYS[way][0], "--crash-limit", "5", "--crash-interval", "100")
    instance = arun("shop.py", *BIND, *options, "--fallback-config", "safe.ini").ready()
    for times in range(1, 6):
        die(instance, times=times)
    instance.ready().wait_for("arun running on", times=2)
    assert braked(instance) == ["now", "in 0.1 s", "in 0.2 s", "in 0.4 s", "in 0.8 s"]
    assert instance.failures() == ["crash-loop"]
    assert "crash-loop: 5 workers died within 100 s; the last one: worker 1 (pid: " in instance.said
    answer = instance.get()
    assert (answer.status, PAGE in answer.text) == (503, True)
    settled(instance, 0)
    assert instance.fallbacks() == ["safe.ini"]
    stop(instance)


def braked(instance: Instance) -> list[str]:
    return re.findall(r"; it is replaced (.*)", instance.said)


def test_deaths_that_are_further_apart_than_the_interval_are_no_loop(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    options = ("--supervise", "--crash-limit", "2", "--crash-interval", "1")
    instance = arun("shop.py", *BIND, *options, "--fallback-config", "welcome").ready()
    for times in (1, 2, 3):
        die(instance, times=times)
        died = time.monotonic()
        until(lambda died=died: assert_passed(died, 1.2), AssertionError)  # type: ignore[misc]
    assert one_of(instance)
    assert braked(instance) == ["now", "now", "now"]
    assert instance.failures() == []
    stop(instance)


def test_a_crash_limit_of_nothing_is_none(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--supervise", "--crash-limit", "0", "--fallback-config", "welcome").ready()
    for times in (1, 2, 3):
        die(instance, times=times)
    assert one_of(instance)
    assert instance.failures() == []
    stop(instance)


@pytest.mark.parametrize("way", WAYS)
def test_a_successor_that_cannot_start_states_the_cause_once_and_is_a_crash_too(arun: Starter, way: str) -> None:
    """The app was broken on the disk after the start, and then its worker dies."""
    arun.write("shop.py", SHOP)
    arun.write("safe.ini", SAFE)
    options = ("--workers", "2", *WAYS[way][0], "--crash-limit", "4")
    instance = arun("shop.py", *BIND, *options, "--fallback-config", "safe.ini").ready()
    family = settled(instance, WAYS[way][1])
    arun.write("shop.py", "import nowhere\n")
    for loader in family - workers(instance):  # which has the app still
        os.kill(loader, signal.SIGKILL)
        instance.wait_for("there is another one as soon as a worker is needed")
    os.kill(min(workers(instance)), signal.SIGKILL)
    instance.ready().wait_for("arun running on", times=2)
    assert instance.failures() == ["app-dependency-missing", "crash-loop"]
    assert instance.get().status == 503
    settled(instance, 0)
    stop(instance)


def test_a_successor_that_is_stuck_in_its_start_is_a_crash_too(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    arun.write("safe.ini", SAFE)
    options = ("--workers", "2", "--crash-limit", "2", "--start-timeout", "3")
    instance = arun("shop.py", *BIND, *options, "--fallback-config", "safe.ini").ready()
    arun.write("shop.py", "import time\ntime.sleep(1e6)\n")
    os.kill(min(workers(instance)), signal.SIGKILL)
    assert instance.get().text.startswith("one")  # the other one serves on
    instance.wait_for("arun running on", times=2)
    assert instance.failures() == ["start-timeout", "crash-loop"]
    assert instance.get().status == 503
    stop(instance)


STUCK = (
    SHOP.replace("    body =", "    if scope['path'] == '/stuck':\n        count_for_ever()\n    body =")
    + """
def count_for_ever():
    while True: pass
"""
)


def test_a_worker_whose_loop_is_stuck_is_replaced_and_shows_where_it_was(arun: Starter) -> None:
    arun.write("shop.py", STUCK)
    instance = arun("shop.py", *BIND, "--workers", "2", "--worker-timeout", "2").ready()
    family = settled(instance, 2)
    with instance.connect() as client:
        client.sendall(b"GET /stuck HTTP/1.1\r\nHost: shop\r\n\r\n")
        said = instance.wait_for("it is replaced now")
    stuck = int(re.findall(r"worker \d \(pid: (\d+)\) has been stuck for [23] s \(--worker-timeout\)", said)[0])
    assert re.search(r'File ".*shop.py", line \d+ in count_for_ever', said)
    assert said.index("has been stuck") < said.index("in count_for_ever") < said.index("it is replaced now")
    assert len(settled(instance, 2, without={stuck}) & family) == 1
    stop(instance)


def test_a_thread_that_waits_for_long_is_no_stuck_worker(arun: Starter) -> None:
    """A WSGI call may take its time: the loop turns meanwhile."""
    arun.write(
        "shop.py",
        "import os, time\ndef app(environ, start_response):\n    began = time.monotonic()\n"
        "    while time.monotonic() < began + 3: time.sleep(0.05)\n"
        "    start_response('200 OK', [])\n    return [str(os.getpid()).encode()]\n",
    )
    instance = arun("shop.py", *BIND, "--supervise", "--worker-timeout", "1.5").ready()
    assert {int(instance.get().text)} == settled(instance, 1)
    assert "stuck" not in instance.said
    stop(instance)


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_an_operator_stops_is_replaced_and_is_no_crash(arun: Starter, way: str) -> None:
    arun.write("shop.py", SHOP)
    instance = arun(
        "shop.py", *BIND, "--workers", "2", *WAYS[way][0], "--crash-limit", "1", "--fallback-config", "welcome"
    ).ready()
    family = settled(instance, WAYS[way][1])
    stopped = min(workers(instance))
    os.kill(stopped, signal.SIGTERM)
    instance.wait_for(f"(pid: {stopped}) gets a successor: it was told to stop")
    assert settled(instance, WAYS[way][1], without={stopped}) != family
    assert instance.get().status == 200
    assert instance.failures() == []
    stop(instance)


def test_a_stop_of_the_whole_group_cuts_no_client(arun: Starter) -> None:
    """As a service manager or a shell sends it; a worker gets the signal twice then."""
    arun.write("shop.py", WAITS)
    instance = arun("shop.py", *BIND, "--workers", "2", start_new_session=True).ready()
    with instance.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        instance.wait_for("here")
        os.killpg(instance.pid, signal.SIGTERM)
        instance.wait_for("arun: stopping 2 workers")
        arun.write("go", "")
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert instance.wait() == 0
