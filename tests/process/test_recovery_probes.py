"""Probes that fail, hang, fork or are killed change nothing of the fallback that has started them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until
from tests.process.knocking import Knocking
from tests.process.recovering import BROKEN, below, good, started, times_back

if TYPE_CHECKING:
    from collections import Counter

    from tests.conftest import Instance, Starter

OFTEN = ("--recover-interval", "0.02", "--recover-interval-max", "0.02")
#: Many more than are made in the time of the test by themselves, so that what each leaves behind adds up.
PROBES = 20
#: KiB that resident memory may grow by: what is loaded at the first probe is there before it is measured.
_GROWTH = 1024


def count(folder: Path) -> int:
    """How many probes have come to the app."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / "probes").stat().st_size
    return 0


def wait_for_probes(folder: Path, more: int) -> None:
    wanted = count(folder) + more

    def look() -> None:
        assert count(folder) >= wanted

    until(look, AssertionError)


def mark(instance: Instance) -> list[int]:
    """The processes that belong to probes of the instance, wherever they are."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"ARUN_PROBE={instance.pid}-".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def assert_nothing_left(instance: Instance, workers: int) -> None:
    """Of probes, once there are no more of them."""

    def look() -> None:
        assert mark(instance) == []
        assert len(below(instance.pid)) == workers
        assert "Z" not in below(instance.pid).values()

    until(look, AssertionError)


@pytest.mark.parametrize("workers", [0, 2])
def test_failed_probes_leave_no_process_no_descriptor_and_no_memory(arun: Starter, workers: int) -> None:
    counts = "open('probes', 'a').write('x' if 'ARUN_PROBE' in __import__('os').environ else '')\n"
    arun.write("shop.py", counts + BROKEN)
    more = ("--workers", str(workers)) if workers else ()
    arun.write("safe.ini", f"[arun]\nbind = {arun.address}\n" + (f"workers = {workers}\n" if workers else ""))
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "safe.ini", *OFTEN, *more)
    with Knocking(instance, arun.address) as client:
        wait_for_probes(arun.folder, 5)
        client.more(20)
    before, memory = instance.holdings(), instance.rss()
    wait_for_probes(arun.folder, PROBES)
    arun.write("shop.py", "open('probes', 'a').write('x')\nimport time\ntime.sleep(100)\n")  # none runs while we look
    assert instance.rss() - memory < _GROWTH
    wait_for_probes(arun.folder, 1)
    (probe,) = [pid for pid in instance.children() if pid in mark(instance)]
    os.kill(probe, signal.SIGTERM)
    arun.write("shop.py", BROKEN)
    # A pipe and the file of a probe may be open at any moment, and nothing else.
    extra = until(lambda: _no_more(instance, before), AssertionError)
    assert not extra
    assert times_back(instance) == 0
    assert instance.stop() == 0


def _no_more(instance: Instance, before: Counter[str]) -> list[str]:
    now = instance.holdings()
    now.subtract(before)
    more = [name for name, number in now.items() if number > 0]
    assert not more, more
    return more


def test_a_probe_that_leaves_processes_behind_leaves_none(arun: Starter) -> None:
    """In sessions of their own, orphaned, and deaf to SIGTERM."""
    forks = """
import os, signal, subprocess, sys
open("probes", "a").write("x" if "ARUN_PROBE" in os.environ else "")
if "ARUN_PROBE" in os.environ:
    subprocess.Popen(["sh", "-c", "(trap '' TERM; setsid sleep 300) & setsid sleep 301 &"])
    subprocess.Popen(["setsid", "sleep", "302"])
    if not os.fork():
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork():
            os._exit(0)
        while True:
            signal.pause()
import nowhere
"""
    arun.write("shop.py", forks)
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *OFTEN)
    wait_for_probes(arun.folder, 5)
    arun.write("shop.py", good())
    instance.wait_for("arun running on", times=2)
    assert_nothing_left(instance, 0)
    assert instance.get().text == "good"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_probe_that_hangs_is_ended_when_its_app_is_mended_or_its_time_is_up(arun: Starter, workers: int) -> None:
    arun.write("shop.py", BROKEN)
    hangs = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('probes', 'a').write('x')\nwhile True: time.sleep(1)\n"
    arguments = ("--start-timeout", "1", "--fallback-config", "welcome", *OFTEN)
    form = "workers" if workers else "one"
    instance = started(arun, form, "shop.py", "--bind", "{address}", *arguments)
    with Knocking(instance, arun.address) as client:
        arun.write("shop.py", hangs)
        wait_for_probes(arun.folder, 2)
        instance.wait_for("it would fail now for another reason:\narun: start-timeout: ")
        arun.write("shop.py", good())
        client.wait_for("good")
    assert_nothing_left(instance, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_probe_that_hangs_without_a_time_limit_is_ended_when_its_app_is_mended(arun: Starter, workers: int) -> None:
    arun.write("shop.py", BROKEN)
    form = "workers" if workers else "one"
    instance = started(arun, form, "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *OFTEN)
    arun.write("shop.py", "import time\nopen('probes', 'a').write('x')\ntime.sleep(1000)\n")
    wait_for_probes(arun.folder, 1)
    arun.write("shop.py", good())
    instance.wait_for("arun running on", times=2)
    assert_nothing_left(instance, workers)


def test_sighup_ends_a_probe_that_hangs_and_tries_anew(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *OFTEN)
    arun.write("shop.py", "import time\nopen('probes', 'a').write('x')\ntime.sleep(1000)\n")
    wait_for_probes(arun.folder, 1)
    arun.write("shop.py", good())
    instance.send(signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    assert_nothing_left(instance, 0)


@pytest.mark.parametrize("whose", ["outer", "inner"])
def test_a_probe_that_is_killed_changes_nothing(arun: Starter, whose: str) -> None:
    arun.write("shop.py", BROKEN)
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *OFTEN)
    hangs = "import subprocess, time\nsubprocess.Popen(['setsid', 'sleep', '300'])\nopen('probes', 'a').write('x')\ntime.sleep(1000)\n"
    with Knocking(instance, arun.address) as client:
        for _ in range(3):
            arun.write("shop.py", hangs)
            wait_for_probes(arun.folder, 1)
            (outer,) = instance.children()
            inner = next(pid for pid in below(outer) if pid in mark(instance))
            arun.write("shop.py", BROKEN)
            os.kill(outer if whose == "outer" else inner, signal.SIGKILL)
        client.more(50)
        arun.write("shop.py", good())
        client.wait_for("good")
        assert "worker-died" in instance.failures()
    assert_nothing_left(instance, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_ends_a_probe_that_runs(arun: Starter, workers: int) -> None:
    arun.write("shop.py", BROKEN)
    form = "workers" if workers else "one"
    instance = started(arun, form, "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *OFTEN)
    arun.write("shop.py", "import time\nopen('probes', 'a').write('x')\ntime.sleep(1000)\n")
    wait_for_probes(arun.folder, 1)
    assert instance.stop() == 0

    def look() -> None:
        assert mark(instance) == []

    until(look, AssertionError)


def test_a_probe_ends_with_an_instance_that_is_killed(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *OFTEN)
    arun.write(
        "shop.py",
        "import subprocess, time\nsubprocess.Popen(['setsid', 'sleep', '300'])\nopen('probes', 'a').write('x')\ntime.sleep(1000)\n",
    )
    wait_for_probes(arun.folder, 1)
    instance.send(signal.SIGKILL)
    instance.wait()

    def look() -> None:
        assert mark(instance) == []

    until(look, AssertionError)


def test_a_file_that_changes_all_the_time_does_not_try_all_the_time(arun: Starter) -> None:
    """The app writes into its own folder while it is imported, and a module is missing that may be put there."""
    arun.write(
        "shop.py",
        "import os, tempfile\nopen('probes', 'a').write('x')\nopen(f'log-{os.getpid()}', 'w').close()\n" + BROKEN,
    )
    times = ("--recover-interval", "100", "--recover-interval-max", "100")
    instance = started(arun, "one", "shop.py", "--bind", "{address}", "--fallback-config", "welcome", *times)
    with Knocking(instance, arun.address) as client:
        client.more(1000)
    assert 2 <= count(arun.folder) <= 12


def test_files_made_beside_a_unix_socket_do_not_try_a_start_whose_app_fails(arun: Starter) -> None:
    """It may lie in /run or /tmp, where others make files all the time."""
    (arun.folder / "run").mkdir()
    broken = "import os\nopen('probes', 'a').write('x')\nopen(f'run/{os.getpid()}', 'w').close()\n1 / 0\n"
    arun.write("shop.py", broken)
    binds = ("--bind", "{address}", "--bind", f"unix:{arun.folder / 'run/sock'}")
    times = ("--recover-interval", "100", "--recover-interval-max", "100")
    instance = started(arun, "one", "shop.py", *binds, "--fallback-config", "welcome", *times)
    wait_for_probes(arun.folder, 1)
    with Knocking(instance, arun.address) as client:
        client.more(1000)
    assert count(arun.folder) == 2


def test_a_shut_down_has_a_time_of_its_own_and_spoils_no_probe(arun: Starter) -> None:
    """It takes longer than the whole start may."""
    arun.write("shop.py", BROKEN)
    often = ("--start-timeout", "1", "--timeout-graceful-shutdown", "7", "--fallback-config", "welcome", *OFTEN)
    instance = started(arun, "one", "shop.py", "--bind", "{address}", *often)
    shut_down = (
        "await receive()\n        if 'ARUN_PROBE' in __import__('os').environ: await __import__('asyncio').sleep(6.2)\n"
    )
    mended = good().replace(
        'await receive()\n        await send({"type": "lifespan.shutdown',
        f'{shut_down}        await send({{"type": "lifespan.shutdown',
    )
    assert mended != good()
    arun.write("shop.py", mended)
    instance.wait_for("arun running on", times=2)
    assert "start-timeout" not in instance.failures()
    assert instance.stop() == 0
