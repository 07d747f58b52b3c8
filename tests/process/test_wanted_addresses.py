"""A fallback that names no address serves those that the failed start wanted, whatever has become of their sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import own_address
from tests.process.conftest import PAGE
from tests.process.family import settled, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.conftest import Authority, Instance, Starter

#: Keeps a fallback where it is, though its primary would start now: test_recovery.py has the way back.
STAYS = ("--recover", "none")
CLOSES_ALL = "import os\nos.closerange(3, 4096)\nraise RuntimeError('broken')\n"
#: Puts something else on the numbers of what it closes: a pipe, a connection, a socket that only has an address.
REPLACES_ALL = """
import os, socket
numbers = [int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
kept = socket.socketpair()[0], socket.socket(), open(os.devnull)
kept[1].bind(("127.0.0.1", 0))
for fd in numbers:
    try:
        os.dup2(kept[fd % 3].fileno(), fd)
    except OSError:
        pass
raise RuntimeError("broken")
"""


@pytest.mark.parametrize("app", [CLOSES_ALL, REPLACES_ALL], ids=["closed", "replaced"])
@pytest.mark.parametrize("fallback", ["welcome", "safe.ini"])
def test_a_socket_that_the_app_closed_is_bound_again(arun: Starter, app: str, fallback: str) -> None:
    arun.write("app.py", app)
    arun.write("safe.ini", "[arun]\n")
    instance = arun("app.py", "--bind", "{address}", "--uds", "s", "--fallback-config", fallback)
    instance.ready()  # who connected before was reset by the app
    assert_page(instance)
    assert "is lost" in instance.said
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(arun.folder / "s"))
    instance.wait_for("arun running on", times=2)


def assert_page(instance: Instance) -> None:
    answer = instance.eventually()
    assert (answer.status, PAGE in answer.text) == (503, True)


def test_a_start_that_is_stuck_before_its_sockets_leaves_its_addresses_to_the_fallback(arun: Starter) -> None:
    os.mkfifo(arun.folder / "env")
    options = ("--env-file", "env", "--start-timeout", "1", "--fallback-config", "welcome")
    instance = arun("--bind", "{address}", *options)
    assert_page(instance)
    assert instance.failures() == ["start-timeout"]


def test_the_addresses_go_down_a_chain_in_which_no_config_names_one(arun: Starter) -> None:
    arun.write("app.py", CLOSES_ALL)
    arun.write("first.ini", "[arun]\napp = app.py\nfallback-config = second.ini\n")
    arun.write("second.ini", "[arun]\napp = nowhere.py\nfallback-config = welcome\n")
    instance = arun("app.py", "--bind", "{address}", "--fallback-config", "first.ini").ready()
    assert_page(instance)
    assert len(instance.fallbacks()) == 3
    assert instance.said.count("arun running on") == 1


@pytest.fixture
def busy(held: socket.socket) -> Iterator[socket.socket]:
    """A listener of another process on the address of the test, which resets no client when it ends."""
    with contextlib.closing(held):
        yield held


MODES = pytest.mark.parametrize("mode", ["", "workers = 2\n"], ids=["single", "workers"])


@MODES
@pytest.mark.parametrize("names", ["", "bind = {address}\nbind = {free}\n"], ids=["inherited", "named"])
def test_a_fallback_waits_for_a_busy_address_and_serves_where_it_can_meanwhile(
    arun: Starter, busy: socket.socket, mode: str, names: str
) -> None:
    free = own_address()
    arun.write("safe.ini", "[arun]\n" + mode + names.replace("{free}", free))
    instance = arun("--bind", "{address}", "--bind", free, "--fallback-config", "safe.ini", *STAYS).ready()
    assert instance.failures() == ["address-in-use"]
    assert f"warning: cannot listen on {arun.address}: held by pid {os.getpid()} (" in instance.said
    instance.address = free
    assert_page(instance)

    busy.close()
    instance.address = arun.address
    assert_page(instance)
    instance.wait_for(f"arun running on http://{arun.address} " if not mode else "arun: reloaded, ")
    instance.address = free
    assert_page(instance)
    settled(instance, 2 if mode else 0)
    stop(instance)


def test_a_fallback_that_can_serve_nowhere_yet_waits_and_stops_when_it_is_reported(
    arun: Starter, busy: socket.socket
) -> None:
    instance = arun("--bind", "{address}", "--fallback-config", "welcome", *STAYS)
    instance.wait_for("serving the welcome page")
    assert "arun running on" not in instance.said
    assert busy.fileno() >= 0
    assert instance.stop() == 0


def test_the_service_manager_sees_what_a_fallback_waits_for(arun: Starter, busy: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(30)
        manager.bind(str(arun.folder / "notify"))
        environ = {"NOTIFY_SOCKET": str(arun.folder / "notify")}
        arun("--bind", "{address}", "--fallback-config", "welcome", *STAYS, env=environ)
        told = manager.recv(4096).decode()
        assert told.startswith("READY=1\nSTATUS=fallback welcome: ")
        assert f"; waiting: cannot listen on {arun.address}: held by pid {os.getpid()} (" in told
        busy.close()
        told = manager.recv(4096).decode()
        assert told.startswith("READY=1\nSTATUS=fallback welcome: ")
        assert "waiting" not in told


def test_a_busy_address_of_tls_is_served_with_tls_when_it_is_free(
    arun: Starter, busy: socket.socket, authority: Authority
) -> None:
    cert, key = authority.issue("localhost")
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    instance = arun("--https-socket", f"{arun.address},{cert},{key}", "--fallback-config", "safe.ini", *STAYS)
    instance.wait_for("serving the welcome page")
    busy.close()
    instance.wait_for(f"arun running on https://{arun.address} ")
    assert instance.get().status == 400
    with authority.client().wrap_socket(instance.connect(), server_hostname="localhost") as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 503"


def test_a_start_without_a_fallback_waits_some_seconds_for_a_busy_address(arun: Starter, busy: socket.socket) -> None:
    instance = arun("--bind", "{address}")
    said = instance.wait_for("it is tried again for 5 s")
    assert f"held by pid {os.getpid()} (" in said
    busy.close()
    instance.ready()
    assert instance.get().status == 200
    assert instance.failures() == []


@pytest.mark.parametrize(("seconds", "least"), [("0", 0.0), ("0.5", 0.5)])
def test_a_start_fails_when_the_time_for_a_busy_address_is_over(
    arun: Starter, held: socket.socket, seconds: str, least: float
) -> None:
    began = time.monotonic()
    instance = arun("--bind", "{address}", "--bind-retry", seconds)
    assert instance.wait() == 1
    assert time.monotonic() - began >= least
    assert instance.failures() == ["address-in-use"]
    assert held.fileno() >= 0


def test_a_fallback_takes_no_default_address_where_it_may_not_have_what_was_wanted(arun: Starter) -> None:
    instance = arun("--bind", "192.0.2.1:80", "--fallback-config", "welcome")
    assert instance.wait() == 1
    assert instance.failures() == ["address-unavailable"] * 2
    assert "8000" not in instance.said
