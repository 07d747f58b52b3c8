"""What must not take an instance down whose workers serve: refused forks, identities, closed folders, hanging parts."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import own_address, until
from tests.process.conftest import STRANGER
from tests.process.family import settled, stop, workers
from tests.process.shops import SHOP, WAITS, reload, version
from tests.process.test_reload_listeners import assert_refused, get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.conftest import Instance, Starter

BIND = ("--bind", "{address}")
GOES_ON = "the old workers go on"


def test_a_reload_whose_workers_cannot_be_forked_changes_nothing(arun: Starter) -> None:
    """The first failing fork gives the reload up; the places after it are not tried, and end nothing."""
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "3", "--fallback-config", "welcome").ready()
    before = settled(instance, 3)
    limits = resource.prlimit(instance.pid, resource.RLIMIT_NOFILE)
    _, last_free = (number for number in itertools.islice(free_numbers(instance), 2))
    resource.prlimit(instance.pid, resource.RLIMIT_NOFILE, (last_free + 1, limits[1]))  # a pair for the first of them
    instance.send(signal.SIGHUP)
    instance.wait_for(GOES_ON)
    assert instance.failures() == ["worker-died"]
    assert "worker 2 could not be forked: Too many open files" in instance.said
    assert settled(instance, 3) == before
    resource.prlimit(instance.pid, resource.RLIMIT_NOFILE, limits)
    reload(instance)
    settled(instance, 3, without=before)
    assert "!!!" not in instance.said
    stop(instance)


def free_numbers(instance: Instance) -> Iterator[int]:
    """The numbers that its next descriptors get."""
    held = instance.descriptors()
    return (number for number in itertools.count() if number not in held)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it names another user")
def test_another_user_takes_a_restart(arun: Starter) -> None:
    """Who has become one cannot become another, nor end the workers that are still root's."""
    arun.write("shop.py", SHOP)
    site = "[arun]\napp = shop.py\nbind = {address}\nworkers = 2\n"
    arun.write("site.ini", site)
    instance = arun("site.ini").ready()
    before = settled(instance, 2)
    arun.write("site.ini", f"{site}uid = {STRANGER}\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("uid and gid change with a restart only (from site.ini:5)")
    instance.wait_for(GOES_ON)
    assert settled(instance, 2) == before
    assert {os.stat(f"/proc/{pid}").st_uid for pid in (instance.pid, *before)} == {0}
    stop(instance)


def test_a_folder_that_is_gone_by_the_time_of_a_reload_ends_no_process(arun: Starter) -> None:
    """As with a link to the current release: the old one is removed while its workers serve on."""
    for name in ("one", "two"):
        arun.write(f"{name}/shop.py", version(name))
    (arun.folder / "current").symlink_to("one")
    arun.write("site.ini", "[arun]\nchdir = current\napp = shop.py\nbind = {address}\nworkers = 2\n")
    instance = arun("site.ini").ready()
    before = settled(instance, 2)
    (arun.folder / "current").unlink()
    (arun.folder / "current").symlink_to("two")
    shutil.rmtree(arun.folder / "one")
    reload(instance)
    settled(instance, 2, without=before)
    assert instance.get().text.startswith("two ")
    stop(instance)


def test_a_successor_that_cannot_start_costs_no_worker_that_serves(arun: Starter) -> None:
    """It is tried again and again, more and more seldom; a worker that has served enough serves on meanwhile."""
    arun.write("shop.py", SHOP)
    options = ("--supervise", "--max-requests", "1", "--crash-limit", "2", "--fallback-config", "welcome")
    instance = arun("shop.py", *BIND, *options).ready()
    (worker,) = settled(instance, 1)
    arun.write("shop.py", "import nowhere\n")
    assert instance.get().status == 200
    instance.wait_for("it is replaced in", times=4)
    assert instance.get().text.endswith(f" {worker}")
    assert set(instance.failures()) == {"app-dependency-missing"}
    arun.write("shop.py", SHOP)
    until(lambda: pytest.fail("still there") if worker in workers(instance) else None, pytest.fail.Exception)
    assert instance.get().status == 200
    stop(instance)


def test_a_worker_timeout_shorter_than_a_second_ends_no_healthy_worker(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "2", "--worker-timeout", "0.8").ready()
    before = settled(instance, 2)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert instance.get().status == 200
    assert settled(instance, 2) == before
    assert "has been stuck" not in instance.said
    stop(instance)


def test_a_process_that_loads_the_app_and_hangs_is_replaced(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "2", "--preload", "--fallback-config", "welcome").ready()
    family = settled(instance, 3)
    (loader,) = family - workers(instance)
    os.kill(loader, signal.SIGSTOP)
    os.kill(min(workers(instance)), signal.SIGKILL)
    instance.wait_for("could not be forked: the process that loads the app")
    settled(instance, 3, without={loader})
    assert instance.get().status == 200
    stop(instance)


def test_a_start_whose_loader_hangs_in_a_fork_is_a_failed_start(arun: Starter) -> None:
    """As with libraries that wait for a lock before a fork."""
    hook = "import os, time\nos.register_at_fork(before=lambda: os.path.exists('hang') and time.sleep(1e6))\n"
    arun.write("shop.py", hook + SHOP + "open('hang', 'w').close()\n")
    instance = arun(
        "shop.py", *BIND, "--workers", "2", "--preload", "--start-timeout", "2", "--fallback-config", "welcome"
    )
    instance.ready()
    assert instance.get().status == 503
    settled(instance, 0)
    stop(instance)


@pytest.mark.parametrize("number", [signal.SIGTTIN, signal.SIGTTOU], ids=["TTIN", "TTOU"])
def test_a_signal_for_supervisors_stops_no_single_process(arun: Starter, number: signal.Signals) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND).ready()
    for _ in range(2):
        instance.send(number)
    instance.wait_for(f"{number.name} changes nothing here")
    assert instance.get().status == 200
    stop(instance)


def test_an_upgrade_that_fails_leaves_the_listeners_as_they_were(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    going, coming = own_address(), own_address()
    site = "[arun]\napp = shop.py\nbind = {address}\nworkers = 2\nbind = "
    arun.write("site.ini", f"{site}{going}\n")
    instance = arun("site.ini").ready()
    before = settled(instance, 2)
    arun.write("site.ini", f"{site}{coming}\n")
    arun.write("shop.py", "import nowhere\n")
    instance.send(signal.SIGUSR2)
    instance.wait_for(GOES_ON)
    until(lambda: assert_refused(coming), AssertionError, pytest.fail.Exception)
    assert get(going).startswith("one ")
    assert settled(instance, 2) == before
    arun.write("shop.py", SHOP)
    reload(instance)
    assert get(coming).startswith("one ")
    settled(instance, 2, without=before)
    assert_refused(going)
    stop(instance)


def test_a_stop_while_an_upgrade_begins_is_graceful(arun: Starter) -> None:
    arun.write("shop.py", WAITS)
    instance = arun("shop.py", *BIND, "--workers", "2").ready()
    with instance.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        instance.wait_for("here")
        instance.send(signal.SIGUSR2)
        instance.send(signal.SIGTERM)
        instance.wait_for("arun: stopping")
        arun.write("go", "")
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert instance.wait() == 0
    assert instance.failures() == []


def test_options_that_only_a_supervisor_obeys_are_reported_to_do_nothing_without_one(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--no-supervise", "--max-requests", "5", "--touch-reload", "x").ready()
    assert "arun: warning: max-requests (from --max-requests) does nothing without a supervisor" in instance.said
    assert "arun: warning: touch-reload (from --touch-reload) does nothing without a supervisor" in instance.said
    stop(instance)
