"""The death matrix: when an app dies x how it dies x how many processes there are, and what must follow.

The pid of the instance stays the same whatever happens, nothing of it is left after its end, and no zombie before.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import resource
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.conftest import until
from tests.process.conftest import PAGE, SAFE
from tests.process.family import Family, reported, settled, stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.conftest import Instance, Starter

#: What must follow, in each cell.
#:
#: fallback   the process becomes its fallback, with status 503 and the identifier of the row
#: 500        the request under way fails with this status, and nothing else happens
#: replaced   the request is cut, the worker has a successor, the other worker and the process above them go on
#: stops      the request is cut or failed, and the stop ends with status 0
#: ends N     the process ends with this status (negative: by this signal): what only a parent could see
#: forced     nothing happens by itself: only a parent could see it; the third stop signal ends it with status 0
TABLE = """
                alone      supervised  2 workers  preload     told as
before ready
  exception     fallback   fallback    fallback   fallback    app-import-failed
  exit 0        fallback   fallback    fallback   fallback    app-exited
  exit 1        fallback   fallback    fallback   fallback    app-exited
  exit 3        fallback   fallback    fallback   fallback    app-exited
  _exit         ends 3     fallback    fallback   fallback    worker-died
  SIGSEGV       ends -11   fallback    fallback   fallback    worker-died
  SIGKILL       ends -9    fallback    fallback   fallback    worker-died
  stuck loop    fallback   fallback    fallback   fallback    start-timeout
  stuck import  fallback   fallback    fallback   fallback    start-timeout
  stuck in C    deaf       fallback    fallback   fallback    start-timeout
  memory        fallback   fallback    fallback   fallback    app-import-failed
after ready
  exception     500        500         500        500
  exit 0        500        500         500        500
  exit 1        500        500         500        500
  exit 3        500        500         500        500
  _exit         ends 3     replaced    replaced   replaced
  SIGSEGV       ends -11   replaced    replaced   replaced
  SIGKILL       ends -9    replaced    replaced   replaced
  stuck loop    forced     replaced    replaced   replaced
  stuck import  import     import      import     import
  stuck in C    deaf       replaced    replaced   replaced
  memory        500        500         500        500
while stopping
  exception     stops      stops       stops      stops
  exit 0        stops      stops       stops      stops
  exit 1        stops      stops       stops      stops
  exit 3        stops      stops       stops      stops
  _exit         ends 3     stops       stops      stops
  SIGSEGV       ends -11   stops       stops      stops
  SIGKILL       ends -9    stops       stops      stops
  stuck loop    forced     stops       stops      stops
  stuck import  import     import      import     import
  stuck in C    deaf       stops       stops      stops
  memory        stops      stops       stops      stops
"""
#: Why cells are left out.
LEFT_OUT = {
    "import": "there is no import any more: one that a request runs holds up the loop, and is the row above it",
    "deaf": "an interpreter that C code holds has no turn, and no parent: that only SIGKILL ends it shows nothing of arun",
}
MODES = {
    "alone": (),
    "supervised": ("--supervise",),
    "2 workers": ("--workers", "2"),
    "preload": ("--workers", "2", "--preload"),
}
#: How many processes live below the instance when it serves.
BELOW = {"alone": 0, "supervised": 1, "2 workers": 2, "preload": 3}
#: Bytes of address space, for the row "memory": enough for a start, and for that of a fallback, which inherits it.
ENOUGH = 1 << 29
#: Three stop signals, in the order in which Python runs their handlers when they come together.
FORCING = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

APP = """
import asyncio, ctypes, os, signal, sys, time

WHEN, HOW = os.environ["WHEN"], os.environ["HOW"]

def die():
    os.write(2, b"dying\\n")
    if HOW == "exception":
        raise RuntimeError(HOW)
    if HOW.startswith("exit"):
        sys.exit(int(HOW[-1]))
    if HOW == "_exit":
        os._exit(3)
    if HOW in ("SIGSEGV", "SIGKILL"):
        os.kill(os.getpid(), signal.Signals[HOW])
    if HOW == "stuck loop":
        while True: pass
    if HOW == "stuck import":
        time.sleep(1e6)
    if HOW == "stuck in C":
        while True: ctypes.PyDLL(None).pause()  # with the lock of the interpreter held
    if HOW == "memory":
        held = []
        while True: held.append(bytearray(1 << 24))

if WHEN == "before ready" and HOW != "stuck loop":
    die()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            if WHEN == "before ready":
                die()
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/die":
        os.write(2, b"here\\n")
        while WHEN == "while stopping" and not os.path.exists("go"):
            await asyncio.sleep(0.01)
        die()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"shop"})
"""


class Cell(NamedTuple):
    """One cell of the table."""

    how: str
    mode: str
    verdict: str
    identifier: str


def cells(when: str) -> list[Any]:
    """The cells of one part of the table, as parameters."""
    columns, found, part = [], [], ""
    for line in TABLE.strip("\n").splitlines():
        if not line.startswith(" "):
            part = line
        elif line.startswith("   "):
            columns = [(name, line.index(name)) for name in MODES] + [("", line.index("told as"))]
        elif part == when:
            for (mode, start), (_, end) in itertools.pairwise(columns):
                cell = Cell(
                    line[: columns[0][1]].strip(), mode, line[start:end].strip(), line[columns[-1][1] :].strip()
                )
                if cell.verdict not in LEFT_OUT:
                    found.append(pytest.param(cell, id=f"{cell.how}-{cell.mode}"))
    return found


def short_of_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ENOUGH, ENOUGH))


@pytest.fixture
def start(arun: Starter) -> Callable[..., Instance]:
    """Start the app that dies, in the mode of a cell."""

    def started(when: str, cell: Cell, *arguments: str) -> Instance:
        arun.write("shop.py", APP)
        arun.write("safe.ini", SAFE)
        more: dict[str, Any] = {"preexec_fn": short_of_memory} if cell.how == "memory" else {}
        arguments = ("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini", *MODES[cell.mode], *arguments)
        return arun(*arguments, env={"WHEN": when, "HOW": cell.how}, **more)

    return started


def ends_by_itself(instance: Instance, verdict: str) -> bool:
    """Check the end of a process that has no supervisor; False where the verdict is none of an end."""
    if verdict.startswith("ends "):
        assert instance.wait() == int(verdict.removeprefix("ends "))
    elif verdict == "forced":
        stop(instance, *FORCING)
    else:
        return False
    assert instance.fallbacks() == []
    return True


@pytest.mark.parametrize("cell", cells("before ready"))
def test_death_before_ready(start: Callable[..., Instance], cell: Cell) -> None:
    timeout = ("--start-timeout", "2") if cell.how.startswith("stuck") else ("--start-timeout", "100")
    instance = start("before ready", cell, *timeout)
    instance.wait_for("dying")
    if ends_by_itself(instance, cell.verdict):
        return
    assert cell.verdict == "fallback"
    instance.ready()
    assert (reported(instance), instance.hints()) == ([cell.identifier], 1)  # once, though two workers have failed
    assert instance.fallbacks() == ["safe.ini"]
    answer = instance.get()
    assert (answer.status, PAGE in answer.text) == (503, True)
    settled(instance, 0)
    assert instance.process.poll() is None
    stop(instance)


def ask_to_die(instance: Instance) -> int:
    """Ask the app to die; the status of the answer, 0 where it was cut."""
    with contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError):
        return instance.get("/die").status
    return 0


@pytest.mark.parametrize("cell", cells("after ready"))
def test_death_after_ready(start: Callable[..., Instance], cell: Cell) -> None:
    watched = ("--worker-timeout", "2") if cell.how.startswith("stuck") and cell.mode != "alone" else ()
    instance = start("after ready", cell, *watched).ready()
    before = settled(instance, BELOW[cell.mode])
    if cell.verdict == "forced":
        client = instance.connect()
        client.sendall(b"GET /die HTTP/1.1\r\nHost: shop\r\n\r\n")
        instance.wait_for("dying")
        assert ends_by_itself(instance, cell.verdict)
        client.close()
        return
    status = ask_to_die(instance)
    if ends_by_itself(instance, cell.verdict):
        assert status == 0
        return

    if cell.verdict == "500":
        assert status == 500
        assert settled(instance, BELOW[cell.mode]) == before
    else:
        assert (cell.verdict, status) == ("replaced", 0)
        instance.wait_for("it is replaced now")
        died = re.findall(r"worker \d \(pid: (\d+)\) .*; it is replaced now", instance.said)
        after = settled(instance, BELOW[cell.mode], without={int(died[0])})
        assert (len(died), len(before & after)) == (1, len(before) - 1)
    assert instance.get().text == "shop"
    assert (instance.failures(), instance.fallbacks()) == ([], [])
    assert instance.process.poll() is None
    stop(instance)


@pytest.mark.parametrize("cell", cells("while stopping"))
def test_death_while_stopping(start: Callable[..., Instance], arun: Starter, cell: Cell) -> None:
    """A request is open when the stop begins, and dies then: the stop ends in time, and does not sit out its grace."""
    grace = "2" if cell.how.startswith("stuck") else "100"
    instance = start("while stopping", cell, "--timeout-graceful-shutdown", grace).ready()
    settled(instance, BELOW[cell.mode])
    family = Family(instance)
    with instance.connect() as client, client.makefile("rb") as answer:
        client.sendall(b"GET /die HTTP/1.1\r\nHost: shop\r\n\r\n")
        instance.wait_for("here")
        instance.send(signal.SIGTERM)
        until_refused(instance)
        arun.write("go", "")
        instance.wait_for("dying")
        if ends_by_itself(instance, cell.verdict):
            return
        assert cell.verdict == "stops"
        family.ends(0)
        assert answer.read()[9:12] in {b"500", b""}
    assert (instance.failures(), instance.fallbacks()) == ([], [])


def until_refused(instance: Instance) -> None:
    def refused() -> None:
        host, _, port = instance.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=1)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.connect()
            raise AssertionError("it still listens")

    until(refused, AssertionError)
