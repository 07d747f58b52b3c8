"""A successor whose addresses overlap those that the process holds, spelled otherwise: no client is refused or reset meanwhile."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until
from tests.process.family import reported, settled, stop, workers
from tests.process.knocking import Knocking
from tests.process.shops import SHOP, version

if TYPE_CHECKING:
    from tests.process.conftest import Authority, Instance, Starter

#: An app that breaks as soon as the test wants it.
BREAKS = """
import os, time
while not os.path.exists("break"): time.sleep(0.005)
raise RuntimeError("broken")
"""
SPELLINGS = ("127.0.0.1", "localhost", "", "0.0.0.0", "[::]", "[::1]")
V6 = Path("/proc/net/if_inet6").exists()
with_v6 = pytest.mark.skipif(not V6, reason="no IPv6 here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
_numbers = itertools.count(os.getpid() * 7)


@pytest.fixture
def port() -> int:
    """A port that is free on all addresses, and that the kernel gives to no client."""
    for number in _numbers:
        found = 19_000 + number % 9_000
        with socket.socket(socket.AF_INET6 if V6 else socket.AF_INET) as trying:
            try:
                trying.bind(("", found))
            except OSError:
                continue
            return found
    raise AssertionError


def common(one: str, other: str) -> str | None:
    """An address that both spellings serve."""
    v4, v6 = {"127.0.0.1", "localhost", "", "0.0.0.0", "[::]"}, {"[::]", "[::1]"}
    if {one, other} <= v4:
        return "127.0.0.1"
    return "[::1]" if {one, other} <= v6 else None


PAIRS = [
    pytest.param(one, other, marks=with_v6 if "[" in one + other else ())
    for one, other in itertools.permutations(SPELLINGS, 2)
    if common(one, other)
]
#: Narrow to wide, wide to narrow, and from family to family.
SOME_PAIRS = [
    pytest.param("127.0.0.1", "", id="narrow-wide"),
    pytest.param("", "127.0.0.1", id="wide-narrow"),
    pytest.param("0.0.0.0", "[::]", marks=with_v6, id="v4-v6"),
    pytest.param("[::]", "0.0.0.0", marks=with_v6, id="v6-v4"),
]


def listening(port: int) -> list[str]:
    """The addresses on which a socket listens at the port, as /proc/net has them."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        rows = [line.split() for line in lines]
        found += [
            row[1].partition(":")[0] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port
        ]
    return sorted(found)


NAMES = {
    "127.0.0.1": ["0100007F"],
    "localhost": ["0100007F"],
    "": ["00000000"],
    "0.0.0.0": ["00000000"],
    "[::]": ["0" * 32],
    "[::1]": ["0" * 24 + "01000000"],
}


def assert_only(port: int, spelling: str) -> None:
    """What is not wanted any more is closed in the end."""

    def look() -> None:
        found = listening(port)
        assert set(found) & set(NAMES[spelling])
        assert len(found) == 1 or spelling == "localhost"

    until(look, AssertionError)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_fallback_of_a_failed_start_takes_over_from_an_overlapping_address(
    arun: Starter, port: int, one: str, other: str
) -> None:
    arun.write("app.py", BREAKS)
    arun.write("safe.ini", f"[arun]\nbind = {other}:{port}\n")
    address = f"{common(one, other)}:{port}"
    instance = arun("app.py", "--bind", f"{one}:{port}", "--fallback-config", "safe.ini")
    until(lambda: _connected(address), ConnectionRefusedError)

    with Knocking(instance, address) as knocking:
        until(lambda: _assert_knocked(knocking, 0), AssertionError)
        arun.write("break", "")
        assert set(knocking.more(300)) == {"503"}
        assert_only(port, other)
        knocking.more(100)

    assert instance.failures() == ["app-import-failed"]
    assert instance.stop() == 0


def _connected(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), 30).close()


def _assert_knocked(knocking: Knocking, count: int) -> None:
    assert len(knocking.statuses) >= count
    assert not knocking.faults


MODES = {
    "asyncio": "loop = asyncio",
    "listening when ready": "listen = ready",
    "workers": "workers = 2",
    "preloaded workers": "workers = 2\npreload = yes",
    "workers that listen when ready": "workers = 2\nlisten = ready",
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize(("one", "other"), SOME_PAIRS[:2])
def test_a_fallback_of_any_mode_takes_over_from_an_overlapping_address(
    arun: Starter, port: int, one: str, other: str, mode: str
) -> None:
    arun.write("app.py", BREAKS)
    arun.write("safe.ini", f"[arun]\nbind = {other}:{port}\n{mode}\n")
    instance = arun("app.py", "--bind", f"{one}:{port}", "--fallback-config", "safe.ini")
    until(lambda: _connected(f"127.0.0.1:{port}"), ConnectionRefusedError)

    with Knocking(instance, f"127.0.0.1:{port}") as knocking:
        arun.write("break", "")
        assert set(knocking.more(300)) == {"503"}
        assert_only(port, other)
        knocking.more(100)

    assert instance.failures() == ["app-import-failed"]
    stop(instance)


@pytest.mark.parametrize(("one", "other"), SOME_PAIRS)
def test_the_way_back_from_an_overlapping_fallback_refuses_no_client(
    arun: Starter, port: int, one: str, other: str
) -> None:
    arun.write("shop.py", "import os\n'ARUN_PROBE' in os.environ or 1 / 0\n" + SHOP)  # fails though its probe succeeds
    arun.write("safe.ini", f"[arun]\nbind = {other}:{port}\nrecover = none\n")
    instance = arun("shop.py", "--bind", f"{one}:{port}", "--fallback-config", "safe.ini").ready()

    with Knocking(instance, f"127.0.0.1:{port}") as knocking:
        knocking.more()
        instance.send(signal.SIGHUP)  # in vain
        instance.wait_for("serving the welcome page", times=2)
        knocking.more(300)
        arun.write("shop.py", SHOP)
        instance.send(signal.SIGHUP)
        knocking.wait_for("one ")
        knocking.more(300)
        assert_only(port, one)
        knocking.more()

    assert set(instance.failures()) == {"app-import-failed"}
    assert instance.stop() == 0


@pytest.mark.parametrize("way", [("--workers", "2"), ("--workers", "2", "--preload")], ids=["workers", "preload"])
@pytest.mark.parametrize(("one", "other"), SOME_PAIRS)
def test_a_crash_loop_ends_in_an_overlapping_fallback_with_workers(
    arun: Starter, port: int, one: str, other: str, way: tuple[str, ...]
) -> None:
    arun.write("shop.py", SHOP)
    arun.write("safe.ini", f"[arun]\nbind = {other}:{port}\nworkers = 2\n")
    options = (*way, "--crash-limit", "2", "--fallback-config", "safe.ini", "--recover", "none")
    instance = arun("shop.py", "--bind", f"{one}:{port}", *options).ready()
    count = 3 if "--preload" in way else 2
    settled(instance, count)

    with Knocking(instance, f"127.0.0.1:{port}") as knocking:
        knocking.more()
        for times in (1, 2):
            until(lambda: _assert_workers(instance, 2), AssertionError)
            os.kill(min(workers(instance)), signal.SIGKILL)
            instance.wait_for("; it is replaced", times=times)
        instance.wait_for("arun: crash-loop: ")
        knocking.faults.clear()  # of the requests that the dead had in hand
        instance.wait_for("serving the welcome page")
        knocking.more(300)
        assert_only(port, other)
        assert set(knocking.more()) == {"503"}

    settled(instance, 2)
    stop(instance)


CHANGES = {
    "reload": (signal.SIGHUP, ("--workers", "2")),
    "reload of what is preloaded": (signal.SIGHUP, ("--workers", "2", "--preload")),
    "upgrade": (signal.SIGUSR2, ("--workers", "2")),
}


@pytest.mark.parametrize(("one", "other"), SOME_PAIRS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_reload_or_an_upgrade_to_an_overlapping_address_refuses_no_client(
    arun: Starter, port: int, one: str, other: str, change: str
) -> None:
    number, way = CHANGES[change]
    arun.write("shop.py", SHOP)
    arun.write("site.ini", f"[arun]\napp = shop.py\nbind = {one}:{port}\n")
    instance = arun("site.ini", *way).ready()
    before = settled(instance, 3 if "--preload" in way else len(workers(instance)))

    with Knocking(instance, f"127.0.0.1:{port}") as knocking:
        knocking.more()
        arun.write("site.ini", f"[arun]\napp = shop.py\nbind = {other}:{port}\n")
        arun.write("shop.py", "raise RuntimeError('broken')\n")
        instance.send(number)
        instance.wait_for("failed (app-import-failed)")
        knocking.more()
        assert {body[:4] for body in knocking.bodies} == {"one "}
        arun.write("shop.py", version("three"))
        instance.send(signal.SIGHUP if number == signal.SIGUSR2 else number)
        knocking.wait_for("three ")
        between = settled(instance, len(before), without=before)
        assert_only(port, other)
        arun.write("site.ini", f"[arun]\napp = shop.py\nbind = {one}:{port}\n")
        arun.write("shop.py", version("seventh"))
        instance.send(number)
        knocking.wait_for("seventh ")
        settled(instance, len(before), without=between)
        assert_only(port, one)
        knocking.more()

    assert set(reported(instance)) == {"app-import-failed"}
    stop(instance)


#: The shop, whose second worker fails when the first serves already.
ONE_FAILS = f"""
import os, time
try:
    os.close(os.open("first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    time.sleep(0.5)  # the other one serves by then
    raise RuntimeError from None
{SHOP}
"""


@pytest.mark.parametrize(("one", "other"), SOME_PAIRS)
def test_a_reload_of_which_one_worker_fails_when_another_serves_refuses_no_client(
    arun: Starter, port: int, one: str, other: str
) -> None:
    arun.write("shop.py", SHOP)
    arun.write("site.ini", f"[arun]\napp = shop.py\nbind = {one}:{port}\nworkers = 2\n")
    instance = arun("site.ini").ready()
    before = settled(instance, 2)

    with Knocking(instance, f"127.0.0.1:{port}") as knocking:
        knocking.more()
        arun.write("site.ini", f"[arun]\napp = shop.py\nbind = {other}:{port}\nworkers = 2\n")
        arun.write("shop.py", version("three", ONE_FAILS))
        instance.send(signal.SIGHUP)
        instance.wait_for("reload failed (app-import-failed)")
        assert settled(instance, 2) == before
        assert_only(port, one)
        knocking.more(300)

    stop(instance)


def _assert_workers(instance: Instance, count: int) -> None:
    assert len(workers(instance)) == count


PATHS = {
    "relative to absolute": ("unix:s", "unix:{folder}/s"),
    "absolute to relative": ("unix:{folder}/s", "unix:s"),
    "by a linked folder": ("unix:s", "unix:here/s"),
    "out of a linked folder": ("unix:{folder}/here/s", "unix:{folder}/s"),
    "by a link to the socket": ("unix:s", "unix:link"),
}


@pytest.mark.parametrize(("one", "other"), PATHS.values(), ids=PATHS)
def test_a_unix_socket_is_the_same_by_whatever_path_it_is_named(arun: Starter, one: str, other: str) -> None:
    (arun.folder / "here").symlink_to(".")
    (arun.folder / "link").symlink_to("s")
    arun.write("app.py", BREAKS)
    arun.write("safe.ini", f"[arun]\nbind = {other.format(folder=arun.folder)}\n")
    instance = arun("app.py", "--bind", one.format(folder=arun.folder), "--fallback-config", "safe.ini")
    with socket.socket(socket.AF_UNIX) as client:  # its file is there a moment before it listens
        until(lambda: client.connect(str(arun.folder / "s")), FileNotFoundError, ConnectionRefusedError)
    before = (arun.folder / "s").stat().st_ino

    with Knocking(instance, str(arun.folder / "s")) as knocking:
        arun.write("break", "")
        assert set(knocking.more(300)) == {"503"}

    assert (arun.folder / "s").stat().st_ino == before
    assert instance.failures() == ["app-import-failed"]


def test_a_unix_socket_whose_file_has_vanished_is_made_again_by_a_reload(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", "--bind", "unix:s", "--supervise").ready()
    (arun.folder / "s").unlink()
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded, ")
    with Knocking(instance, str(arun.folder / "s")) as knocking:
        assert set(knocking.more(100)) == {"200"}
    stop(instance)


@as_root
@pytest.mark.parametrize(("one", "other"), SOME_PAIRS)
def test_a_shared_socket_of_root_makes_room_for_the_user_that_the_process_became(
    public_arun: Starter, port: int, one: str, other: str
) -> None:
    public_arun.write("app.py", BREAKS)
    public_arun.write("safe.ini", f"[arun]\nbind = {other}:{port}\n")
    options = ("--uid", "65534", "--gid", "65534", "--fallback-config", "safe.ini")
    instance = public_arun("app.py", "--shared-socket", f"{one}:{port}", *options)
    until(lambda: _connected(f"127.0.0.1:{port}"), ConnectionRefusedError)

    with Knocking(instance, f"127.0.0.1:{port}") as knocking:
        public_arun.write("break", "")
        assert set(knocking.more(300)) == {"503"}
        assert_only(port, other)
        knocking.more()

    assert instance.failures() == ["app-import-failed"]


#: A client in the network namespace of the instance: it waits in the backlog from before the fallback, then asks on.
ASKING = """
import os, socket, sys, time
def ask(one):
    one.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    return one.recv(12)
for _ in range(1000):
    try:
        waiting = socket.create_connection(("127.0.0.1", 8000), 30)
    except ConnectionRefusedError:
        time.sleep(0.01)
    else:
        break
open("break", "w").close()
assert ask(waiting) == b"HTTP/1.1 503"
for _ in range(300):
    assert ask(socket.create_connection(("127.0.0.1", 8000), 30)) == b"HTTP/1.1 503"
"""


@as_root
@pytest.mark.parametrize("other", [":8000", "localhost:8000"])
def test_the_default_address_makes_room_for_another_spelling(arun: Starter, other: str) -> None:
    """In a network namespace of its own: any process may bind the port."""
    arun.write("app.py", BREAKS)
    arun.write("safe.ini", f"[arun]\nbind = {other}\n")
    script = 'ip link set lo up && exec "$@"'
    command = ("unshare", "--net", "sh", "-c", script, "sh", str(arun.command))
    instance = arun("app.py", "--fallback-config", "safe.ini", command=command)
    instance.wait_for("*** Starting arun")

    client = ("nsenter", "--target", str(instance.pid), "--net", sys.executable, "-c", ASKING)
    subprocess.run(client, check=True, cwd=arun.folder, timeout=60)

    assert instance.failures() == ["app-import-failed"]


@with_v6
def test_addresses_of_one_config_that_overlap_are_served_side_by_side(arun: Starter, port: int) -> None:
    instance = arun("--bind", f"127.0.0.1:{port}", "--bind", f":{port}", "--bind", f"[::]:{port}").ready()
    for host in ("127.0.0.1", "127.0.0.2", "[::1]"):
        instance.address = f"{host}:{port}"
        assert instance.get().status == 200


def test_a_tls_port_stays_one_under_an_overlapping_address(arun: Starter, port: int, authority: Authority) -> None:
    cert, key = authority.issue("localhost")
    arun.write("app.py", BREAKS)
    arun.write("safe.ini", f"[arun]\nbind = :{port}\n")
    options = ("--https-socket", f"127.0.0.1:{port},{cert},{key}", "--fallback-config", "safe.ini")
    instance = arun("app.py", *options)
    until(lambda: _connected(f"127.0.0.1:{port}"), ConnectionRefusedError)

    with Knocking(instance, f"127.0.0.1:{port}", authority.client()) as knocking:
        arun.write("break", "")
        assert set(knocking.more(200)) == {"503"}
        assert_only(port, "")
        knocking.more()

    instance.address = f"127.0.0.2:{port}"
    assert instance.get().status == 400
