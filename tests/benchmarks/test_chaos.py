"""What chaos.py counts is what happened: an instance in good order loses nothing, and every sort of fault is seen."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Import = Callable[[str], Any]

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
SMALL = (
    *("--reloads", "4", "--moves", "2", "--kills", "2", "--upgrades", "2", "--fallbacks", "2", "--away", "1"),
    *("--clients", "3", "--answers", "8", "--polls", "20000", "--websockets", "40"),
)
WHOLE = b"1 99 %d " + b"0123456789abcdef" * 1024


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["asgi", "wsgi", "aiohttp"])
def test_reloads_kills_upgrades_and_fallbacks_refuse_and_cut_nobody(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, str(CHAOS), *SMALL, "--kinds", kind, "--bin", str(Path(sys.executable).parent)]
    ran = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, timeout=200, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads((tmp_path / "chaos.json").read_text())["runs"][kind]
    done = {name: row["times"] for name, row in told["activities"].items()}
    assert done["reload"] == done["reload of broken code"] == done["a worker is killed"] == 2
    assert done["crash loop into the fallback"] == done["way back"] == 2
    assert done["reload onto an overlapping address"] == done["upgrade"] == 2
    assert done["arun's files are away, and a worker is killed"] == done["way back, broken"] == 1
    assert len(told["kept"]) == {"asgi": 3, "wsgi": 1, "aiohttp": 2}[kind]
    assert all(row["answered"] for row in told["activities"].values())
    assert told["activities"]["crash loop into the fallback"]["page"]
    assert (tmp_path / "chaos.md").read_text() == ran.stdout


@pytest.fixture
def server() -> Iterator[Callable[[bytes], int]]:
    """Answer each request with the same bytes, and close; return the port."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=16)) as listener:

        def serve(answer: bytes) -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(answer)

        def start(answer: bytes) -> int:
            threading.Thread(target=serve, args=(answer,), daemon=True).start()
            port: int = listener.getsockname()[1]
            return port

        yield start
        # accept() in the other thread does not see a close, only a shutdown.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def asked(module: Import, port: int, ledger: Any = None) -> Any:
    """Let one client ask once."""
    clients = module("chaos_clients")
    ledger = ledger or clients.Ledger()
    asyncio.run(clients.Client(ledger, port, "client", keeps=False)._ask("/", 0))
    return ledger


def answer(body: bytes, status: bytes = b"200", length: int | None = None) -> bytes:
    return b"HTTP/1.1 %s X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body) if length is None else length, body)


@pytest.mark.parametrize(
    ("bytes_", "what"),
    [
        (answer(WHOLE % 0), "answered"),
        (b"", "lost"),
        (answer(WHOLE % 0, length=20_000), "cut"),
        (answer(WHOLE % 7), "wrong"),
        (answer(b"x" * 16_384), "wrong"),
        (answer(WHOLE % 0, b"500"), "wrong"),
        (answer(b"page", b"503"), "wrong"),
    ],
)
def test_what_comes_of_a_request_is_told_apart(module: Import, server: Any, bytes_: bytes, what: str) -> None:
    ledger = asked(module, server(bytes_))
    assert ledger.counts == {"": {what: 1}}
    assert len(ledger.faults) == (what != "answered")


def test_nobody_there_is_a_refused_connection(module: Import) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert asked(module, port).counts == {"": {"refused": 1}}


def test_an_answer_that_does_not_come_is_overlong(module: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = module("chaos_clients")
    monkeypatch.setattr(clients, "DEADLINE", 0.1)
    ledger = clients.Ledger()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(clients.Client(ledger, silent.getsockname()[1], "client", keeps=False)._ask("/", 0))
    assert ledger.counts == {"": {"overlong": 1}}


def test_the_page_is_an_answer_in_the_fallback_only(module: Import, server: Any) -> None:
    ledger = module("chaos_clients").Ledger(in_fallback=True)
    assert asked(module, server(answer(b"page", b"503")), ledger).counts == {"": {"answered": 1, "page": 1}}


def test_a_kill_excuses_what_was_there_before_it_and_nothing_else(module: Import) -> None:
    """A connection whose worker is known stands or falls with that one; an early new one may have been its."""
    ledger = module("chaos_clients").Ledger(killed={7: 100.0})
    assert ledger.was_killed(7, 101.0)
    assert not ledger.was_killed(8, 99.0)
    assert ledger.was_killed(0, 99.0)
    assert not ledger.was_killed(0, 101.0)


def test_a_fault_makes_the_run_fail_and_stands_in_the_report_with_its_moment(module: Import) -> None:
    clients, chaos_report = module("chaos_clients"), module("chaos_report")
    ledger = clients.Ledger()
    ledger.begin(chaos_report.RELOAD)
    ledger.answered(0.002)
    ledger.fault("cut", "client 3", chaos_report.STEADY, "it broke")
    held = chaos_report.Holdings(2, 8, 20_000)
    told = chaos_report.report(
        {"asgi": chaos_report.Results(ledger, 3.0, held, held, [])}, os.path.dirname(sys.executable), ""
    )
    assert told["failed"] == ["asgi"]
    text = chaos_report.markdown(told)
    assert "1 faults in 2 requests" in text
    assert "reload (begun in: nothing: load alone, and between the others): cut, client 3: it broke" in text


def test_workers_that_stay_behind_make_the_run_fail(module: Import) -> None:
    clients, chaos_report = module("chaos_clients"), module("chaos_report")
    before, after = chaos_report.Holdings(2, 8, 20_000), chaos_report.Holdings(3, 9, 20_000)
    run = chaos_report._run(chaos_report.Results(clients.Ledger(), 3.0, before, after, []))
    assert run["failed"]
    assert "processes that stayed" in run["verdict"]


@pytest.mark.parametrize(("gained", "failed"), [(5120, False), (5121, True)])
def test_memory_that_stays_makes_the_run_fail(module: Import, gained: int, failed: bool) -> None:  # noqa: FBT001 - a case
    clients, chaos_report, chaos_memory = module("chaos_clients"), module("chaos_report"), module("chaos_memory")
    held = chaos_report.Holdings(2, 8, 20_000)
    kept = [chaos_memory.Kept("answers", 200, 30_000, 30_000 + gained)]
    run = chaos_report._run(chaos_report.Results(clients.Ledger(), 3.0, held, held, kept))
    assert (run["failed"], "memory that stayed" in run["verdict"]) == (failed, failed)


def test_half_of_the_reloads_are_of_broken_code(module: Import) -> None:
    chaos = module("chaos")
    steps = [part for step in chaos.WHOLE.steps() for part in step]
    assert (steps.count(chaos.RELOAD), steps.count(chaos.BROKEN_RELOAD)) == (50, 50)
    assert (steps.count(chaos.KILL), steps.count(chaos.UPGRADE), steps.count(chaos.WAY_BACK)) == (20, 10, 12)
    assert (steps.count(chaos.MOVE), steps.count(chaos.FILES_AWAY)) == (20, 4)
