"""arun under a service manager: what is reported to it, what it hands over at a start, and what it keeps."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
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
        client.request("GET", "/")  # before a process is there to accept it

        instance = activated(arun, {stored(address): waiting}, "--bind", address)

        assert client.getresponse().status == 200
    assert running_on(instance) == [address]


def test_a_stored_socket_that_no_config_names_is_closed(arun: Starter, address: str) -> None:
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


APP = """
import os, sys

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join([*os.environ, *sys.modules]).encode()]
"""
#: An app whose import waits for a word on the pipe "go", says so, and does what the word says.
WAITING = (
    """
import os, sys
sys.stderr.write("loading\\n")
sys.stderr.flush()
if "ARUN_PROBE" not in os.environ and os.read(os.open("go", os.O_RDONLY), 6) == b"break\\n":
    raise RuntimeError("broken")
"""
    + APP
)
supervision = pytest.mark.parametrize("mode", [(), ("--workers", "2")], ids=["single", "supervised"])


class Manager:
    """A service manager that notes what is reported to it, pings aside, and keeps what it is given."""

    def __init__(self, folder: Path) -> None:
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.settimeout(30)
        self.receiver.bind(str(folder / "notify"))
        self.environ = {"NOTIFY_SOCKET": str(folder / "notify")}
        self.store: dict[str, socket.socket] = {}
        self.pings = 0

    def _receive(self) -> str:
        data, fds, _, _ = socket.recv_fds(self.receiver, 8192, 8)
        fields = dict(line.split("=", 1) for line in data.decode().splitlines())
        self.pings += "WATCHDOG" in fields
        for fd in fds:
            self.store[fields["FDNAME"]] = socket.socket(fileno=fd)
        if "FDSTOREREMOVE" in fields and fields["FDNAME"] in self.store:
            self.store.pop(fields["FDNAME"]).close()
        return data.decode()

    def told(self) -> str:
        """The next state that is reported to it, without times."""
        while True:
            told = self._receive()
            if not told.startswith(("WATCHDOG", "FDSTORE")):
                return re.sub(r"MONOTONIC_USEC=\d+\n", "", told)

    def wait_for_pings(self, count: int) -> None:
        wanted = self.pings + count
        while self.pings < wanted:
            self._receive()

    def wait_for_store(self) -> None:
        while not self.store:
            self._receive()

    def is_told_nothing(self) -> bool:
        """Nothing was sent up to now; a datagram arrives at once."""
        self.receiver.setblocking(False)
        try:
            self.receiver.recv(8192)
        except BlockingIOError:
            return True
        finally:
            self.receiver.settimeout(30)
        return False

    def close(self) -> None:
        self.receiver.close()
        for one in self.store.values():
            one.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with contextlib.closing(Manager(tmp_path)) as made:
        yield made


def serving(mode: tuple[str, ...]) -> str:
    return "serving app.py with 2 workers" if mode else "serving app.py"


@supervision
def test_a_start_is_ready_when_its_app_serves_and_not_before(
    arun: Starter, manager: Manager, mode: tuple[str, ...]
) -> None:
    arun.write("app.py", WAITING)
    os.mkfifo(arun.folder / "go")
    go = os.open(arun.folder / "go", os.O_RDWR)
    workers = 2 if mode else 1
    instance = arun("app.py", "--bind", "{address}", *mode, env=manager.environ)
    instance.wait_for("loading\n", times=workers)
    assert manager.is_told_nothing()
    os.write(go, b"go on\n" * workers)

    assert manager.told() == f"READY=1\nSTATUS={serving(mode)}"
    assert instance.get().status == 200
    os.close(go)


@supervision
def test_a_fallback_is_ready_and_states_the_cause_it_serves(
    arun: Starter, manager: Manager, mode: tuple[str, ...]
) -> None:
    arun.write("safe.ini", "[arun]\n")
    instance = arun("nope.py", "--bind", "{address}", "--fallback-config", "safe.ini", *mode, env=manager.environ)

    told = manager.told()
    assert told.startswith(
        "READY=1\nSTATUS=fallback safe.ini: command line failed with app-not-found: there is no file "
    )
    assert instance.get().status == 503


def test_a_start_that_failed_for_good_states_the_cause_and_is_never_ready(arun: Starter, manager: Manager) -> None:
    instance = arun("nope.py", "--bind", "{address}", env=manager.environ)

    assert instance.wait() == 1
    assert manager.told().startswith("STATUS=failed: app-not-found: ")
    assert manager.is_told_nothing()


@supervision
def test_a_stop_is_reported_when_it_begins(arun: Starter, manager: Manager, mode: tuple[str, ...]) -> None:
    arun.write("app.py", APP)
    instance = arun("app.py", "--bind", "{address}", *mode, env=manager.environ)
    manager.told()

    assert instance.stop() == 0

    assert manager.told() == f"STOPPING=1\nSTATUS=stopping{' 2 workers' if mode else ''}"
    assert manager.is_told_nothing()


def test_a_reload_is_reported_from_its_beginning_to_its_end(arun: Starter, manager: Manager) -> None:
    app = arun.write("app.py", APP)
    instance = arun("app.py", "--bind", "{address}", "--workers", "2", env=manager.environ)
    manager.told()

    instance.send(signal.SIGHUP)
    assert manager.told() == "RELOADING=1\nSTATUS=reloading"
    assert manager.told() == "READY=1\nSTATUS=serving app.py with 2 workers"

    app.write_text("import nowhere")
    instance.send(signal.SIGHUP)
    assert manager.told() == "RELOADING=1\nSTATUS=reloading"
    assert manager.told() == "READY=1\nSTATUS=reload failed (app-dependency-missing): the old workers go on"


def test_a_reload_whose_settings_are_broken_is_reported(arun: Starter, manager: Manager) -> None:
    arun.write("app.py", APP)
    config = arun.write("site.ini", "[arun]\nbind = {address}\napp = app.py\nworkers = 2\n")
    instance = arun("site.ini", env=manager.environ)
    manager.told()

    config.write_text("[arun]\nnope = 1\n")
    instance.send(signal.SIGHUP)

    assert manager.told() == "RELOADING=1\nSTATUS=reloading"
    assert manager.told() == "READY=1\nSTATUS=reload failed (option-unknown): the old workers go on"


def test_an_upgrade_is_reported_from_its_beginning_to_its_end(arun: Starter, manager: Manager) -> None:
    arun.write("app.py", APP)
    instance = arun("app.py", "--bind", "{address}", "--supervise", env=manager.environ)
    manager.told()

    instance.send(signal.SIGUSR2)

    assert manager.told() == "RELOADING=1\nSTATUS=upgrading"
    assert manager.told() == "READY=1\nSTATUS=serving app.py with 1 worker"


@supervision
def test_the_watchdog_is_notified_again_and_again(arun: Starter, manager: Manager, mode: tuple[str, ...]) -> None:
    arun.write("app.py", APP)
    arun("app.py", "--bind", "{address}", *mode, env={**manager.environ, "WATCHDOG_USEC": "200000"})
    manager.told()

    manager.wait_for_pings(5)


def test_a_way_back_that_takes_long_is_reported_as_a_reload_and_lives(arun: Starter, manager: Manager) -> None:
    """The watchdog of a service that was ready goes on waiting for it."""
    arun.write("app.py", WAITING)
    os.mkfifo(arun.folder / "go")
    environ = {**manager.environ, "WATCHDOG_USEC": "2000000"}
    instance = arun("app.py", "--bind", "{address}", "--fallback-config", "welcome", "--recover", "none", env=environ)
    instance.wait_for("loading\n")
    (arun.folder / "go").write_text("break\n")
    assert manager.told().startswith("READY=1\nSTATUS=fallback welcome: ")

    instance.send(signal.SIGHUP)

    assert manager.told() == "RELOADING=1\nSTATUS=going back to the first start"
    instance.wait_for("loading\n", times=2)
    manager.wait_for_pings(2)
    (arun.folder / "go").write_text("go on\n")
    assert manager.told() == "READY=1\nSTATUS=serving app.py"


@supervision
def test_no_app_sees_the_variables_of_the_service_manager(
    arun: Starter, manager: Manager, mode: tuple[str, ...]
) -> None:
    arun.write("app.py", APP)
    arun.write("safe.ini", "[arun]\napp = app.py\n")
    named = {**manager.environ, "WATCHDOG_USEC": "9000000", "FDSTORE": "8"}
    instance = arun("nope.py", "--bind", "{address}", "--fallback-config", "safe.ini", *mode, env=named)
    manager.told()

    assert not set(named) & set(instance.get().text.split())


def test_a_start_without_a_service_manager_imports_nothing_for_it(arun: Starter) -> None:
    arun.write("app.py", APP)
    loaded = arun("app.py", "--bind", "{address}").ready().get().text.split()

    assert "arun.lifecycle.start" in loaded
    for module in ("system.notify", "system.log_file", "system.daemon"):
        assert f"arun.{module}" not in loaded


@supervision
def test_clients_wait_while_the_service_is_restarted(
    arun: Starter, manager: Manager, address: str, mode: tuple[str, ...]
) -> None:
    arun.write("app.py", APP)
    first = arun("app.py", "--bind", "{address}", *mode, env={**manager.environ, "FDSTORE": "8"})
    manager.wait_for_store()
    assert first.stop() == 0

    host, _, port = address.rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(client):
        client.request("GET", "/")  # no process serves, and it is not refused
        activated(arun, manager.store, "app.py", "--bind", address, *mode)

        assert client.getresponse().status == 200


def test_an_address_of_before_is_not_in_the_way_of_a_new_one(arun: Starter, manager: Manager) -> None:
    """The port was served on all addresses before the restart, and is to be on one."""
    arun.write("app.py", APP)
    first = arun("app.py", "--bind", ":0", env={**manager.environ, "FDSTORE": "8"})
    manager.wait_for_store()
    assert first.stop() == 0

    address = running_on(first)[0].replace("0.0.0.0", "127.0.0.1")
    second = activated(arun, manager.store, "app.py", "--bind", address)

    assert running_on(second) == [address]


def test_an_address_that_a_reload_gives_up_is_not_kept(arun: Starter, manager: Manager, address: str) -> None:
    arun.write("app.py", APP)
    more = f"{address.rpartition(':')[0]}:19999"
    config = arun.write("site.ini", f"[arun]\nbind = {address}\nbind = {more}\napp = app.py\nsupervise = yes\n")
    instance = arun("site.ini", env={**manager.environ, "FDSTORE": "8"})
    manager.told()

    config.write_text(f"[arun]\nbind = {address}\napp = app.py\nsupervise = yes\n")
    instance.send(signal.SIGHUP)
    manager.told()
    manager.told()
    instance.stop()
    manager.told()

    assert list(manager.store) == [stored(address)]
