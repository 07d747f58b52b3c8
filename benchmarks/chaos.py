"""Whether anybody is refused or cut while an instance is reloaded, killed in parts, upgraded, and sent into its fallback.

``python benchmarks/load.py --setup`` makes the environment, ``python benchmarks/chaos.py`` runs it all; it ends with
status 1 when a client lost something that it should not have lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass

import chaos_report
import environment
import figures
import instances
from chaos_clients import Ledger, load
from chaos_report import BROKEN_RELOAD, BROKEN_START, CRASH_LOOP, KILL, RELOAD, STEADY, UPGRADE, WAY_BACK

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
_WORKERS, _CLIENTS = 2, 8
_COMMAND = "{bin}/arun {kind}_chaos.py --bind 127.0.0.1:{port} --workers %d --fallback-config welcome %s"
#: So many deaths within so many seconds are a crash loop here: single kills stay below it, a few in a row do not.
_CRASHES = "--crash-limit 3 --crash-interval 1.5"
#: Seconds between two looks at the log or at the processes.
_LOOK = 0.005


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done and how often, and how many clients there are of each of the two sorts."""

    reloads: int
    kills: int
    upgrades: int
    fallbacks: int
    clients: int

    def steps(self) -> list[tuple[str, ...]]:
        """Return all steps, in an order that is the same in every run, each with what it consists of.

        Half of the reloads are of broken code, and every other fallback finds a broken start on its way back.
        """
        steps: list[tuple[str, ...]] = [(BROKEN_RELOAD if n % 2 else RELOAD,) for n in range(self.reloads)]
        steps += [(KILL,)] * self.kills + [(UPGRADE,)] * self.upgrades
        steps += [
            (CRASH_LOOP, BROKEN_START, WAY_BACK) if n % 2 else (CRASH_LOOP, WAY_BACK) for n in range(self.fallbacks)
        ]
        return random.Random(1).sample(steps, len(steps))  # noqa: S311 - an order, no secret


def deploy(folder: str, what: str) -> None:
    """Put a deployment there, at once for whoever reads it."""
    with open(os.path.join(folder, "next"), "w", encoding="ascii") as file:
        file.write(what)
    os.replace(file.name, os.path.join(folder, "deployed"))


class Chaos:
    """One instance, and what is done to it."""

    def __init__(self, ledger: Ledger, pid: int, folder: str, log: str) -> None:
        self.ledger = ledger
        self._pid = pid
        self._folder = folder
        self._log = log
        self._deployed = 1
        self._done: dict[str, Callable[[], Awaitable[None]]] = {
            RELOAD: self._reload,
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

    async def _reload(self) -> None:
        self.deploy()
        await self._send(signal.SIGHUP, "arun: reloaded")

    async def _reload_broken(self) -> None:
        deploy(self._folder, "broken")
        await self._send(signal.SIGHUP, "reload failed (app-import-failed)")
        self.deploy()  # not what serves, but what anybody who dies from now on is replaced with

    async def _kill_one(self) -> None:
        """Kill one worker, and wait until another one answers."""
        known = self.ledger.pids.copy()
        begin = time.monotonic()
        self._kill(random.choice([pid for pid in instances.children(self._pid) if pid in known]))  # noqa: S311
        await self._until(lambda: bool(self.ledger.pids - known), "an answer of a replacement")
        await asyncio.sleep(begin + _BETWEEN_KILLS - time.monotonic())

    async def _upgrade(self) -> None:
        self.deploy()
        await self._send(signal.SIGUSR2, "arun running on")

    async def _crash(self) -> None:
        """Kill one worker and those that replace it until it is a crash loop, and wait for the fallback.

        The other worker lives on until then, and has its clients.
        """
        self.ledger.in_fallback = True
        begin = self._size()
        spared = random.choice([pid for pid in instances.children(self._pid) if pid in self.ledger.pids])  # noqa: S311

        def looped() -> bool:
            for pid in instances.children(self._pid):
                if "crash-loop: " in self._said(begin):
                    return True
                if pid != spared:
                    self._kill(pid)
            return "crash-loop: " in self._said(begin)

        await self._until(looped, "a crash loop")
        await self._until(lambda: "serving the welcome page" in self._said(begin), "the fallback")

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

    async def ready(self) -> None:
        """Wait for the first start."""
        await self._until(lambda: f"with {_WORKERS} workers" in self._said(0), "start")

    async def rest(self, children: int) -> None:
        """Wait until the supervisor has no more children than that: those that have retired are gone."""
        end = time.monotonic() + _RETIRED
        while len(instances.children(self._pid)) > children and time.monotonic() < end:  # noqa: ASYNC110 - nobody tells
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
        deploy(folder, "1")
        port, log = instances.free_port(), os.path.join(folder, "log")
        line = (_COMMAND % (_WORKERS, _CRASHES)).format(bin=bin_, kind=kind, port=port)
        with instances.started(shlex.split(f"{line} {options}"), folder, log) as (process, _):
            chaos = Chaos(ledger, process.pid, folder, log)
            await chaos.ready()
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
    return chaos_report.Results(ledger, time.monotonic() - ledger.began, before, after)


def main() -> None:
    """Read the command line, run, tell, and end with the verdict."""
    options = arguments()
    # A run that is ended ends its instance.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # Under nohup an instance would ignore it as well; a handler is not inherited.
        signal.signal(signal.SIGHUP, lambda *_: None)
    plan = Plan(options.reloads, options.kills, options.upgrades, options.fallbacks, options.clients)
    taken = {kind: asyncio.run(run(plan, kind, options.options, options.bin)) for kind in options.kinds}
    told = chaos_report.report(taken, options.bin, options.options)
    text = chaos_report.markdown(told)
    print(text)
    if options.output or (plan == Plan(100, 20, 10, 10, _CLIENTS) and not options.options):
        figures.write(told, text, options.output or environment.RESULTS, "chaos")
    sys.exit(1 if told["failed"] else 0)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=100, help="half of them of broken code (default 100)")
    parser.add_argument("--kills", type=int, default=20, help="workers killed by SIGKILL (default 20)")
    parser.add_argument("--upgrades", type=int, default=10, help="upgrades by SIGUSR2 (default 10)")
    parser.add_argument("--fallbacks", type=int, default=10, help="crash loops, each with its way back (default 10)")
    parser.add_argument("--clients", type=int, default=_CLIENTS, help=f"of each of two sorts (default {_CLIENTS})")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["asgi"], help="kinds of app (default asgi)")
    parser.add_argument("--options", default="", help="further options of arun, as one word: --options=--preload")
    parser.add_argument("--bin", type=os.path.abspath, default=environment.BIN, help="where arun is installed")
    parser.add_argument("--output", help="folder of chaos.json and chaos.md (default: results/, for a whole run)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
