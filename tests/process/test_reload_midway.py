"""What comes in the middle of a reload, or of the first start: another reload, many of them, a stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until
from tests.process.asking import Asking
from tests.process.family import children, reported, settled, stop, workers
from tests.process.shops import BIND, SHOP, STUCK, STUCK_IN_C, WAITS, WAYS, reload, version

if TYPE_CHECKING:
    from tests.process.conftest import Instance, Starter


@pytest.mark.parametrize("code", [STUCK, STUCK_IN_C], ids=["stuck", "stuck in C"])
@pytest.mark.parametrize("way", WAYS)
def test_a_reload_that_hangs_is_given_up_by_the_next_one(arun: Starter, way: str, code: str) -> None:
    arun.write("shop.py", SHOP)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments).ready()
    before = settled(instance, count)
    with Asking(instance):
        arun.write("shop.py", code)
        instance.send(signal.SIGHUP)
        instance.wait_for("stuck", times=1 if way != "two" else 2)
        hanging = children(instance) - before
        assert len(hanging) == (1 if way != "two" else 2)
        arun.write("shop.py", version("other"))
        reload(instance)
        instance.wait_for("arun: another reload: what had begun is given up")
        settled(instance, count, without=before | hanging)
    assert instance.get().text.startswith("other ")
    assert instance.failures() == []
    stop(instance)


def test_many_reloads_at_once_end_with_the_newest_code_and_leave_no_process_behind(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "2").ready()
    before = settled(instance, 2)
    with Asking(instance):
        for number in range(1, 11):
            arun.write("fresh.py", version("v" + "i" * number)).rename(arun.folder / "shop.py")  # never half of it
            instance.send(signal.SIGHUP)
            instance.wait_for("arun: reloading", times=number)
        until(lambda: assert_served(instance, "viiiiiiiiii "), AssertionError)
        settled(instance, 2, without=before)
    assert len(workers(instance)) == 2
    assert instance.failures() == []
    assert "arun: warning" not in instance.said  # no process had to be killed
    stop(instance)


def assert_served(instance: Instance, start: str) -> None:
    assert instance.get().text.startswith(start)


@pytest.mark.parametrize("way", WAYS)
def test_sighup_during_the_first_start_waits_until_the_instance_serves(arun: Starter, way: str) -> None:
    wait = "import os, time\nos.write(2, b'here\\n')\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
    arun.write("shop.py", wait + SHOP)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments)
    instance.wait_for("here", times=1 if way != "two" else 2)
    instance.send(signal.SIGHUP)
    arun.write("go", "")
    instance.wait_for("arun: reloaded")
    assert instance.said.index("arun running on") < instance.said.index("arun: reloading")
    settled(instance, count)
    assert instance.get().status == 200
    stop(instance)


@pytest.mark.parametrize("code", [STUCK, STUCK_IN_C], ids=["stuck", "stuck in C"])
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_during_a_reload_is_clean(arun: Starter, way: str, code: str) -> None:
    """Those who serve and those who were to serve are gone, the request that was open is answered."""
    arun.write("shop.py", WAITS)
    arguments, _ = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments, "--fallback-config", "welcome").ready()
    with instance.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        instance.wait_for("here")
        arun.write("shop.py", code)
        instance.send(signal.SIGHUP)
        instance.wait_for("stuck")
        arun.write("go", "")
        stop(instance)
        assert b"\r\n\r\none " in b"".join(iter(lambda: client.recv(65_536), b""))
    assert (instance.failures(), instance.fallbacks()) == ([], [])


@pytest.mark.parametrize("way", WAYS)
def test_a_fallback_with_workers_goes_back_to_the_first_start_and_refuses_no_client(arun: Starter, way: str) -> None:
    arun.write("shop.py", "import os\nif 'ARUN_PROBE' not in os.environ: raise RuntimeError\n" + SHOP)
    arguments, count = WAYS[way]
    options = "".join(f"{text}\n" for text in FALLBACKS[way])
    arun.write("safe.ini", f"[arun]\nbind = {{address}}\nrecover = none\n{options}")
    instance = arun("shop.py", *BIND, *arguments, "--fallback-config", "safe.ini").ready()
    before = settled(instance, count)
    with Asking(instance, fine=(200, 503), keeps=False):
        assert instance.get().status == 503
        instance.send(signal.SIGHUP)  # its probe succeeds, and it ends in the fallback again
        instance.wait_for("!!! Fallback config to safe.ini !!!", times=2)
        instance.wait_for("serving the welcome page", times=2)
        before |= settled(instance, count, without=before)
        arun.write("shop.py", SHOP)
        instance.send(signal.SIGHUP)
        instance.wait_for("serving shop.py with")
        settled(instance, count, without=before)
        assert instance.get().text.startswith("one ")
    assert reported(instance) == ["app-import-failed"] * 2
    stop(instance)


#: The options of each way in a config file.
FALLBACKS = {"one": ["supervise = true"], "two": ["workers = 2"], "preload": ["workers = 2", "preload = true"]}


def test_sigusr1_harms_no_process(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "2", "--preload").ready()
    before = settled(instance, 3)
    with Asking(instance) as asking:
        instance.send(signal.SIGUSR1)
        asking.more()
    assert settled(instance, 3) == before
    stop(instance)
