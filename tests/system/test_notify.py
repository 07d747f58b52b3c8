"""What is reported to a service manager, as it receives it: on a real datagram socket, in the words of sd_notify(3)."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from arun.core.addresses import Address, Inherited, Tcp, Unix
from arun.core.listen_spec import Certificate, ListenSpec, Tls
from arun.listen import activation, claims
from arun.listen.sockets import Listener
from arun.system import notify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from arun.system.notify import ServiceManager

ENCRYPTED = Tls((Certificate("/c.pem", "/k.pem"),))


class Manager:
    """A service manager's end of the protocol."""

    def __init__(self, receiver: socket.socket, address: str) -> None:
        self.receiver = receiver
        self.address = address
        self.taking = contextlib.ExitStack()

    def told(self) -> str:
        """The next datagram."""
        return self.received()[0]

    def received(self) -> tuple[str, list[int]]:
        """The next datagram and the descriptors that came with it."""
        numbers = array.array("i")
        data, ancillary, _, _ = self.receiver.recvmsg(8192, socket.CMSG_LEN(64 * numbers.itemsize))
        for level, kind, passed in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            numbers.frombytes(passed)
        return data.decode(), list(numbers)

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

    def taken(self, **more: str) -> ServiceManager:
        """What a process makes of the variables that it gets."""
        told = notify.take({"NOTIFY_SOCKET": self.address, **more})
        self.taking.callback(told.close)
        return told


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(30)
        receiver.bind(path if request.param == "path" else f"\0{path}")
        told = Manager(receiver, path if request.param == "path" else f"@{path}")
        with told.taking:
            yield told


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_states_are_told_with_a_status(manager: Manager) -> None:
    told = manager.taken()

    told.ready("serving app.py")
    assert manager.told() == "READY=1\nSTATUS=serving app.py"
    told.stopping("stopping")
    assert manager.told() == "STOPPING=1\nSTATUS=stopping"
    told.status("3 workers")
    assert manager.told() == "STATUS=3 workers"
    told.watchdog()
    assert manager.told() == "WATCHDOG=1"


def test_a_reload_is_told_with_its_time(manager: Manager) -> None:
    before = time.monotonic_ns() // 1000
    manager.taken().reloading("reading certificates")

    first, stamp, status = manager.told().split("\n")
    assert (first, status) == ("RELOADING=1", "STATUS=reading certificates")
    name, _, microseconds = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_a_status_is_one_printable_line_that_systemd_takes(manager: Manager) -> None:
    manager.taken().ready("broken\nREADY=0 \x1b[31m\udcff " + "ä" * 9000)

    told = manager.told()
    assert told.startswith("READY=1\nSTATUS=broken\\nREADY=0 \\x1b[31m\\udcff ää")
    assert told.count("\n") == 1
    assert len(told.encode()) < 4096


def test_the_variables_are_gone_and_no_others() -> None:
    variables = {"NOTIFY_SOCKET": "/gone", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "FDSTORE": "1", "HOME": "/root"}

    notify.take(variables).close()

    assert variables == {"HOME": "/root"}


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "{pid}"}, 15.0),
        ({"WATCHDOG_USEC": "500000"}, 0.25),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_called_at_half_its_time(variables: dict[str, str], interval: float | None) -> None:
    said = {name: value.format(pid=os.getpid()) for name, value in variables.items()}

    assert notify.take(said).watchdog_interval == interval


def test_listeners_that_arun_bound_are_stored_under_their_addresses(manager: Manager, bound: socket.socket) -> None:
    told = manager.taken(FDSTORE="16")

    told.store(
        activation.named(
            [Listener(bound, ListenSpec(Tcp("127.0.0.1", 8000))), Listener(bound, ListenSpec(Inherited(3)))]
        )
    )

    assert manager.told() == "FDSTOREREMOVE=1\nFDNAME=arun-http-127.0.0.1%3A8000"
    text, (fd,) = manager.received()
    with socket.socket(fileno=fd) as stored:
        assert text == "FDSTORE=1\nFDNAME=arun-http-127.0.0.1%3A8000"
        assert stored.getsockname() == bound.getsockname()
    assert manager.is_told_nothing()  # what systemd passed is its own


def test_the_addresses_of_a_host_are_stored_together(manager: Manager, bound: socket.socket) -> None:
    manager.taken(FDSTORE="16").store(
        activation.named(
            [Listener(bound, ListenSpec(Tcp("localhost", 80))), Listener(bound, ListenSpec(Tcp("localhost", 80)))]
        )
    )

    manager.told()
    text, fds = manager.received()
    for fd in fds:
        os.close(fd)
    assert (text, len(fds)) == ("FDSTORE=1\nFDNAME=arun-http-localhost%3A80", 2)


def test_what_nobody_wants_any_more_is_removed(manager: Manager, bound: socket.socket) -> None:
    manager.taken(FDSTORE="16").remove(
        activation.named([Listener(bound, ListenSpec(Unix("/run/a b:c.sock"), ENCRYPTED))])
    )

    assert manager.told() == "FDSTOREREMOVE=1\nFDNAME=arun-https-unix%3A/run/a%20b%3Ac.sock"


@pytest.mark.parametrize("variables", [{}, {"FDSTORE": "0"}, {"FDSTORE": "many"}], ids=str)
def test_nothing_is_stored_where_there_is_no_store(
    manager: Manager, bound: socket.socket, variables: dict[str, str]
) -> None:
    told = manager.taken(**variables)

    told.store(activation.named([Listener(bound, ListenSpec(Tcp("127.0.0.1", 8000)))]))
    told.remove(activation.named([Listener(bound, ListenSpec(Tcp("127.0.0.1", 8000)))]))

    assert manager.is_told_nothing()


@pytest.mark.parametrize(
    "requested",
    [
        Tcp("127.0.0.1", 8000),
        Tcp("0.0.0.0", 80),
        Tcp("::1", 8000),
        Tcp("localhost", 0),
        Unix("/run/arun/a b:%41.sock"),
        Unix("/run/\N{LATIN SMALL LETTER U WITH DIAERESIS}\udcff"),
    ],
    ids=str,
)
@pytest.mark.parametrize("tls", [None, ENCRYPTED], ids=["plain", "tls"])
def test_what_is_stored_is_known_again_by_its_name(
    manager: Manager, bound: socket.socket, requested: Address, tls: Tls | None
) -> None:
    manager.taken(FDSTORE="1").store(activation.named([Listener(bound, ListenSpec(requested, tls))]))
    manager.told()
    text, (fd,) = manager.received()

    name = text.rpartition("=")[2]
    stored = activation.stored_listener(fd, name)

    assert name.isascii()
    assert name.isprintable()
    assert ":" not in name
    assert stored is not None
    with stored.socket:
        assert stored.spec.address == requested
        assert (stored.spec.tls is not None) == (tls is not None)  # it never turns plain


@pytest.mark.parametrize(
    "name", ["arun-shop.socket", "arun-http-shop.socket", "arun-http-%zz", "arun-https-", "arun-http-\udcff", "http"]
)
def test_a_name_that_only_looks_like_ours_is_that_of_socket_activation(name: str) -> None:
    assert activation.stored_listener(-1, name) is None


@pytest.mark.parametrize(
    "address", ["", "vsock:2:1234", "relative", "/nowhere/notify", "@nobody/there", "/" + "x" * 200]
)
def test_a_manager_that_is_not_there_stops_nothing(address: str, bound: socket.socket) -> None:
    told = notify.take({"NOTIFY_SOCKET": address, "FDSTORE": "1", "WATCHDOG_USEC": "1000000"})

    told.ready("serving")
    told.store(activation.named([Listener(bound, ListenSpec(Tcp("127.0.0.1", 8000)))]))
    told.watchdog()
    told.close()
    told.stopping("stopping")


def test_a_manager_that_does_not_read_is_not_waited_for(manager: Manager) -> None:
    told = manager.taken()
    before = time.monotonic()
    for _ in range(1000):  # its queue holds a few
        told.watchdog()
    told.ready("serving")  # waits for a moment: it matters more

    assert time.monotonic() - before < 5


@pytest.fixture
def held(tmp_path: Path) -> Iterator[dict[str, Listener]]:
    """Listeners that a start may come with, by what they are."""
    with contextlib.ExitStack() as stack:
        made = {}
        addresses: dict[str, Address] = {
            "wanted": Tcp("localhost", 8000),
            "unwanted": Tcp("localhost", 8001),
            "activated": Inherited(3),
            "unix": Unix(str(tmp_path / "a.sock")),
            "unix without its file": Unix(str(tmp_path / "b.sock")),
        }
        for name, requested in addresses.items():
            if isinstance(requested, Unix):
                opened = stack.enter_context(socket.socket(socket.AF_UNIX))
                opened.bind(requested.path)
            else:
                opened = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            made[name] = Listener(opened, ListenSpec(requested))
        (tmp_path / "b.sock").unlink()
        yield made


def test_held_listeners_of_no_use_are_closed_and_told(held: dict[str, Listener], tmp_path: Path) -> None:
    left = list(held.values())
    wanted: set[Address] = {Tcp("localhost", 8000), Unix(str(tmp_path / "a.sock")), Unix(str(tmp_path / "b.sock"))}

    given_up = claims.give_up(left, wanted)

    assert given_up == [held["unwanted"], held["unix without its file"]]
    assert left == [held["wanted"], held["activated"], held["unix"]]
    assert [one.socket.fileno() for one in given_up] == [-1, -1]


def test_a_held_listener_is_wanted_by_where_it_really_is(held: dict[str, Listener]) -> None:
    left = [held["unwanted"]]

    assert claims.give_up(left, {held["unwanted"].address}) == []
    assert left == [held["unwanted"]]
