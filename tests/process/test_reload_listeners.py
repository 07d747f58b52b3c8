"""What a reload does to listeners: they come and go with the config, and none stays open that is not served."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.conftest import PATIENCE, own_address, until
from tests.process.asking import Asking
from tests.process.family import descriptors, settled, stop, workers
from tests.process.shops import BIND, SHOP, STUCK, WAYS, reload

if TYPE_CHECKING:
    from tests.process.conftest import Starter


def get(address: str) -> str:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


def assert_refused(address: str) -> None:
    with pytest.raises(OSError, match="refused"):
        get(address)


@pytest.mark.parametrize("way", WAYS)
def test_listeners_come_and_go_with_the_config_and_the_one_that_stays_refuses_no_client(
    arun: Starter, way: str
) -> None:
    arun.write("shop.py", SHOP)
    going, coming = own_address(), own_address()
    site = "[arun]\napp = shop.py\nbind = {address}\nbind = "
    arun.write("site.ini", f"{site}{going}\n")
    arguments, count = WAYS[way]
    instance = arun("site.ini", *arguments).ready()
    before = settled(instance, count)
    with Asking(instance):
        assert get(going).startswith("one ")
        assert_refused(coming)

        host, _, port = coming.rpartition(":")
        arun.write("site.ini", f"{site}{coming}\n")
        with socket.create_server((host, int(port))):
            instance.send(signal.SIGHUP)
            instance.wait_for("the old workers go on")
            assert instance.failures() == ["address-in-use"]
            assert get(going).startswith("one ")
        assert settled(instance, count) == before

        reload(instance)
        assert get(coming).startswith("one ")
        settled(instance, count, without=before)
        assert_refused(going)
        arun.write("site.ini", f"{site}{going}\n")  # and back again
        reload(instance, times=2)
        assert get(going).startswith("one ")
        until(lambda: assert_refused(coming), AssertionError, pytest.fail.Exception)
    stop(instance)


def test_a_listener_that_only_a_failed_reload_wanted_is_open_nowhere(arun: Starter) -> None:
    """Not in the supervisor, and not in a worker that was replaced meanwhile."""
    arun.write("shop.py", SHOP)
    coming = own_address()
    site = "[arun]\napp = shop.py\nbind = {address}\nworkers = 2\n"
    arun.write("site.ini", site)
    instance = arun("site.ini").ready()
    before = settled(instance, 2)
    arun.write("site.ini", f"{site}bind = {coming}\nchdir = later\n")
    (arun.folder / "later").mkdir()
    arun.write("later/shop.py", STUCK)
    instance.send(signal.SIGHUP)
    instance.wait_for("stuck", times=2)
    gone = min(before)
    os.kill(gone, signal.SIGKILL)
    instance.wait_for("it is replaced now")
    successors = settled(instance, 4, without={gone})
    arun.write("later/shop.py", "1 / 0\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("reload failed (app-import-failed)")
    assert settled(instance, 2) <= successors
    assert_refused(coming)
    assert instance.get().text.startswith("one ")
    stop(instance)


@pytest.mark.parametrize("way", WAYS)
def test_many_reloads_leave_no_descriptor_behind(arun: Starter, way: str) -> None:
    arun.write("shop.py", SHOP)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *BIND, *arguments).ready()
    before = settled(instance, count)
    held, held_by_worker = instance.holdings(), holdings(max(workers(instance)))
    for times in range(1, 6):
        reload(instance, times=times)
        before = settled(instance, count, without=before)
    assert instance.holdings() == held
    assert holdings(max(workers(instance))) == held_by_worker
    stop(instance)


def holdings(pid: int) -> Counter[str]:
    return Counter(re.sub(r":\[\d+\]", "", one) for one in descriptors(pid))


def test_a_unix_socket_stays_the_same_file_through_a_reload(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", "--bind", "unix:s", *BIND, "--workers", "2").ready()
    before = (arun.folder / "s").stat().st_ino
    reload(instance)
    assert (arun.folder / "s").stat().st_ino == before
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(arun.folder / "s"))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
    stop(instance)


ONE_IS_STUCK = """
import ctypes, os, time
try:
    os.close(os.open("first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    while not os.path.exists("stuck"): time.sleep(0.01)
    time.sleep(0.3)  # until it is in there
    raise RuntimeError from None
open("stuck", "w").close()
while True: ctypes.PyDLL(None).pause()
"""


def test_a_reload_right_after_one_that_failed_may_bind_what_that_one_had_bound(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    coming = own_address()
    site = "[arun]\napp = shop.py\nbind = {address}\nworkers = 2\n"
    arun.write("site.ini", site)
    instance = arun("site.ini").ready()
    settled(instance, 2)
    arun.write("site.ini", f"{site}bind = {coming}\n")
    arun.write("shop.py", ONE_IS_STUCK)
    instance.send(signal.SIGHUP)
    instance.wait_for("reload failed (app-import-failed)")
    arun.write("shop.py", SHOP)
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloading", times=2)
    instance.wait_for("arun: reloaded, ")
    assert get(coming).startswith("one ")
    assert instance.failures() == ["app-import-failed"]
    stop(instance)
