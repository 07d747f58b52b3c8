"""How fast an instance serves, and what that costs: arun beside its peers under load, in one run.

``python benchmarks/load.py --setup`` makes the environment, ``python benchmarks/load.py`` measures.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field

import clients
import environment
import figures
import instances
import load_report
from cases import CASES, FILES, entrants
from servers import NGINX, SERVERS, nginx_config, nginx_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cases import Case, Entrant

PROGRAMS = tuple(dict.fromkeys(server.program for server in SERVERS))
KINDS = tuple(dict.fromkeys(server.kind for server in SERVERS))

#: Seconds that one instance may take until it answers.
LIMIT = 30.0
#: A machine may take a core away for a whole burst: how often a silent one is repeated before the server is left out.
_TRIES = 5


class LeftOut(Exception):  # noqa: N818 - an outcome of its own: the others of the case go on
    """A server that cannot take part, and why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run happens: the servers' programs, a folder with the apps, the cores, and the seconds of a burst."""

    bin: str
    folder: str
    cores: list[int]
    seconds: int


@dataclass(slots=True)
class Instance:
    """A server that is up for the time of a case, and its samples; ``port`` is that of the proxy where one stands before it."""

    entrant: Entrant
    port: int
    pid: int
    log: str
    seconds: int
    idle: clients.Idle | None = None
    lost: int = 0
    rss_each: float = 0.0
    pss_each: float = 0.0
    samples: list[load_report.Sample] = field(default_factory=list)

    def burst(self, case: Case) -> load_report.Sample:
        """Put it under load once.

        Raises:
            LeftOut: it is gone, or does not do what the case wants.
        """
        try:
            if self.entrant.server.rests:
                os.killpg(self.pid, signal.SIGCONT)
            if self.idle:
                self.lost += self.idle.renew()
            for _ in range(_TRIES):
                found = clients.burst(case, self.port, self.seconds, lambda: instances.cpu_seconds(self.pid))
                if found.requests or found.errors:
                    break
        except OSError as failure:
            raise LeftOut(f"{failure}; {self.printed()}") from None
        finally:
            if self.entrant.server.rests:
                os.killpg(self.pid, signal.SIGSTOP)
        if not found.requests:
            raise LeftOut(f"no answer in a whole burst, {found.errors} errors; {self.printed()}")
        weight = instances.memory(self.pid)
        per_request = found.cpu / found.requests * 1e6
        return load_report.Sample(
            rate=found.requests / found.seconds,
            per_cpu=1e6 / per_request,
            cpu=per_request,
            p50=found.p50,
            p99=found.p99,
            rss=weight.rss,
            pss=weight.pss,
            errors=found.errors,
        )

    def printed(self) -> str:
        """Return the end of its log, as one line."""
        return " ".join(instances.tail(self.log).split())[-300:]

    def hold(self, ends: ExitStack) -> None:
        """Open its idle connections, and weigh what they add.

        Raises:
            LeftOut: it did not take or answer them all.
        """
        before = instances.memory(self.pid)
        try:
            self.idle = ends.enter_context(clients.holding(self.port, self.entrant.idle))
        except OSError as failure:
            raise LeftOut(f"{failure}; {self.printed()}") from None
        after = instances.memory(self.pid)
        self.rss_each = (after.rss - before.rss) * 1024 / self.entrant.idle
        self.pss_each = (after.pss - before.pss) * 1024 / self.entrant.idle


def run(case: Case, taking_part: Sequence[Entrant], rounds: int, place: Place) -> load_report.Results:
    """Start everybody, then one burst each per round, in an order of its own each time; the first round warms up."""
    left_out: dict[str, str] = {}
    up: dict[str, Instance] = {}
    with ExitStack() as ends:
        for entrant in taking_part:
            try:
                with ExitStack() as own:
                    up[entrant.label] = opened(case, entrant, place, own)
                    ends.enter_context(own.pop_all())
            except LeftOut as reason:
                left_out[entrant.label] = str(reason)
        for label, reason in left_out.items():
            sys.stderr.write(f"{case.name}: {label} is left out: {reason}\n")
        for number in range(1, rounds + 1):
            sys.stderr.write(f"{case.name}: round {number} of {rounds}\n")
            for label in random.Random(number).sample(list(up), len(up)):  # noqa: S311 - an order, no secret
                try:
                    up[label].samples.append(up[label].burst(case))
                except LeftOut as reason:
                    left_out[label] = f"in round {number}: {reason}"
                    del up[label]
        held = {
            label: load_report.Held(it.entrant.idle, it.rss_each, it.pss_each, it.lost)
            for label, it in up.items()
            if it.idle
        }
    return load_report.Results({label: instance.samples for label, instance in up.items()}, held, left_out)


def opened(case: Case, entrant: Entrant, place: Place, ends: ExitStack) -> Instance:
    """Start an instance, see that it does what the case wants, warm it up, and give it its idle connections.

    Raises:
        LeftOut: it cannot.
    """
    port = instances.free_port()
    log = os.path.join(place.folder, f"{port}.log")
    process, _ = ends.enter_context(instances.started(command(case, entrant, place, port), place.folder, log))
    try:
        # The websocket of a case is looked at by its first burst.
        answer = instances.first_answer(process, port, LIMIT, case.request if not case.message else instances.REQUEST)
    except TimeoutError as failure:
        raise LeftOut(f"{failure}; {' '.join(instances.tail(log).split())[-300:]}") from None
    if answer.status != 200 or len(answer.body) < (0 if case.message else case.answer):
        raise LeftOut(f"it answered {answer.status} with {len(answer.body)} bytes")
    instance = Instance(
        entrant, proxy(place, port, ends) if case.nginx else port, process.pid, log, max(1, place.seconds)
    )
    instance.burst(case)
    if entrant.idle:
        instance.hold(ends)
    return instance


def command(case: Case, entrant: Entrant, place: Place, port: int) -> list[str]:
    """Return the command of an instance on the first core; on all of them, where two workers are compared with one.

    Raises:
        LeftOut: its program is not installed.
    """
    nginx = environment.program("nginx")
    if entrant.server.program == "nginx":
        if nginx is None:
            raise LeftOut("nginx is not installed")
        with open(NGINX.format(folder=place.folder, port=port), "w", encoding="ascii") as config:
            config.write(nginx_config(port, place.folder, FILES))
    words = {
        "bin": place.bin,
        "folder": place.folder,
        "app": f"{entrant.server.kind}_load",
        "port": port,
        "nginx": nginx,
    }
    cores = place.cores if case.workers else place.cores[:1]
    started = [word.format(**words, pure=environment.BUILDS["pure"]) for word in shlex.split(entrant.command)]
    return ["taskset", "-c", ",".join(map(str, cores)), *started]


def proxy(place: Place, upstream: int, ends: ExitStack) -> int:
    """Start an nginx before a server, on the core of the client; return its port.

    Raises:
        LeftOut: nginx is not installed, or does not answer.
    """
    port = instances.free_port()
    config, log = NGINX.format(folder=place.folder, port=port), os.path.join(place.folder, f"{port}.log")
    if (nginx := environment.program("nginx")) is None:
        raise LeftOut("nginx is not installed")
    with open(config, "w", encoding="ascii") as file:
        file.write(nginx_proxy(port, place.folder, upstream))
    line = [nginx, "-e", "stderr", "-p", place.folder, "-c", config]
    process, _ = ends.enter_context(instances.started(line, place.folder, log))
    try:
        instances.first_answer(process, port, LIMIT)
    except TimeoutError as failure:
        raise LeftOut(f"nginx: {failure}; {instances.tail(log)}") from None
    return port


def prepare() -> list[int]:
    """Take the last core for the client, allow many descriptors, and return the first core and the last.

    Raises:
        SystemExit: the machine does not allow a run.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed, one for the servers and one for their client")
    for name in ("wrk", "taskset"):
        if environment.program(name) is None:
            raise SystemExit(f"{name} is not installed (apt-get install {'wrk' if name == 'wrk' else 'util-linux'})")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(case.idle for case in CASES) + 200
    if most < needed:
        raise SystemExit(f"{needed} descriptors are needed, {most} are allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A run that is ended ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    os.sched_setaffinity(0, {cores[-1]})
    return [cores[0], cores[-1]]


def main() -> None:
    """Read the command line, measure, and tell."""
    options = arguments()
    if options.setup:
        environment.setup(options.before)
        return
    if options.install:
        environment.install()
        return
    cores = prepare()
    programs = [program for program in options.servers if program not in options.without]
    taken = {}
    with tempfile.TemporaryDirectory(prefix="arun-bench-") as folder:
        shutil.copytree(environment.APPS, folder, dirs_exist_ok=True)
        for path, body in FILES.items():
            if path != "/":
                with open(folder + path, "wb") as file:
                    file.write(body)
        place = Place(options.bin, folder, cores, options.seconds)
        for case in CASES:
            if case.name in options.cases and (taking_part := entrants(case, programs, options.kinds)):
                taken[case] = run(case, taking_part, options.rounds, place)
    reported = load_report.report(taken, options.bin)
    text = load_report.markdown(reported)
    print(text)
    whole = (len(programs), len(options.cases), len(options.kinds)) == (len(PROGRAMS), len(CASES), len(KINDS))
    if options.output or whole:
        output = options.output or environment.RESULTS
        figures.write(reported, text, output, "load")
        plot = [os.path.join(options.bin, "python"), os.path.join(environment.HERE, "plot.py")]
        subprocess.run([*plot, *(os.path.join(output, name) for name in ("load.json", "load.svg"))], check=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--setup", action="store_true", help="make .venv-bench: the pinned peers, and arun compiled and pure"
    )
    parser.add_argument("--install", action="store_true", help="install arun of the work tree there anew, both builds")
    parser.add_argument("--before", default="", metavar="COMMIT", help="with --setup: arun of this commit as well")
    names = [case.name for case in CASES]
    parser.add_argument("--rounds", type=int, default=5, help="bursts of each server in each case (default 5)")
    parser.add_argument("--seconds", type=int, default=1, help="how long a burst lasts (default 1)")
    parser.add_argument("--cases", nargs="+", choices=names, default=names, help="measure these cases alone")
    parser.add_argument("--servers", nargs="+", choices=PROGRAMS, default=PROGRAMS, help="measure these servers alone")
    parser.add_argument("--without", nargs="+", choices=PROGRAMS, default=[], help="leave these servers out")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="serve these kinds of app alone")
    parser.add_argument("--bin", type=os.path.abspath, default=environment.BIN, help="where the servers are installed")
    parser.add_argument("--output", help="folder of load.json, .md and .svg (default: results/, for a whole run)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
