"""The rules of a supervisor that are no process: the crash backoff, reports of workers, how an end is described, file watch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from arun.core.failures import APP_IMPORT_FAILED, INTERNAL_ERROR, FailureRecord, StartupFailure
from arun.supervisor.channel import WorkerLifetime
from arun.supervisor.crash_backoff import CrashBackoff
from arun.supervisor.reports import FAILED, READY, Lines, Report, failure_of, line_of
from arun.supervisor.workers import Generation, Slot, Worker, counted, ended_by
from arun.system.file_watch import FileWatch

if TYPE_CHECKING:
    from pathlib import Path


def test_the_first_death_is_replaced_at_once_and_each_further_one_later_up_to_a_limit() -> None:
    backoff = CrashBackoff(0, 60)
    assert [backoff.died(float(number)) for number in range(10)] == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_deaths_are_forgotten_after_the_interval() -> None:
    backoff = CrashBackoff(3, 10)
    for number in range(2):
        backoff.died(number)
    assert backoff.died(11.5) == 0
    assert (backoff.deaths, backoff.is_loop) == (1, False)


def test_so_many_deaths_in_the_interval_are_a_crash_loop() -> None:
    backoff = CrashBackoff(3, 10)
    told = []
    for number in range(3):
        backoff.died(number)
        told.append(backoff.is_loop)
    assert told == [False, False, True]


def test_with_a_limit_of_0_no_number_of_deaths_is_a_crash_loop() -> None:
    backoff = CrashBackoff(0, 10)
    for _ in range(1000):
        backoff.died(0)
    assert not backoff.is_loop


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_reports_come_whole_however_the_stream_is_cut(size: int) -> None:
    said = line_of("waiting", "shop:app\nto be imported") + line_of(READY, "shop:app") + line_of("beat")
    lines, heard = Lines(), []
    for start in range(0, len(said), size):
        heard += lines.feed(said[start : start + size])
    assert heard == [Report("waiting", "shop:app\\nto be imported"), Report(READY, "shop:app"), Report("beat", "")]


def test_a_failure_crosses_the_line_with_all_that_belongs_to_it() -> None:
    failure = StartupFailure(
        APP_IMPORT_FAILED, "shop raised\nValueError", origin="--app", hint="mend it", detail="Traceback\n  \udcff"
    )
    line = line_of(FAILED, FailureRecord.of(failure, config="site.ini", when=1.5))
    (report,) = Lines().feed(line)
    heard = failure_of(report)
    assert heard.cause is APP_IMPORT_FAILED
    assert (heard.sentence, heard.origin, heard.hint, heard.detail) == (
        failure.sentence,
        failure.origin,
        failure.hint,
        failure.detail,
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"identifier": "x"}', "null"])
def test_a_failure_that_cannot_be_read_is_a_failure_still(text: str) -> None:
    assert failure_of(Report(FAILED, text)).cause is INTERNAL_ERROR


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, "exited with status 0"),
        (3 << 8, "exited with status 3"),
        (int(signal.SIGSEGV), "was ended by SIGSEGV"),
        (int(signal.SIGSEGV) | 0x80, "was ended by SIGSEGV"),
        (int(signal.SIGKILL), "was ended by SIGKILL (out of memory, or by hand)"),
        (50, "was ended by signal 50"),
    ],
)
def test_an_end_is_told_in_words(status: int, told: str) -> None:
    assert ended_by(status) == told


def test_a_loader_that_ends_is_reaped_before_its_worker_counts_as_unforked() -> None:
    """Its last report and its end may be pending at once: the first read takes the report only."""
    generation = Generation(None)
    (loader_line, loader_end), (worker_line, worker_end) = socket.socketpair(), socket.socketpair()
    with loader_line, loader_end, worker_line, worker_end:
        loader_line.setblocking(False)
        worker_line.setblocking(False)
        generation.loader = loader = Worker(loader_line, None, generation, os.getpid())
        worker = Worker(worker_line, Slot(1), generation)
        failure = StartupFailure(APP_IMPORT_FAILED, "shop raised ValueError")
        loader_end.sendall(line_of(FAILED, FailureRecord.of(failure, config="site.ini", when=1.5)))
        worker_end.close()
        assert not worker.read()
        worker.connection.close()
        unforked = [worker.is_unforked]  # as far as can be seen, the loader lives
        loader_end.close()
        assert loader.read()
        unforked.append(worker.is_unforked)
        generation.loader = None  # reaped
        unforked.append(worker.is_unforked)
    assert unforked == [True, False, True]


def test_a_question_that_a_worker_has_asked_goes_with_it() -> None:
    ours, theirs = socket.socketpair()
    asked, client = socket.socketpair()
    with theirs, client:
        ours.setblocking(False)
        client.settimeout(10)
        worker = Worker(ours, None, Generation(None), 1)
        socket.send_fds(theirs, [b"\n"], [asked.fileno()])
        asked.close()
        worker.read()
        worker.close()
        assert client.recv(1) == b""
    assert not worker.speaks


def test_one_worker_is_no_workers() -> None:
    assert (counted(1), counted(2)) == ("1 worker", "2 workers")


def test_a_worker_is_spent_by_what_it_has_served_by_its_age_or_by_its_memory() -> None:
    assert WorkerLifetime().exceeded(10**9, 10**9) == ""
    assert WorkerLifetime(requests=5).exceeded(4, 0) == ""
    assert "5 requests" in WorkerLifetime(requests=5).exceeded(5, 0)
    assert "60 s" in WorkerLifetime(lifetime=60).exceeded(0, 60.2)
    assert "MB" in WorkerLifetime(rss=1).exceeded(0, 0)
    assert WorkerLifetime(rss=1 << 50).exceeded(0, 0) == ""


def test_a_file_asks_when_it_is_touched_written_replaced_or_made_and_not_when_it_goes(tmp_path: Path) -> None:
    path, now = tmp_path / "reload", time.monotonic()
    touched = FileWatch([str(path)])

    def asks() -> bool:
        nonlocal now
        now += 1.1
        return touched.changed(now)

    assert not asks()
    path.write_text("")
    assert asks()
    assert not asks()
    os.utime(path, ns=(1, 1))
    assert asks()
    other = tmp_path / "other"
    other.write_text("")
    os.utime(other, ns=(1, 1))
    other.rename(path)
    assert asks()
    path.unlink()
    assert not asks()


def test_a_folder_stands_for_the_python_files_below_it(tmp_path: Path) -> None:
    folder, now = tmp_path / "shop", time.monotonic()
    (folder / "pages" / "deep").mkdir(parents=True)
    (folder / "venv").mkdir()
    (folder / "venv" / "pyvenv.cfg").write_text("")
    touched = FileWatch([str(folder)])

    def asks() -> bool:
        nonlocal now
        now += 1.1
        return touched.changed(now)

    assert not asks()
    for name, wanted in {
        "views.py": True,
        "pages/deep/cart.py": True,
        "shop.log": False,
        "db.sqlite3-journal": False,
        "__pycache__/views.pyc": False,
        ".git/hook.py": False,
        "venv/module.py": False,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
        assert asks() is wanted, name
        assert not asks(), name
    (folder / "views.py").write_text("longer")
    assert asks()
    (folder / "views.py").unlink()
    assert not asks()


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("*.toml", "shop.toml", True),
        ("*.toml", "shop.ini", False),
        ("*.toml", "conf/shop.toml", False),
        ("conf/*.toml", "conf/shop.toml", True),
        ("**/*.toml", "conf/deep/shop.toml", True),
        ("shop.[ti]*", "shop.ini", True),
    ],
)
def test_a_pattern_stands_for_all_that_match_it(tmp_path: Path, pattern: str, name: str, wanted: bool) -> None:  # noqa: FBT001 - the value under test
    touched = FileWatch([str(tmp_path / pattern)])
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
    assert touched.changed(1.0) is wanted
    os.utime(tmp_path / name, ns=(1, 1))
    assert touched.changed(2.1) is wanted


def test_a_name_that_looks_like_a_pattern_is_a_file_where_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "what[1].txt"
    path.write_text("")
    touched = FileWatch([str(path)])
    os.utime(path, ns=(1, 1))
    assert touched.changed(1.0)


def test_files_are_looked_at_once_a_second(tmp_path: Path) -> None:
    path = tmp_path / "reload"
    touched = FileWatch([str(path)])
    assert not touched.changed(10.0)
    path.write_text("")
    assert not touched.changed(10.5)
    assert touched.changed(11.1)


def test_a_supervisor_loads_neither_an_event_loop_nor_anything_else_that_only_workers_need() -> None:
    """What it imports stays for as long as the instance runs, and the fallback is an exec away from it."""
    heavy = ("asyncio", "uvloop", "ssl", "aiohttp", "httptools", "json", "logging", "threading", "subprocess")
    code = f"import sys, arun.lifecycle.start, arun.lifecycle.reload; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
