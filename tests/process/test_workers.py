"""Several workers: how they start, what they share, how they are stopped, and what becomes of them without a parent."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until
from tests.process.asking import Asking, served_by
from tests.process.conftest import STRANGER
from tests.process.family import Family, children, descendants, settled, stop, workers
from tests.process.shops import SHOP

if TYPE_CHECKING:
    from tests.process.conftest import FailingStart, Instance, Starter

TWO = ("--bind", "{address}", "--workers", "2")
#: How two workers come to be, and the processes that there are then.
WAYS = {"forked": (TWO, 2), "preload": ((*TWO, "--preload"), 3)}
#: An app of which one worker waits in its start until there is a file "go".
ONE_IS_SLOW = (
    """
import os, time
try:
    os.close(os.open("first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    os.write(2, b"waiting\\n")
    while not os.path.exists("go"):
        time.sleep(0.01)
"""
    + SHOP
)


def test_an_instance_is_ready_when_all_of_its_workers_are(arun: Starter) -> None:
    arun.write("shop.py", ONE_IS_SLOW)
    instance = arun("shop.py", *TWO)
    instance.wait_for("waiting")
    assert len(served_by([instance.get().text for _ in range(20)])) == 1  # who is there serves already
    assert "arun running on" not in instance.said
    arun.write("go", "")
    assert instance.ready().wait_for("serving shop.py with 2 workers")
    stop(instance)


@pytest.mark.parametrize("way", WAYS)
def test_all_workers_serve_the_same_port_and_keep_to_one_supervisor(arun: Starter, way: str) -> None:
    arun.write("shop.py", SHOP)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *arguments).ready()
    family = settled(instance, count)
    with Asking(instance), Asking(instance):

        def look() -> None:
            assert served_by([instance.get().text for _ in range(10)]) == workers(instance)

        until(look, AssertionError)
    assert len(workers(instance)) == 2
    assert workers(instance) <= family
    assert instance.pid not in family
    stop(instance)


def one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def test_auto_means_one_worker_for_each_core_that_the_process_may_use(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    several = arun("shop.py", "--bind", "{address}", "--workers", "auto", "--supervise").ready()
    count = int(re.findall(r"with (\d+) worker", several.wait_for(" worker"))[0])
    assert 1 <= count <= len(os.sched_getaffinity(0))  # a container may be allowed less
    settled(several, count)
    stop(several)
    arguments = ("shop.py", "--bind", "{address}", "--workers", "auto", "--supervise")
    one = arun(*arguments, preexec_fn=one_core).ready()
    one.wait_for("serving shop.py with 1 worker")
    stop(one)


def test_web_concurrency_is_the_number_of_workers_unless_an_option_states_otherwise(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    said_by_environment = arun("shop.py", "--bind", "{address}", env={"WEB_CONCURRENCY": "3"}).ready()
    settled(said_by_environment, 3)
    stop(said_by_environment)
    said_by_option = arun("shop.py", *TWO, env={"WEB_CONCURRENCY": "3"}).ready()
    settled(said_by_option, 2)
    stop(said_by_option)


@pytest.mark.parametrize(
    "options",
    [
        ("--preload",),
        ("--max-requests", "9"),
        ("--reload-on-rss", "999"),
        ("--crash-limit", "9"),
        ("--crash-interval", "9"),
    ],
)
def test_an_option_that_only_a_supervisor_obeys_brings_one(arun: Starter, options: tuple[str, ...]) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", "--bind", "{address}", *options)
    instance.wait_for("serving shop.py with 1 worker")
    stop(instance)


def test_one_process_without_a_supervisor_is_bound_to_cores_as_well(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", "--bind", "{address}", "--cpu-affinity", "1").ready()
    assert len(os.sched_getaffinity(instance.pid)) == 1
    stop(instance)


def test_workers_without_a_supervisor_are_refused(arun: Starter, failing_start: FailingStart) -> None:
    arun.write("shop.py", SHOP)
    said = failing_start("shop.py", *TWO, "--no-supervise", fails=["option-invalid"])
    assert "2 workers need a supervisor (from --no-supervise)" in said
    assert "say yes to supervise" in said


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_of_all_workers_is_reported_once_and_leaves_a_clean_fallback(
    arun: Starter, failing_start: FailingStart, way: str
) -> None:
    """No descriptor of the workers, no child: the fallback is as if there had been one process."""
    arun.write("shop.py", "import nowhere\n")
    failing_start("shop.py", *WAYS[way][0], fails=["app-dependency-missing"])


@pytest.mark.parametrize("way", WAYS)
def test_a_start_up_that_fails_in_one_worker_fails_the_start(arun: Starter, way: str) -> None:
    """The other one serves already, and is gone before the fallback serves."""
    arun.write("shop.py", SHOP.replace("await send(", "await started(send, ", 1) + FAILS_IN_ONE)
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    instance = arun("shop.py", *WAYS[way][0], "--fallback-config", "safe.ini").ready()
    assert instance.failures() == ["app-startup-failed"]
    assert instance.get().status == 503
    settled(instance, 0)
    stop(instance)


FAILS_IN_ONE = """
async def started(send, message):
    try:
        os.close(os.open("first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise RuntimeError("not twice") from None
    await send(message)
"""


@pytest.mark.parametrize("way", WAYS)
def test_ttin_and_ttou_add_and_take_away_a_worker_and_one_stays(arun: Starter, way: str) -> None:
    arun.write("shop.py", SHOP)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *arguments).ready()
    with Asking(instance) as asking:
        for number, wanted in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
            instance.send(number)
            instance.wait_for(f"{wanted} from now on")
            settled(instance, count - 2 + wanted)
        instance.send(signal.SIGTTOU)
        asking.more()
        assert len(settled(instance, count - 1)) == count - 1
        instance.send(signal.SIGTTIN)
        instance.wait_for("arun: 1 worker so far, 2 from now on")
        settled(instance, count)
    stop(instance)


OPEN = """
import asyncio, os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    os.write(2, b"here\\n")
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"finished"})
"""


def ask(instance: Instance) -> socket.socket:
    client = instance.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    return client


def answer(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_which_reaches_the_whole_group_is_one_graceful_stop(arun: Starter, way: str) -> None:
    """The request goes on for so long that a second signal, did it count as one, would have cut it."""
    arun.write("shop.py", OPEN.replace("    await send(", "    await asyncio.sleep(0.5)\n    await send(", 1))
    instance = arun("shop.py", *WAYS[way][0], start_new_session=True).ready()
    client = ask(instance)
    instance.wait_for("here")
    family = Family(instance)
    os.killpg(instance.pid, signal.SIGINT)
    instance.wait_for("arun: stopping 2 workers")
    arun.write("go", "")
    assert answer(client).endswith(b"finished")
    family.ends(0)
    assert "Traceback" not in instance.said
    assert "arun: warning" not in instance.said


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGQUIT,)], ids=["twice", "QUIT"])
@pytest.mark.parametrize("way", WAYS)
def test_a_second_sigterm_forces_and_sigquit_does_at_once(
    arun: Starter, way: str, numbers: tuple[signal.Signals, ...]
) -> None:
    """A request that never ends, and a grace that no test would wait for."""
    arun.write("shop.py", OPEN)
    instance = arun("shop.py", *WAYS[way][0], "--timeout-graceful-shutdown", "1000").ready()
    client = ask(instance)
    instance.wait_for("here")
    family = Family(instance)
    for number in numbers:
        instance.send(number)
        instance.wait_for("arun: stopping 2 workers")
    family.ends(0)
    client.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_during_the_start_is_clean(arun: Starter, way: str) -> None:
    arun.write("shop.py", "import os, time\nos.write(2, b'here\\n')\ntime.sleep(1e6)\n")
    instance = arun("shop.py", *WAYS[way][0], "--fallback-config", "welcome")
    instance.wait_for("here", times=1 if way == "preload" else 2)
    stop(instance)
    assert (instance.failures(), instance.fallbacks()) == ([], [])
    assert "Traceback" not in instance.said


def test_a_stop_during_a_start_that_gets_no_signal_is_clean_too(arun: Starter) -> None:
    stuck = "import ctypes, os\nos.write(2, b'here\\n')\nwhile True: ctypes.PyDLL(None).pause()\n"
    arun.write("shop.py", stuck)
    instance = arun("shop.py", *TWO, "--fallback-config", "welcome")
    instance.wait_for("here", times=2)
    stop(instance)
    assert (instance.failures(), instance.fallbacks()) == ([], [])


@pytest.mark.parametrize("way", WAYS)
def test_a_supervisor_that_is_killed_takes_its_workers_along(arun: Starter, way: str) -> None:
    """At once: a worker in the middle of a request, and the process that holds the loaded app."""
    arun.write("shop.py", OPEN)
    arguments, count = WAYS[way]
    instance = arun("shop.py", *arguments, "--timeout-graceful-shutdown", "1000").ready()
    settled(instance, count)
    client = ask(instance)
    instance.wait_for("here")
    stop(instance, signal.SIGKILL, status=-signal.SIGKILL)
    client.close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_cpu_affinity_gives_each_worker_cores_of_its_own(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    instance = arun("shop.py", *TWO, "--cpu-affinity", "1").ready()
    first, second = sorted(os.sched_getaffinity(0))[:2]
    assert sorted(allowed(pid) for pid in workers(instance)) == [str(first), str(second)]
    assert allowed(instance.pid) == allowed(os.getpid())
    os.kill(min(workers(instance)), signal.SIGKILL)  # a successor has the place of who was there
    instance.wait_for("it is replaced now")
    settled(instance, 2)
    until(lambda: assert_cores(instance, [str(first), str(second)]), AssertionError)
    stop(instance)


def assert_cores(instance: Instance, cores: list[str]) -> None:
    assert sorted(allowed(pid) for pid in workers(instance)) == cores


def allowed(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text().partition("Cpus_allowed_list:")[2].split()[0]


def test_preload_loads_once_also_for_successors_and_survives_the_end_of_the_loader(arun: Starter) -> None:
    arun.write("shop.py", "import os\nos.write(2, b'loaded\\n')\n" + SHOP)
    instance = arun("shop.py", *WAYS["preload"][0]).ready()
    family = settled(instance, 3)
    loader, (first, second) = (family - workers(instance)).pop(), sorted(workers(instance))
    os.kill(first, signal.SIGKILL)
    family = settled(instance, 3, without={first})
    assert instance.said.count("loaded") == 1

    with Asking(instance) as asking:
        os.kill(loader, signal.SIGKILL)
        settled(instance, 2, without={loader})
        instance.wait_for(f"the process that loads the app (pid: {loader}) was ended by SIGKILL")
        asking.more()
    assert (children(instance), instance.said.count("loaded")) == (family - {loader}, 1)
    os.kill(second, signal.SIGKILL)  # now one is needed again
    settled(instance, 3, without={second})
    instance.wait_for("loaded", times=2)
    stop(instance)
    assert instance.fallbacks() == []


def test_preload_keeps_the_loaded_app_however_long_no_worker_is_needed(arun: Starter) -> None:
    """Longer than a start may take, and than a report may: seven seconds are beyond both."""
    arun.write("shop.py", "import os\nos.write(2, b'loaded\\n')\n" + SHOP)
    instance = arun("shop.py", *WAYS["preload"][0], "--start-timeout", "2").ready()
    family, began = settled(instance, 3), time.monotonic()
    until(lambda: assert_passed(began, 7), AssertionError)
    assert settled(instance, 3) == family
    gone = min(workers(instance))
    os.kill(gone, signal.SIGKILL)
    settled(instance, 3, without={gone})
    assert instance.said.count("loaded") == 1
    stop(instance)


def assert_passed(since: float, seconds: float) -> None:
    assert time.monotonic() - since > seconds


WSGI = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [str((environ["wsgi.multiprocess"], environ["wsgi.multithread"])).encode()]
"""


@pytest.mark.parametrize(
    ("options", "told"), [(("--workers", "2"), "(True, True)"), (("--supervise",), "(False, True)")]
)
def test_a_wsgi_app_knows_whether_others_run_beside_it(arun: Starter, options: tuple[str, ...], told: str) -> None:
    arun.write("shop.py", WSGI)
    instance = arun("shop.py", "--bind", "{address}", *options).ready()
    assert instance.get().text == told
    stop(instance)


def ask_unix(path: Path) -> bytes:
    client = socket.socket(socket.AF_UNIX)
    with client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65_536), b""))


def test_a_unix_socket_and_the_pid_file_are_the_supervisors_and_stay_when_a_worker_goes(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    path, pidfile = arun.folder / "s", arun.folder / "pid"
    options = ("--workers", "2", "--vacuum", "--pidfile", str(pidfile))
    instance = arun("shop.py", "--bind", f"unix:{path}", *options).ready()
    assert pidfile.read_text() == f"{instance.pid}\n"
    (gone, stays) = workers(instance)
    os.kill(gone, signal.SIGTERM)  # by mistake
    settled(instance, 2, without={gone})
    os.kill(stays, signal.SIGKILL)
    settled(instance, 2, without={stays})
    assert b"one " in ask_unix(path)
    assert pidfile.read_text() == f"{instance.pid}\n"
    stop(instance)
    assert not path.exists()
    assert not pidfile.exists()


@pytest.mark.parametrize("way", WAYS)
def test_workers_run_as_the_user_that_is_asked_for_and_so_do_their_successors(public_arun: Starter, way: str) -> None:
    public_arun.write("shop.py", SHOP)
    arguments, count = WAYS[way]
    instance = public_arun("shop.py", *arguments, "--uid", str(STRANGER), measured=False).ready()
    assert users(instance) == {STRANGER}
    gone = min(workers(instance))
    os.kill(gone, signal.SIGKILL)
    settled(instance, count, without={gone})
    assert users(instance) == {STRANGER}
    assert instance.get().status == 200
    stop(instance, signal.SIGKILL, status=-signal.SIGKILL)  # who drops privileges still dies with its parent


def users(instance: Instance) -> set[int]:
    found = set()
    for pid in (instance.pid, *(one.pid for one in descendants(instance.pid))):
        with contextlib.suppress(FileNotFoundError):
            found.add(Path(f"/proc/{pid}").stat().st_uid)
    return found
