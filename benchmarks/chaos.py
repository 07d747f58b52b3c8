"""Is a client refused or cut while an instance is reloaded, moved, killed in parts, upgraded, and sent into its fallback?

And does the instance keep memory of large answers, polls and websockets that are over? ``python benchmarks/load.py
--setup`` makes the environment, ``python benchmarks/chaos.py`` runs it all; it ends with status 1 when a client lost
something that it should not have lost, or memory did not come back.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import chaos_memory
import chaos_report
import environment
import figures
import instances
from chaos_clients import Ledger, load
from chaos_report import (
    BROKEN_RELOAD,
    BROKEN_START,
    CRASH_LOOP,
    FILES_AWAY,
    KILL,
    MOVE,
    RELOAD,
    STEADY,
    UPGRADE,
    WAY_BACK,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KINDS = ("asgi", "wsgi", "aiohttp")

#: Seconds that anything that was asked of the instance may take until it says so.
_LIMIT = 60.0
#: Seconds after each thing done that still count as its consequences, and between two kills at least.
_SETTLED, _BETWEEN_KILLS = 0.4, 1.0
#: Seconds in which workers that have retired must be gone: their keep-alive timeout and what a machine may add.
_RETIRED = 20.0
#: Seconds of load alone, before and after everything.
_CALM = 2.0
#: Seconds for which the files of arun are gone, as an installation makes them for a moment.
_AWAY = 3.0
_WORKERS, _CLIENTS = 2, 8
#: The command is a copy of the installed packages, beside a script that starts them: its files can be taken away.
_SCRIPT = "from arun.__main__ import main\nmain()\n"
_PACKAGES = ("arun", "arun_welcome")
#: Single kills stay below these limits of a crash loop, a few in a row do not.
_SITE = """[arun]
app = {kind}_chaos.py
bind = {bind}
workers = {workers}
crash-limit = 3
crash-interval = 1.5
fallback-config = safe.ini
"""
#: Addresses that overlap, in turn: a fallback, a reload and an upgrade take over from one in the other.
_ADDRESSES = ("127.0.0.1:{port}", ":{port}")
#: The address of a fallback, in turn: it names none, the one of the failed start, or the other one.
_FALLBACKS = ("", "bind = 127.0.0.1:{port}\n", "bind = :{port}\n")
#: Seconds between two looks at the log or at the processes.
_LOOK = 0.005


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done and how often, and how many clients there are of each of the two sorts."""

    reloads: int
    moves: int
    kills: int
    upgrades: int
    fallbacks: int
    away: int
    clients: int
    memory: chaos_memory.Counts

    def steps(self) -> list[tuple[str, ...]]:
        """Return all steps, in an order that is the same in every run, each with what it consists of.

        Half of the reloads are of broken code, every other upgrade moves to an overlapping address as well, and every
        other fallback finds a broken start on its way back, which its probe has not seen.
        """
        steps: list[tuple[str, ...]] = [(BROKEN_RELOAD if n % 2 else RELOAD,) for n in range(self.reloads)]
        steps += [(KILL,)] * self.kills + [(UPGRADE,)] * self.upgrades
        steps += [(MOVE,)] * self.moves + [(FILES_AWAY,)] * self.away
        steps += [
            (CRASH_LOOP, BROKEN_START, WAY_BACK) if n % 2 else (CRASH_LOOP, WAY_BACK) for n in range(self.fallbacks)
        ]
        return random.Random(1).sample(steps, len(steps))  # noqa: S311 - an order, no secret


#: A whole run, the one that is committed.
WHOLE = Plan(100, 20, 20, 10, 12, 4, _CLIENTS, chaos_memory.Counts(200, 100_000, 500))


def put(folder: str, name: str, text: str) -> None:
    """Replace a file in one step, so that a reader sees the old one or the new one."""
    with open(os.path.join(folder, "next"), "w", encoding="ascii") as file:
        file.write(text)
    os.replace(file.name, os.path.join(folder, name))


def deploy(folder: str, what: str) -> None:
    """Put a deployment there."""
    put(folder, "deployed", what)


def copy_command(folder: str, bin_: str) -> list[str]:
    """Copy what is installed into the folder, and return the command that runs it there."""
    where = "import os, arun; print(os.path.dirname(os.path.dirname(arun.__file__)))"
    python = os.path.join(bin_, "python")
    site = subprocess.run([python, "-I", "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    for package in _PACKAGES:
        shutil.copytree(os.path.join(site, package), os.path.join(folder, package))
    put(folder, "start.py", _SCRIPT)
    return [python, os.path.join(folder, "start.py"), "site.ini"]


class Chaos:
    """One instance, and what is done to it."""

    def __init__(self, ledger: Ledger, kind: str, port: int, folder: str, log: str) -> None:
        self.ledger = ledger
        self._pid = 0
        self._kind = kind
        self._port = port
        self._folder = folder
        self._log = log
        self._deployed = 0
        self._addresses, self._fallbacks = itertools.cycle(_ADDRESSES), itertools.cycle(_FALLBACKS)
        self._moves_with_upgrade = itertools.cycle((False, True))
        self._done: dict[str, Callable[[], Awaitable[None]]] = {
            RELOAD: self._reload,
            MOVE: self._move,
            FILES_AWAY: self._take_files_away,
            BROKEN_RELOAD: self._reload_broken,
            KILL: self._kill_one,
            UPGRADE: self._upgrade,
            CRASH_LOOP: self._crash,
            BROKEN_START: self._start_broken,
            WAY_BACK: self._go_back,
        }

    async def take(self, step: tuple[str, ...]) -> None:
        """Do what a step consists of, one after the other, each with a moment for its consequences.

        Raises:
            SystemExit: the instance did not do it.
        """
        for part in step:
            self.ledger.begin(part)
            await self._done[part]()
            await asyncio.sleep(_SETTLED)
        self.ledger.begin(STEADY)

    def deploy(self) -> None:
        """Put the next deployment there."""
        self._deployed += 1
        deploy(self._folder, str(self._deployed))

    def configure(self) -> None:
        """Write the config of the site with the next address, which overlaps the one before."""
        bind = next(self._addresses).format(port=self._port)
        put(self._folder, "site.ini", _SITE.format(kind=self._kind, bind=bind, workers=_WORKERS))

    async def _reload(self) -> None:
        self.deploy()
        await self._send(signal.SIGHUP, "arun: reloaded")

    async def _move(self) -> None:
        self.configure()
        await self._reload()

    async def _reload_broken(self) -> None:
        deploy(self._folder, "broken")
        await self._send(signal.SIGHUP, "reload failed (app-import-failed)")
        self.deploy()  # not what serves, but what anybody who dies from now on is replaced with

    async def _kill_one(self) -> None:
        """Kill one worker, and wait until another one answers."""
        await self.rest(_WORKERS)  # one that has retired gets no replacement
        known = self.ledger.pids.copy()
        begin = time.monotonic()
        self._kill(random.choice([pid for pid in instances.children(self._pid) if pid in known]))  # noqa: S311
        await self._until(lambda: bool(self.ledger.pids - known), "answer of a replacement")
        await asyncio.sleep(begin + _BETWEEN_KILLS - time.monotonic())

    async def _take_files_away(self) -> None:
        """Take arun's files away, kill a worker, bring them back, and wait until another one answers."""
        await self.rest(_WORKERS)
        known = self.ledger.pids.copy()
        moved = [(os.path.join(self._folder, "lib", name), os.path.join(self._folder, name)) for name in _PACKAGES]
        for there, away in moved:
            os.rename(there, away)
        try:
            self._kill(random.choice([pid for pid in instances.children(self._pid) if pid in known]))  # noqa: S311
            await asyncio.sleep(_AWAY)
        finally:
            for there, away in moved:
                os.rename(away, there)
        await self._until(lambda: bool(self.ledger.pids - known), "answer of a replacement")

    async def _upgrade(self) -> None:
        if next(self._moves_with_upgrade):
            self.configure()
        self.deploy()
        await self._send(signal.SIGUSR2, "arun running on")

    async def _crash(self) -> None:
        """Kill one worker and those that replace it until it is a crash loop, and wait for the fallback.

        The other worker lives on until then, and has its clients.
        """
        await self.rest(_WORKERS)
        self.ledger.in_fallback = True
        put(self._folder, "safe.ini", "[arun]\nrecover = none\n" + next(self._fallbacks).format(port=self._port))
        begin = self._size()
        spared = random.choice([pid for pid in instances.children(self._pid) if pid in self.ledger.pids])  # noqa: S311

        def looped() -> bool:
            for pid in instances.children(self._pid):
                if "crash-loop: " in self._said(begin):
                    return True
                if pid != spared:
                    self._kill(pid)
            return "crash-loop: " in self._said(begin)

        await self._until(looped, "crash loop")
        await self._until(lambda: "serving the welcome page" in self._said(begin), "fallback")

    async def _start_broken(self) -> None:
        deploy(self._folder, "broken")
        await self._send(signal.SIGHUP, "serving the welcome page")

    async def _go_back(self) -> None:
        self.deploy()
        await self._send(signal.SIGHUP, f"with {_WORKERS} workers")
        await asyncio.sleep(_SETTLED)  # the last answers of the fallback may still be on their way
        self.ledger.in_fallback = False

    def _kill(self, pid: int) -> None:
        self.ledger.killed[pid] = time.monotonic()
        os.kill(pid, signal.SIGKILL)

    async def _send(self, number: signal.Signals, awaited: str) -> None:
        """Send the supervisor a signal and wait for what it says of it."""
        begin = self._size()
        os.kill(self._pid, number)
        await self._until(lambda: awaited in self._said(begin), f"{awaited!r}")

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _LIMIT
        while not there():
            if time.monotonic() > end:
                raise SystemExit(f"{self.ledger.activity}: no {what} within {_LIMIT:g} s\n{instances.tail(self._log)}")
            await asyncio.sleep(_LOOK)

    def _size(self) -> int:
        return os.path.getsize(self._log)

    def _said(self, begin: int) -> str:
        with open(self._log, "rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    async def ready(self, pid: int) -> None:
        """Wait for the first start, of a process that has been given everything."""
        self._pid = pid
        await self._until(lambda: f"with {_WORKERS} workers" in self._said(0), "start")

    async def rest(self, children: int) -> None:
        """Wait until the supervisor has no more children than that: those that have retired are gone."""
        end = time.monotonic() + _RETIRED
        while len(instances.children(self._pid)) > children and time.monotonic() < end:  # noqa: ASYNC110 - no event reports it
            await asyncio.sleep(_LOOK)

    def holdings(self) -> chaos_report.Holdings:
        """Return what the supervisor has now."""
        return chaos_report.Holdings(
            len(instances.children(self._pid)), len(os.listdir(f"/proc/{self._pid}/fd")), instances.rss(self._pid)
        )


async def run(plan: Plan, kind: str, options: str, bin_: str) -> chaos_report.Results:
    """Start an instance, put it under load, and do everything to it.

    Raises:
        SystemExit: it did not do what was asked of it.
    """
    ledger = Ledger()
    with tempfile.TemporaryDirectory(prefix="arun-chaos-") as folder:
        shutil.copytree(environment.APPS, folder, dirs_exist_ok=True)
        os.mkdir(os.path.join(folder, "lib"))
        port, log = instances.free_port(), os.path.join(folder, "log")
        chaos = Chaos(ledger, kind, port, folder, log)
        chaos.configure()
        chaos.deploy()
        command = [*copy_command(os.path.join(folder, "lib"), bin_), *shlex.split(options)]
        with instances.started(command, folder, log) as (process, _):
            await chaos.ready(process.pid)
            stopping = asyncio.Event()
            ledger.begin(STEADY)
            clients = asyncio.create_task(load(ledger, port, plan.clients, stopping))
            await asyncio.sleep(_CALM)
            before = chaos.holdings()
            steps = plan.steps()
            for number, step in enumerate(steps, 1):
                sys.stderr.write(f"{kind}: {number} of {len(steps)}: {', '.join(step)}\n")
                await chaos.take(step)
            await asyncio.sleep(_CALM)
            await chaos.rest(before.children)
            after = chaos.holdings()
            stopping.set()
            await clients
        seconds = time.monotonic() - ledger.began
        put(folder, "deployed", "1")
        kept = await chaos_memory.run(kind, [os.path.join(bin_, "arun"), f"{kind}_chaos.py"], folder, plan.memory)
    return chaos_report.Results(ledger, seconds, before, after, kept)


def main() -> None:
    """Read the command line, run, tell, and end with the verdict."""
    options = arguments()
    # A run that is ended ends its instance.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # Under nohup an instance would ignore it as well; a handler is not inherited.
        signal.signal(signal.SIGHUP, lambda *_: None)
    plan = Plan(
        options.reloads,
        options.moves,
        options.kills,
        options.upgrades,
        options.fallbacks,
        options.away,
        options.clients,
        chaos_memory.Counts(options.answers, options.polls, options.websockets),
    )
    taken = {kind: asyncio.run(run(plan, kind, options.options, options.bin)) for kind in options.kinds}
    reported = chaos_report.report(taken, options.bin, options.options)
    text = chaos_report.markdown(reported)
    print(text)
    if options.output or (plan == WHOLE and not options.options):
        figures.write(reported, text, options.output or environment.RESULTS, "chaos")
    sys.exit(1 if reported["failed"] else 0)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, about in (
        ("reloads", "half of them of broken code"),
        ("moves", "reloads that change the address to one that overlaps it"),
        ("kills", "workers killed by SIGKILL"),
        ("upgrades", "by SIGUSR2, every other one to an address that overlaps"),
        ("fallbacks", "crash loops, each with its way back"),
        ("away", f"times that the files of arun are gone for {_AWAY:g} s while a worker is killed"),
    ):
        number = getattr(WHOLE, name)
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{about} (default {number})")
    for name, about in (
        ("answers", "of 50 MB, after which the memory is as before"),
        ("polls", "of receive() in one request, as above"),
        ("websockets", "aborted in a message, as above"),
    ):
        number = getattr(WHOLE.memory, name)
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{about} (default {number})")
    parser.add_argument("--clients", type=int, default=_CLIENTS, help=f"of each of two sorts (default {_CLIENTS})")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["asgi"], help="kinds of app (default asgi)")
    parser.add_argument("--options", default="", help="further options of arun, as one word: --options=--preload")
    parser.add_argument("--bin", type=os.path.abspath, default=environment.BIN, help="where arun is installed")
    parser.add_argument("--output", help="folder of chaos.json and chaos.md (default: results/, for a whole run)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
