"""What the tests of the way back share: apps, and fallbacks in one process, with workers, and as process 1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.process.test_process_one import may_unshare

if TYPE_CHECKING:
    from tests.conftest import Instance, Starter

__all__ = ("BROKEN", "FORMS", "TRIED", "below", "good", "started", "talkative", "times_back")

BROKEN = "import nowhere\n"
#: Serves "good"; ``{before}`` runs when it is imported, ``{startup}`` in its start-up.
GOOD = """
{before}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        {startup}
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}})
    await send({{"type": "http.response.body", "body": b"good"}})
"""
#: One process, workers, and process 1 of a namespace of its own.
FORMS = ("one", "workers", "init")
#: What is said once the first try has been made.
TRIED = "tried the first start again, 1 times so far"


def good(before: str = "", startup: str = "pass") -> str:
    return GOOD.format(before=before, startup=startup)


def started(arun: Starter, form: str, *arguments: str, **more: Any) -> Instance:
    """Start a primary that fails, and wait until its fallback serves."""
    command: list[str] = []
    if form == "init":
        if not may_unshare():
            pytest.skip("needs to make a PID namespace, as root does")
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", str(arun.command)]
    workers = ("--workers", "2") if form == "workers" else ()
    instance = arun(*arguments, *workers, command=command, **more)
    instance.wait_for("this is a fallback")
    return instance.ready()


def talkative(arun: Starter) -> tuple[str, str]:
    """A fallback that says when it has tried its primary."""
    path = arun.write("safe.ini", "[arun]\nbind = {address}\nlog-level = debug\n")
    return "--fallback-config", str(path)


def times_back(instance: Instance) -> int:
    """How often it has gone back to its primary."""
    return instance.said.count("going back to the first start")


def below(pid: int) -> dict[int, str]:
    """Pid and state of each process below one, but for workers of the fallback."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = re.findall(r"\) (\S) (\d+) ", (entry / "stat").read_text())[0]
            except (OSError, IndexError):
                continue
            if int(parent) == pid:
                found |= {int(entry.name): state, **below(int(entry.name))}
    return found
