"""Listeners that work: every kind of address answers, and what a failed start bound goes on to its fallback."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.process.conftest import Instance, Starter

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = {name: value for name, value in os.environ.items() if name.startswith("LISTEN_")}
    return [f"{os.getpid()} {seen}".encode()]
"""

#: An app whose import says so, waits for the test to write to the pipe "go", and then does what the word says.
WAITING = """
import sys
sys.stderr.write("loading\\n")
sys.stderr.flush()
with open("go") as pipe:
    word = pipe.read().strip()
if word == "break":
    raise RuntimeError("broken")

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"up"]
"""

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"

with_ipv6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def app(arun: Starter) -> str:
    return arun.write("app.py", APP).name


@pytest.fixture
def host(address: str) -> str:
    return address.rpartition(":")[0]


def running_on(instance: Instance) -> list[str]:
    """The addresses that the instance says it serves on."""
    return re.findall(r"^arun running on (?:http://)?(\S+) ", instance.ready().wait_for("\nserving "), re.MULTILINE)


def connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(30)
            client.connect(address.removeprefix("unix:"))
            stack.pop_all()
            return client
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), 30)


def answer_of(client: socket.socket, request: bytes = REQUEST) -> tuple[int, str]:
    """Ask over a connection that stands and return status and body."""
    with client:
        client.sendall(request)
        response = http.client.HTTPResponse(client)
        response.begin()
        return response.status, response.read().decode()


def ask(address: str) -> tuple[int, str]:
    return answer_of(connect(address))


def pid_behind(address: str) -> int:
    status, body = ask(address)
    assert status == 200
    return int(body.split()[0])


def test_a_v4_address_is_served_and_reported(arun: Starter, app: str, address: str) -> None:
    instance = arun(app, "--bind", address)

    assert running_on(instance) == [address]
    assert pid_behind(address) == instance.pid


@with_ipv6
def test_a_v6_address_is_served_on_v6_alone(arun: Starter, app: str) -> None:
    instance = arun(app, "--bind", "[::1]:0")
    (told,) = running_on(instance)

    assert told.startswith("[::1]:")
    assert pid_behind(told) == instance.pid
    with pytest.raises(ConnectionRefusedError):
        connect(told.replace("[::1]", "127.0.0.1"))


@with_ipv6
def test_the_v6_wildcard_serves_v4_as_well(arun: Starter, app: str) -> None:
    instance = arun(app, "--bind", "[::]:0")
    (told,) = running_on(instance)

    assert [pid_behind(told.replace("[::]", host)) for host in ("127.0.0.1", "[::1]")] == [instance.pid] * 2


@pytest.mark.parametrize("written", [":0", "*:0", "0.0.0.0:0"])
def test_a_port_without_a_host_is_served_on_all_v4_interfaces(arun: Starter, app: str, written: str, host: str) -> None:
    instance = arun(app, "--bind", written)
    (told,) = running_on(instance)

    assert re.fullmatch(r"0\.0\.0\.0:[1-9]\d+", told)  # port 0 is told as the port it became
    assert pid_behind(told.replace("0.0.0.0", host)) == instance.pid


@with_ipv6
@as_root
def test_a_name_is_served_on_both_families_with_one_port(arun: Starter, app: str) -> None:
    """In a mount namespace whose hosts file gives the name both: not every machine gives them to localhost."""
    arun.write("hosts", "127.0.0.1 both-families\n::1 both-families\n")
    script = 'mount --bind hosts /etc/hosts && exec "$@"'
    command = ("unshare", "--mount", "sh", "-c", script, "sh", str(arun.command))

    instance = arun(app, "--bind", "both-families:0", command=command)
    told = running_on(instance)

    assert {re.sub(r"\d+$", "", one) for one in told} == {"127.0.0.1:", "[::1]:"}
    assert len({one.rpartition(":")[2] for one in told}) == 1
    assert [pid_behind(one) for one in told] == [instance.pid] * 2


def test_several_addresses_are_served_at_once(arun: Starter, app: str, address: str, host: str) -> None:
    path = f"unix:{arun.folder}/a.sock"
    instance = arun(app, "--bind", address, "--bind", f"{host}:0", "--uds", "a.sock", "-b", address)

    told = running_on(instance)

    assert [told[0], told[2]] == [address, path]
    assert len(told) == 3  # the address that was named twice is served once
    assert [pid_behind(one) for one in told] == [instance.pid] * 3


@as_root
def test_a_unix_socket_gets_its_mode_and_owner(arun: Starter, app: str) -> None:
    instance = arun(app, "--uds", "a.sock", "--chmod-socket", "640", "--chown-socket", "65534:65533")

    assert pid_behind(running_on(instance)[0]) == instance.pid
    status = os.stat(arun.folder / "a.sock")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 65534, 65533)


def test_the_socket_file_of_a_process_that_is_gone_is_replaced(arun: Starter, app: str) -> None:
    path = arun.folder / "a.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    instance = arun(app, "--uds", "a.sock")

    assert running_on(instance) == [f"unix:{path}"]
    assert pid_behind(f"unix:{path}") == instance.pid


@pytest.mark.parametrize(("arguments", "left"), [((), True), (("--vacuum",), False)], ids=["without", "with"])
def test_vacuum_removes_the_socket_file_at_a_clean_stop(
    arun: Starter, app: str, arguments: tuple[str, ...], *, left: bool
) -> None:
    instance = arun(app, "--uds", "a.sock", *arguments).ready()
    assert (arun.folder / "a.sock").exists()

    assert instance.stop() == 0
    assert (arun.folder / "a.sock").exists() == left


@pytest.mark.parametrize("written", ["--bind=fd://{}", "--fd={}"])
def test_a_descriptor_that_was_passed_is_served(arun: Starter, app: str, host: str, written: str) -> None:
    with socket.create_server((host, 0)) as passed:
        number = passed.fileno()
        instance = arun(app, written.format(number), pass_fds=(number,))
        name = "{}:{}".format(*passed.getsockname())

        assert running_on(instance) == [name]
        assert pid_behind(name) == instance.pid


#: Passes a descriptor as systemd does: as number 3, with the variables for this very process.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": sys.argv[2] or str(os.getpid()), "LISTEN_FDNAMES": "http"}
os.execv(sys.argv[3], sys.argv[3:])
"""


def activated(arun: Starter, passed: socket.socket, *arguments: str, pid: str = "") -> Instance:
    """Start arun by socket activation."""
    number = passed.fileno()
    command = (sys.executable, "-c", ACTIVATE, str(number), pid, str(arun.command))
    return arun(*arguments, command=command, pass_fds=(number, 3))


@pytest.fixture
def activating() -> Iterator[socket.socket]:
    """A socket that a service manager would pass; number 3 is kept open so that Popen can pass it."""
    with contextlib.ExitStack() as stack:
        try:
            os.fstat(3)
        except OSError:
            stack.callback(os.close, os.dup2(os.open(os.devnull, os.O_RDONLY), 3))
        yield stack.enter_context(socket.create_server(("127.0.0.1", 0)))


def test_a_socket_of_systemd_is_served_and_its_variables_are_gone(
    arun: Starter, app: str, activating: socket.socket
) -> None:
    instance = activated(arun, activating, app)
    name = "{}:{}".format(*activating.getsockname())

    assert running_on(instance) == [name]
    assert ask(name) == (200, f"{instance.pid} {{}}")


def test_a_socket_of_systemd_is_served_beside_an_address(
    arun: Starter, app: str, address: str, activating: socket.socket
) -> None:
    instance = activated(arun, activating, app, "--bind", address)

    assert set(running_on(instance)) == {address, "{}:{}".format(*activating.getsockname())}


def test_sockets_of_systemd_for_another_process_are_left_alone(
    arun: Starter, app: str, address: str, activating: socket.socket
) -> None:
    instance = activated(arun, activating, app, "--bind", address, pid="1")

    assert running_on(instance) == [address]


def test_a_socket_of_systemd_goes_on_to_the_fallback(arun: Starter, activating: socket.socket) -> None:
    instance = activated(arun, activating, "nope.py", "--fallback-config", "welcome")

    assert running_on(instance) == ["{}:{}".format(*activating.getsockname())]
    assert ask(running_on(instance)[0])[0] == 503


def test_the_backlog_is_as_long_as_it_was_asked_for(arun: Starter, app: str, host: str) -> None:
    with socket.create_server((host, 0)) as shared:
        arun(app, "--fd", str(shared.fileno()), "--backlog", "7", pass_fds=(shared.fileno(),)).ready()

        # tcp(7), struct tcp_info of a listening socket: tcpi_sacked is the longest the backlog may get
        information = shared.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
        assert struct.unpack_from("@8B6I", information)[13] == 7


def test_two_instances_share_a_port_with_reuse_port(arun: Starter, app: str, address: str) -> None:
    instances = [arun(app, "--bind", address, "--reuse-port").ready() for _ in range(2)]

    answering = {pid_behind(address) for _ in range(64)}  # the chance that one of them gets none is 2 ** -63

    assert answering == {instance.pid for instance in instances}


def test_port_of_the_environment_is_an_address(arun: Starter, app: str, host: str) -> None:
    instance = arun(app, env={"PORT": "0"})
    (told,) = running_on(instance)

    assert told.startswith("0.0.0.0:")
    assert pid_behind(told.replace("0.0.0.0", host)) == instance.pid


def test_an_address_that_is_given_counts_more_than_port(arun: Starter, app: str, address: str) -> None:
    assert running_on(arun(app, "--bind", address, env={"PORT": "0"})) == [address]


def loading(arun: Starter, *arguments: str, env: Mapping[str, str] | None = None) -> Instance:
    """Start an app and return while it is being imported."""
    arun.write("waiting.py", WAITING)
    os.mkfifo(arun.folder / "go")
    instance = arun("waiting.py", *arguments, env=env)
    instance.wait_for("loading\n")
    return instance


def tell(arun: Starter, word: str) -> None:
    """Let the import go on."""
    (arun.folder / "go").write_text(word)


def test_listening_early_a_client_connects_while_the_app_loads(arun: Starter, address: str) -> None:
    loading(arun, "--bind", address)

    client = connect(address)
    tell(arun, "go on")

    assert answer_of(client) == (200, "up")


def test_listening_when_ready_a_client_is_refused_while_the_app_loads(arun: Starter, address: str) -> None:
    """As uvicorn does, for balancers that take an open port for a ready app."""
    instance = loading(arun, "--bind", address, "--listen", "ready")

    with pytest.raises(ConnectionRefusedError):
        connect(address)
    tell(arun, "go on")
    instance.ready()

    assert ask(address) == (200, "up")


def listening(instance: Instance) -> dict[str, str]:
    """The sockets that a process listens on, from /proc: address to inode."""
    own = set(instance.descriptors().values())
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ip, _, port = fields[1].partition(":")
        if fields[3] == "0A":
            found[f"{socket.inet_ntoa(struct.pack('=I', int(ip, 16)))}:{int(port, 16)}"] = fields[9]
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) == 8 and fields[3] == "00010000":  # accepted connections bear the path as well
            found[f"unix:{fields[7]}"] = fields[6]
    return {address: inode for address, inode in found.items() if f"socket:[{inode}]" in own}


class Handover(NamedTuple):
    """What the failing start binds, what the fallback says, and what it still serves of the former."""

    bound: list[str]
    said: str
    kept: list[str]


HANDOVERS = {
    "the same address": Handover(["{address}"], "bind = {address}", ["{address}"]),
    "one of two": Handover(["{address}", "{host}:18999"], "bind = {address}", ["{address}"]),
    "none named": Handover(["{address}", "{host}:18999"], "", ["{address}", "{host}:18999"]),
    "a unix socket": Handover(["unix:{folder}/a.sock"], "bind = unix:{folder}/a.sock", ["unix:{folder}/a.sock"]),
    "a unix socket by a relative path": Handover(["unix:a.sock"], "uds = a.sock", ["unix:{folder}/a.sock"]),
    "a unix socket not named": Handover(["unix:{folder}/a.sock", "{address}"], "bind = {address}", ["{address}"]),
    "both kinds, none named": Handover(
        ["unix:{folder}/a.sock", "{address}"], "", ["unix:{folder}/a.sock", "{address}"]
    ),
    "early to ready": Handover(["{address}"], "bind = {address}\nlisten = ready", ["{address}"]),
}


@pytest.mark.parametrize("row", HANDOVERS.values(), ids=HANDOVERS)
def test_the_fallback_adopts_what_it_names_or_all_and_closes_the_rest(
    arun: Starter, address: str, host: str, row: Handover
) -> None:
    def filled(text: str) -> str:
        return text.format(address=address, host=host, folder=arun.folder)

    arun.write("safe.ini", filled(f"[arun]\n{row.said}\n"))
    arguments = [filled(word) for one in row.bound for word in ("--bind", one)]
    kept = [filled(one) for one in row.kept]
    instance = loading(arun, *arguments, "--fallback-config", "safe.ini")
    before = listening(instance)
    clients = [connect(one) for one in kept]

    tell(arun, "break")

    for client in clients:  # they waited in the backlog
        assert answer_of(client)[0] == 503
    assert len(before) == len(row.bound)
    assert listening(instance) == {one: before[one] for one in kept}
    for gone in set(before) - set(kept):
        with pytest.raises(OSError, match=r"refused|No such file"):
            connect(gone)
    assert (arun.folder / "a.sock").exists() == any("a.sock" in one for one in kept)


def test_a_port_that_the_kernel_chose_is_kept_by_the_fallback(arun: Starter, host: str) -> None:
    arun.write("safe.ini", f"[arun]\nbind = {host}:0\n")
    instance = loading(arun, "--bind", f"{host}:0", "--fallback-config", "safe.ini")
    (told,) = before = listening(instance)

    client = connect(told)
    tell(arun, "break")

    assert answer_of(client)[0] == 503
    assert running_on(instance) == [told]
    assert listening(instance) == before


def test_port_of_the_environment_is_where_the_fallback_answers_too(arun: Starter, host: str) -> None:
    """PORT is a default: it does not close what the failed start had bound."""
    arun.write("safe.ini", "[arun]\n")
    instance = loading(arun, "--fallback-config", "safe.ini", env={"PORT": "0"})
    (told,) = before = listening(instance)

    client = connect(told.replace("0.0.0.0", host))
    tell(arun, "break")

    assert answer_of(client)[0] == 503
    assert listening(instance) == before


def test_the_socket_survives_a_chain_of_fallbacks(arun: Starter, address: str) -> None:
    arun.write("one.ini", "[arun]\napp = nope.py\nfallback-config = two.ini\n")
    arun.write("two.ini", "[arun]\nbind = {address}\n")
    instance = loading(arun, "--bind", address, "--fallback-config", "one.ini")
    before = listening(instance)

    client = connect(address)
    tell(arun, "break")

    assert answer_of(client)[0] == 503
    assert instance.fallbacks() == ["one.ini", "two.ini"]
    assert listening(instance) == before


def test_a_passed_descriptor_goes_on_to_the_fallback(arun: Starter, host: str) -> None:
    with socket.create_server((host, 0)) as passed:
        number = passed.fileno()
        arun.write("safe.ini", f"[arun]\nfd = {number}\n")

        instance = arun("nope.py", "--fd", str(number), "--fallback-config", "safe.ini", pass_fds=(number,))

        assert ask("{}:{}".format(*passed.getsockname()))[0] == 503
        assert instance.descriptors()[number] == f"socket:[{os.fstat(number).st_ino}]"


def test_vacuum_in_the_fallback_removes_the_socket_that_it_adopted(arun: Starter) -> None:
    arun.write("safe.ini", "[arun]\nuds = a.sock\nvacuum = true\n")
    instance = arun("nope.py", "--uds", "a.sock", "--fallback-config", "safe.ini").ready()

    instance.send(signal.SIGTERM)

    assert instance.wait() == 0
    assert not (arun.folder / "a.sock").exists()


def low_port_is_free(host: str) -> bool:
    """Whether root may bind port 80 on a loopback address of the test's own."""
    try:
        with socket.create_server((host, 80)):
            return True
    except OSError:
        return False


def test_a_shared_socket_has_a_low_port_after_the_drop_and_so_has_the_fallback(public_arun: Starter, host: str) -> None:
    """Bound before the drop, served after it; the fallback could not bind it again and adopts it."""
    if not low_port_is_free(host):
        pytest.skip("port 80 cannot be had here, not even by root")
    public_arun.write("app.py", APP)
    public_arun.write("safe.ini", f"[arun]\nbind = {host}:80\n")
    scene = ("--shared-socket", f"{host}:80", "--uid", "1000", "--fallback-config", "safe.ini")

    served = public_arun("app.py", *scene)
    assert running_on(served) == [f"{host}:80"]
    assert pid_behind(f"{host}:80") == served.pid
    assert os.stat(f"/proc/{served.pid}").st_uid == 1000
    assert served.stop() == 0

    fallen = public_arun("nope.py", *scene)
    assert running_on(fallen) == [f"{host}:80"]
    assert ask(f"{host}:80")[0] == 503
    assert os.stat(f"/proc/{fallen.pid}").st_uid == 1000
    assert (fallen.failures(), fallen.fallbacks()) == (["app-not-found"], ["safe.ini"])
