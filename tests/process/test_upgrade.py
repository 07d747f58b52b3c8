"""SIGUSR2: the process becomes the arun that is installed now, and its workers serve until those of the new one are ready."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Starter, until
from tests.process.asking import Asking
from tests.process.conftest import PAGE, SAFE, install_copy
from tests.process.family import children, reported, settled, stop, workers
from tests.process.shops import BIND, SHOP, STUCK, STUCK_IN_C, WAITS, WAYS, reload, version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.conftest import Instance


def upgrade(instance: Instance, *, times: int = 2) -> None:
    """Ask for an upgrade, and wait until its workers serve; ``times`` counts the first start."""
    instance.send(signal.SIGUSR2)
    instance.wait_for("serving ", times=times)


@pytest.mark.parametrize("way", WAYS)
def test_an_upgrade_keeps_the_pid_and_refuses_and_cuts_no_client(arun: Starter, way: str) -> None:
    arun.write("shop.py", WAITS)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments).ready()
    before, command = settled(instance, count), instance.argv()
    with Asking(instance) as asking, instance.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        instance.wait_for("here")
        arun.write("shop.py", version("other", WAITS))
        upgrade(instance)
        until(lambda: assert_all_by_new(instance, before), AssertionError)
        arun.write("go", "")
        body = b"".join(iter(lambda: client.recv(65_536), b"")).decode().rpartition("\n")[2].split()
        assert (body[0], int(body[1]) in before) == ("one", True)
        between = settled(instance, count, without=before)
        upgrade(instance, times=3)  # and once more
        settled(instance, count, without=between)
        assert {one.split()[0] for one in asking.more()} == {"other"}
    assert (instance.argv(), instance.process.poll()) == (command, None)
    assert (reported(instance), instance.fallbacks()) == ([], [])
    stop(instance)


def assert_all_by_new(instance: Instance, before: set[int]) -> None:
    found = {tuple(instance.get().text.split()) for _ in range(8)}
    assert {name for name, _ in found} == {"other"}
    assert {int(pid) for _, pid in found}.isdisjoint(before)


def test_an_upgrade_leaves_no_descriptor_open_that_a_fresh_start_would_not_have(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "2").ready()
    before, held = settled(instance, 2), instance.holdings()
    for times in (2, 3):
        upgrade(instance, times=times)
        before = settled(instance, 2, without=before)
    assert instance.holdings() == held
    stop(instance)


#: What makes an upgrade fail, and what is reported of it.
BROKEN = {
    "raises": ("shop.py", "raise RuntimeError\n", "app-import-failed"),
    "_exit": ("shop.py", "import os\nos._exit(0)\n", "worker-died"),
    "stuck": ("shop.py", STUCK, "start-timeout"),
    "stuck in C": ("shop.py", STUCK_IN_C, "start-timeout"),
    "settings": ("site.ini", "wrokers = 1\n", "option-unknown"),
    "address": ("site.ini", "bind = 192.0.2.1:1\n", "address-unavailable"),
}


@pytest.fixture(params=["two", "preload"])
def site(request: pytest.FixtureRequest, arun: Starter) -> tuple[Starter, int]:
    """A config with two workers, and how many processes there are with them."""
    arun.write("shop.py", SHOP)
    more = "preload = true\n" if request.param == "preload" else ""
    text = "[arun]\napp = shop.py\nbind = {address}\nworkers = 2\nstart-timeout = 2\nfallback-config = safe.ini\n"
    arun.write("site.ini", text + more)
    arun.write("safe.ini", SAFE)
    return arun, WAYS[request.param][1]


def break_it(folder: Path, how: str) -> str:
    """Break app or settings; return what will be reported."""
    name, content, identifier = BROKEN[how]
    path = folder / name
    path.write_text(path.read_text() + content if name == "site.ini" else content)
    return identifier


@pytest.mark.parametrize("how", BROKEN)
def test_workers_from_before_an_upgrade_that_fails_go_on_and_a_reload_mends_it(
    site: tuple[Starter, int], how: str
) -> None:
    arun, count = site
    good = (arun.folder / "site.ini").read_text()
    instance = arun("site.ini").ready()
    settled(instance, count)
    before = workers(instance)
    with Asking(instance) as asking:
        identifier = break_it(arun.folder, how)
        instance.send(signal.SIGUSR2)
        instance.wait_for("the upgrade has failed" if how in {"settings", "address"} else "the old workers go on")
        assert reported(instance) == [identifier]
        assert settled(instance, 2) == before  # who has loaded the app for them is not needed any more
        assert {one.split()[0] for one in asking.more()} == {"one"}
        instance.send(signal.SIGHUP)  # too early
        instance.wait_for("the old workers go on", times=1 if how in {"settings", "address"} else 2)
        assert reported(instance) == [identifier] * 2
        assert settled(instance, 2) == before

        arun.write("shop.py", version("mended"))
        arun.write("site.ini", good)
        instance.send(signal.SIGHUP)
        until(lambda: assert_mended(instance), AssertionError)
        settled(instance, count, without=before)
    assert instance.fallbacks() == []
    before = workers(instance)
    reload(instance)  # from here on it is like any other
    settled(instance, count, without=before)
    stop(instance)


def assert_mended(instance: Instance) -> None:
    assert {instance.get().text.split()[0] for _ in range(8)} == {"mended"}


@pytest.mark.parametrize("how", ["raises", "settings"])
def test_the_death_of_the_last_worker_from_before_a_failed_upgrade_ends_in_the_fallback(
    site: tuple[Starter, int], how: str
) -> None:
    arun, count = site
    instance = arun("site.ini").ready()
    settled(instance, count)
    first, second = workers(instance)
    identifier = break_it(arun.folder, how)
    instance.send(signal.SIGUSR2)
    instance.wait_for("the upgrade has failed" if how == "settings" else "the old workers go on")
    os.kill(first, signal.SIGKILL)
    instance.wait_for("it is from before the upgrade, and not replaced")
    assert instance.get().text == f"one {second}"
    os.kill(second, signal.SIGKILL)
    instance.wait_for("arun running on", times=2)
    assert reported(instance) == [identifier, "workers-lost"]
    answer = instance.get()
    assert (answer.status, PAGE in answer.text) == (503, True)
    assert instance.fallbacks() == ["safe.ini"]
    settled(instance, 0)
    stop(instance)


@pytest.mark.parametrize("how", ["raises", "settings"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_the_end_of_an_instance_whose_upgrade_has_failed_is_that_of_its_old_workers(
    site: tuple[Starter, int], how: str, number: signal.Signals
) -> None:
    arun, count = site
    instance = arun("site.ini").ready()
    settled(instance, count)
    break_it(arun.folder, how)
    instance.send(signal.SIGUSR2)
    instance.wait_for("the upgrade has failed" if how == "settings" else "the old workers go on")
    settled(instance, 2)
    stop(instance, number, status=0 if number == signal.SIGTERM else -number)
    assert instance.fallbacks() == []


@pytest.mark.parametrize("code", [STUCK, STUCK_IN_C], ids=["stuck", "stuck in C"])
def test_a_stop_during_an_upgrade_ends_old_and_new_workers(arun: Starter, code: str) -> None:
    arun.write("shop.py", WAITS)
    instance = arun("shop.py", *BIND, "--workers", "2", "--fallback-config", "welcome").ready()
    with instance.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        instance.wait_for("here")
        arun.write("shop.py", code)
        instance.send(signal.SIGUSR2)
        instance.wait_for("stuck", times=2)
        arun.write("go", "")
        stop(instance)
        assert b"\r\n\r\none " in b"".join(iter(lambda: client.recv(65_536), b""))
    assert (reported(instance), instance.fallbacks()) == ([], [])


def test_an_upgrade_waits_for_a_reload_that_is_under_way(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *BIND, "--workers", "2").ready()
    before = settled(instance, 2)
    arun.write("shop.py", STUCK)
    instance.send(signal.SIGHUP)
    instance.wait_for("stuck", times=2)
    instance.send(signal.SIGUSR2)
    assert instance.get().text.startswith("one ")
    assert before <= children(instance)
    arun.write("shop.py", SHOP)
    instance.send(signal.SIGHUP)
    said = instance.wait_for("arun running on", times=2)
    assert said.index("arun: reloaded") < said.index("arun: upgrading")
    assert instance.get().text.startswith("one ")
    stop(instance)


@pytest.fixture
def own_arun(tmp_path: Path, address: str) -> Iterator[Starter]:
    """An arun that is installed for this test alone, and can be replaced by another version."""
    installed, folder = tmp_path / "installed", tmp_path / "shop"
    for path in (installed, folder):
        path.mkdir()
    command = install_copy(installed, sys.executable)
    with contextlib.closing(Starter(folder, address, command)) as starter:
        yield starter


def test_the_arun_that_is_installed_now_takes_over_and_one_that_does_not_start_is_refused(own_arun: Starter) -> None:
    own_arun.write("shop.py", SHOP)
    package = own_arun.folder.parent / "installed" / "arun" / "__init__.py"
    good = package.read_text()
    instance = own_arun("shop.py", *BIND, "--workers", "2", "--fallback-config", "welcome", measured=False).ready()
    before = settled(instance, 2)
    with Asking(instance):
        package.write_text("import half_installed\n")
        instance.send(signal.SIGUSR2)
        instance.wait_for("no upgrade: what is installed now cannot be loaded")
        assert settled(instance, 2) == before

        package.write_text(re.sub(r'__version__ = ".*"', '__version__ = "77.7.7"', good))
        upgrade(instance)
        settled(instance, 2, without=before)
    assert "arun: found arun 77.7.7" in instance.said
    assert "*** Starting arun 77.7.7 " in instance.said
    assert (reported(instance), instance.fallbacks()) == ([], [])
    stop(instance)
