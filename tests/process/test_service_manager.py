"""arun under a service manager: what it hands over at a start."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.conftest import Instance, Starter

#: Passes sockets as systemd does: as numbers 3 and on, with the variables for this very process.
ACTIVATE = """
import os, sys
names, numbers, command = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
high = [os.dup2(int(number), 100 + index) for index, number in enumerate(numbers)]
for number in numbers:
    os.close(int(number))
for index, number in enumerate(high):
    os.dup2(number, 3 + index)
    os.close(number)
os.environ |= {"LISTEN_FDS": str(len(high)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": names}
os.execv(command[0], command)
"""


@pytest.fixture(autouse=True)
def reserved() -> Iterator[None]:
    """Keep the numbers that sockets are passed as out of the way of the pipes that Popen makes."""
    with contextlib.ExitStack() as stack:
        while (fd := os.open(os.devnull, os.O_RDONLY)) < 8:
            stack.callback(os.close, fd)
        os.close(fd)
        yield


@pytest.fixture
def waiting(address: str) -> Iterator[socket.socket]:
    """A socket on the address of the test that a former process has bound."""
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))) as listening:
        yield listening


def name_of(passed: socket.socket) -> str:
    return "{}:{}".format(*passed.getsockname())


def stored(address: str, kind: str = "http") -> str:
    return f"arun-{kind}-{address.replace(':', '%3A')}"


def activated(arun: Starter, passed: dict[str, socket.socket], *arguments: str) -> Instance:
    """Start arun with sockets that have names."""
    numbers = [one.fileno() for one in passed.values()]
    command = (sys.executable, "-c", ACTIVATE, ":".join(passed), ",".join(map(str, numbers)), str(arun.command))
    return arun(*arguments, command=command, pass_fds=numbers)


def running_on(instance: Instance) -> list[str]:
    return re.findall(r"^arun running on (?:https?://)?(\S+) ", instance.wait_for("\nserving "), re.MULTILINE)


def test_a_stored_socket_is_served_with_the_clients_that_wait_in_it(
    arun: Starter, address: str, waiting: socket.socket
) -> None:
    host, _, port = address.rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(client):
        client.request("GET", "/")  # before anybody is there to accept it

        instance = activated(arun, {stored(address): waiting}, "--bind", address)

        assert client.getresponse().status == 200
    assert running_on(instance) == [address]


def test_a_stored_socket_that_nobody_names_is_closed(arun: Starter, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as former:
        former_name = former.getsockname()
        instance = activated(arun, {stored(name_of(former)): former}, "--bind", address)

        assert running_on(instance) == [address]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(former_name)


def test_a_socket_of_socket_activation_is_served_beside_a_stored_one(
    arun: Starter, address: str, waiting: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        passed = {"arun-shop.socket": given, stored(address): waiting}
        instance = activated(arun, passed, "--bind", address)

        assert sorted(running_on(instance)) == sorted([address, name_of(given)])


def test_a_stored_socket_is_kept_by_the_fallback(arun: Starter, address: str, waiting: socket.socket) -> None:
    arun.write("safe.ini", "[arun]\n")
    instance = activated(
        arun, {stored(address): waiting}, "--bind", address, "--fallback-config", "safe.ini", "nope.py"
    )

    assert running_on(instance) == [address]
    assert instance.get().status == 503


def test_a_stored_socket_that_spoke_tls_is_never_served_plainly(
    arun: Starter, address: str, waiting: socket.socket
) -> None:
    """The restart fails before it has read which certificate it was."""
    arun.write("safe.ini", "[arun]\nbind = {address}\nbind = 127.0.0.1:0\n")
    instance = activated(arun, {stored(address, "https"): waiting}, "--nope", "--fallback-config", "safe.ini")
    waiting.close()

    assert address not in running_on(instance)
    with pytest.raises(ConnectionRefusedError):
        instance.get()


def test_a_stored_unix_socket_is_served_again(arun: Starter, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(path))
        former.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

            activated(arun, {f"arun-http-unix%3A{path}": former}, "--uds", "a.sock")

            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
