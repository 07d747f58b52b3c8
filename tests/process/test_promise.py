"""The promise: no client is refused, nothing is left behind, and a process can fall back for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.process.conftest import Instance, Starter

#: What a start imports from elsewhere.
NEEDED = ("arun", "arun_welcome", "uvloop", "httptools")
#: An id that owns nothing.
STRANGER = 65_534

SLOWLY_BROKEN = """
import time
time.sleep(0.3)  # long enough for clients to come while the start is under way
raise RuntimeError("no")
"""


async def one_request(host: str, port: int) -> bytes | None:
    """Ask once and return the whole answer, None when the connection is refused."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return None
    writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def ask_every_millisecond(
    instance: Instance, served: str, *, requests_after: int
) -> tuple[list[bytes | None], list[int]]:
    """Send requests until ``served`` was written and ``requests_after`` more requests have begun.

    Returns the answers in order of asking, and how many fallbacks there had been when each was asked for.
    """
    host, _, port = instance.address.rpartition(":")
    asked: list[asyncio.Task[bytes | None]] = []
    fallbacks: list[int] = []
    rest = requests_after
    async with asyncio.timeout(60):
        while rest:
            fallbacks.append(len(instance.fallbacks()))
            asked.append(asyncio.create_task(one_request(host, int(port))))
            await asyncio.sleep(0.001)
            rest -= served in instance.said
        return list(await asyncio.gather(*asked)), fallbacks


@pytest.mark.parametrize("levels", [1, 3])
async def test_a_client_that_connects_every_millisecond_is_never_refused_and_always_answered(
    arun: Starter, levels: int
) -> None:
    arun.write("broken.py", SLOWLY_BROKEN)
    for level in range(1, levels):
        arun.write(f"{level}.ini", f"[arun]\nbind = {{address}}\napp = broken.py\nfallback-config = {level + 1}.ini\n")
    arun.write(f"{levels}.ini", "[arun]\nbind = {address}\n")

    instance = arun("broken.py", "--bind", "{address}", "--fallback-config", "1.ini")
    answers, fallbacks = await ask_every_millisecond(instance, "arun running on", requests_after=300 * levels)

    accepted = next(place for place, answer in enumerate(answers) if answer is not None)
    refused = [place for place, answer in enumerate(answers[accepted:]) if answer is None]
    assert not refused
    assert all(answer is not None and answer.startswith(b"HTTP/1.1 503 ") for answer in answers[accepted:])
    assert all(answer is not None and b"temporarily unavailable" in answer for answer in answers[accepted:])
    assert set(fallbacks[accepted:]) == set(range(levels + 1)), "there were requests in each of the starts"
    assert len(answers) - accepted > 300 * levels
    assert instance.said.count("!!! Fallback config to") == levels


def test_clients_of_an_early_listener_wait_while_the_app_loads_and_are_answered_by_it(arun: Starter) -> None:
    arun.write(
        "slow.py",
        """
import sys
sys.stdin.read()  # until the test says so

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
""",
    )
    reading, writing = os.pipe()
    instance = arun("slow.py", "--bind", "{address}", stdin=reading)
    os.close(reading)
    with instance.connect() as waiting, waiting.makefile("rb") as answer:
        waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
        os.close(writing)
        assert answer.read().endswith(b"\r\n\r\nok")


CHAIN = 1000


@pytest.mark.timeout(1000)
def test_a_thousand_fallbacks_of_one_process_leave_nothing_behind(arun: Starter) -> None:
    """No descriptor, no child, no zombie, no growth: the last of a thousand is like the first."""
    for level in range(1, CHAIN):
        arun.write(
            f"{level}.ini",
            f"[arun]\nbind = {{address}}\napp = missing.py\nfallback-config = {level + 1}.ini\nfallback-limit = {CHAIN}\n",
        )
    arun.write(f"{CHAIN}.ini", "[arun]\nbind = {address}\n")

    after_one = arun("missing.py", "--bind", "{address}", "--fallback-config", f"{CHAIN}.ini", measured=False).ready()
    held = after_one.holdings()  # before a request: afterwards its connection may still be closing
    assert after_one.get().status == 503
    memory = after_one.rss()
    assert after_one.stop() == 0

    arguments = ("--bind", "{address}", "--fallback-config", "1.ini", "--fallback-limit", str(CHAIN))
    after_all = arun("missing.py", *arguments, measured=False)
    after_all.wait_for("arun running on", patience=900)
    assert after_all.said.count("!!! Fallback config to") == CHAIN
    assert after_all.said.count(f"(pid: {after_all.pid}) exited with status 1") == CHAIN
    assert after_all.holdings() == held
    assert after_all.get().status == 503
    assert after_all.children() == []
    assert after_all.rss() < memory * 1.1 + 1024
    assert after_all.stop() == 0


def test_the_successor_still_starts_when_the_interpreter_was_replaced(arun: Starter) -> None:
    """An upgrade may remove the file that runs; the kernel still has it."""
    arun.write("broken.py", "import os, sys\nos.unlink(sys.executable)\nraise RuntimeError\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "v"], cwd=arun.folder, check=True)
    paths = {str(Path(spec.origin).parents[1]) for name in NEEDED if (spec := find_spec(name)) and spec.origin}
    next(arun.folder.glob("v/lib/*/site-packages")).joinpath("ours.pth").write_text("\n".join(paths))
    python = str(arun.folder / "v" / "bin" / "python")

    arguments = ("-m", "arun", "broken.py", "--bind", "{address}", "--fallback-config", "welcome")
    instance = arun(*arguments, command=(python,), measured=False).ready()
    assert not Path(python).exists()
    assert instance.get().status == 503
    assert instance.argv()[:3] == [python, "-m", "arun"]
    assert "exec-failed" not in instance.said


def test_a_refused_exec_is_answered_by_the_same_process_and_said(public_arun: Starter) -> None:
    public_arun.write("broken.py", "import os\nos.chmod('safe.ini', 0)\nraise RuntimeError\n")
    public_arun.write("safe.ini", "[arun]\n")
    public_arun.folder.chmod(0o777)
    os.chown(public_arun.folder / "safe.ini", STRANGER, STRANGER)
    arguments = ("broken.py", "--uid", str(STRANGER), "--bind", "{address}", "--fallback-config", "safe.ini")

    instance = public_arun(*arguments, measured=False).ready()
    assert instance.failures() == ["app-import-failed", "exec-failed"]
    assert f"this process (pid: {instance.pid}) serves the welcome page itself" in instance.said
    assert instance.argv()[-1] == "safe.ini"
    instance.send(signal.SIGHUP)  # there is no way back for a process that may not exec
    instance.wait_for("SIGHUP changes nothing here")
    assert instance.get().status == 503
    assert instance.stop() == 0


def test_sigterm_lost_nowhere_between_failure_and_successor(arun: Starter) -> None:
    """At whatever moment of a fallback the signal comes, the process ends with status 0, soon."""
    arun.write("broken.py", "raise RuntimeError\n")
    for moment in range(25):
        instance = arun("broken.py", "--bind", "{address}", "--fallback-config", "welcome")
        instance.wait_for("exited with status 1")
        for _ in range(moment * 400):
            os.getpid()  # a little later at each round, across the exec and the successor's first steps
        instance.send(signal.SIGTERM)
        assert instance.wait() == 0, instance.said
