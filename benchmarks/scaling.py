"""What a second worker brings on two cores: arun beside its peers, and arun with one shared listener or one per worker.

``python benchmarks/load.py --setup`` makes the environment, ``python benchmarks/scaling.py`` measures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

import environment
import figures
import instances
import scaling_report
from servers import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds that one instance may take until it answers, and that a burst lasts.
LIMIT, BURST = 30.0, 1
#: How wrk reports the result of a burst.
_REPORT = """
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "microseconds": %d, "p99": %d, "errors": %d}\\n', summary.requests, summary.duration,
    latency:percentile(99.0), errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Entrant:
    """One way to serve: a command, or several that share a port, with what comes before each."""

    label: str
    kind: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """The load of a case: so many connections, new ones for each request or kept, maybe beside a blocked worker."""

    name: str
    about: str
    entrants: tuple[Entrant, ...]
    connections: int = 64
    keeps: bool = True
    blocks: bool = False


#: One has no workers, the other closes each connection.
_WITHOUT = {"fastpysgi", "uwsgi"}


def _peers(kind: str) -> tuple[Entrant, ...]:
    lines = {server: line for (server, its), line in COMMANDS.items() if its == kind and server not in _WITHOUT}
    if kind == "asgi":
        for server in ("uvicorn", "h2corn"):
            lines[server] += " --no-access-log"
    else:
        lines["gunicorn gthread"] = f"{lines['gunicorn']} --worker-class gthread --threads 8"
        lines["gunicorn sync"] = lines.pop("gunicorn")
    return tuple(
        Entrant(f"{server} {kind}, {workers}", kind, (f"{line} --workers {workers}",))
        for server, line in lines.items()
        for workers in (1, 2)
    )


def _listeners() -> tuple[Entrant, ...]:
    line = COMMANDS["arun", "asgi"]
    one = f"{line} --reuse-port"
    return (
        Entrant(scaling_report.SHARED, "asgi", (f"{line} --workers 2",)),
        Entrant(scaling_report.EACH, "asgi", (one, one)),
        Entrant(f"{scaling_report.SHARED}, bound", "asgi", (f"{line} --workers 2 --cpu-affinity 1",)),
        Entrant(f"{scaling_report.EACH}, bound", "asgi", (f"taskset -c 0 {one}", f"taskset -c 1 {one}")),
    )


CASES = (
    Case("asgi", "hello, 64 kept connections, one worker and two", _peers("asgi")),
    Case("wsgi", "hello, 64 kept connections, one worker and two", _peers("wsgi")),
    Case("kept-64", "64 kept connections, opened at once", _listeners()),
    Case("kept-8", "8 kept connections, opened at once", _listeners(), connections=8),
    Case("short", "64 at a time, a new connection for each request", _listeners(), keeps=False),
    Case(
        "blocked",
        "as short, beside a client whose requests hold a worker up for 0.1 s each",
        _listeners(),
        keeps=False,
        blocks=True,
    ),
)


@dataclass(slots=True)
class Instance:
    """An entrant that is up."""

    port: int
    pid: int
    folder: str

    def burst(self, case: Case) -> scaling_report.Sample:
        """Put it under load once.

        Raises:
            SystemExit: it does not answer.
        """
        before, used, client = self._counts(), self._cpu(), _client_cpu()
        with _blocking(self.port) if case.blocks else nullcontext():
            reported = self._wrk(case)
        client, used = _client_cpu() - client, self._cpu() - used
        begun = sorted((number - before.get(pid, 0) for pid, number in self._counts().items()), reverse=True)
        if not reported["requests"]:
            raise SystemExit(f"no answer in a whole burst, {reported['errors']} errors")
        seconds = reported["microseconds"] / 1e6
        return scaling_report.Sample(
            rate=reported["requests"] / seconds,
            cpu=used / reported["requests"] * 1e6,
            busy=used / seconds,
            client=client / seconds,
            p99=reported["p99"] / 1000,
            most=begun[0] / sum(begun),
            errors=reported["errors"],
        )

    def _wrk(self, case: Case) -> dict[str, int]:
        line = (
            f"-t1 -c{case.connections} -d{BURST} --timeout 10 -s {self.folder}/report.lua http://127.0.0.1:{self.port}/"
        )
        command = [environment.program("wrk") or "wrk", *line.split()]
        command += [] if case.keeps else ["-H", "Connection: close"]
        asked = subprocess.run(command, capture_output=True, check=True)
        reported: dict[str, int] = json.loads(asked.stdout.splitlines()[-1])
        return reported

    def _cpu(self) -> float:
        return instances.cpu_seconds(self.pid)

    def _counts(self) -> dict[int, int]:
        counts = {}
        for pid in instances.tree(self.pid):
            with suppress(FileNotFoundError), open(os.path.join(self.folder, f"count.{pid}"), "rb") as file:
                counts[pid] = int.from_bytes(file.read(), sys.byteorder)
        return counts


@contextmanager
def _blocking(port: int) -> Iterator[None]:
    """Hold one worker up all the time, as far as one client can."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT)
            with suppress(OSError, HTTPException):
                connection.request("GET", "/block")
                connection.getresponse().read()
            connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _client_cpu() -> float:
    """Return the CPU seconds of the clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(case: Case, rounds: int, folder: str, bin_: str) -> dict[str, list[scaling_report.Sample]]:
    """Start everybody, then one burst each per round, in an order of its own each time; a first round warms up."""
    with ExitStack() as ends:
        up = {entrant.label: opened(entrant, folder, bin_, ends) for entrant in case.entrants}
        taken: dict[str, list[scaling_report.Sample]] = {label: [] for label in up}
        for number in range(rounds + 1):
            sys.stderr.write(f"{case.name}: round {number} of {rounds}\n")
            for label in random.Random(number).sample(list(up), len(up)):  # noqa: S311 - an order, no secret
                sample = up[label].burst(case)
                if number:
                    taken[label].append(sample)
    return taken


def opened(entrant: Entrant, folder: str, bin_: str, ends: ExitStack) -> Instance:
    """Start an entrant and wait until it answers.

    Raises:
        SystemExit: it does not.
    """
    port = instances.free_port()
    log = os.path.join(folder, f"{port}.log")
    lines = [line.format(bin=shlex.quote(bin_), app=f"{entrant.kind}_scaling", port=port) for line in entrant.commands]
    # In one session, as workers are: where the kernel divides CPU time by sessions (autogroup), two would get twice as much.
    command = shlex.split(lines[0]) if len(lines) == 1 else ["sh", "-c", f"{' & '.join(lines)} & wait"]
    process, _ = ends.enter_context(instances.started(command, folder, log))
    try:
        instances.first_answer(process, port, LIMIT)
    except TimeoutError as failure:
        raise SystemExit(f"{entrant.label}: {failure}\n{instances.tail(log)}") from None
    time.sleep(1)  # the others of its workers
    return Instance(port, process.pid, folder)


def main() -> None:
    """Read the command line, measure, and tell."""
    options = arguments()
    for name in ("wrk", "taskset"):
        if environment.program(name) is None:
            raise SystemExit(f"{name} is not installed (apt-get install {'wrk' if name == 'wrk' else 'util-linux'})")
    # A run that is ended ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    taken = {}
    with tempfile.TemporaryDirectory(prefix="arun-bench-") as folder:
        shutil.copytree(environment.APPS, folder, dirs_exist_ok=True)
        with open(os.path.join(folder, "report.lua"), "w", encoding="ascii") as script:
            script.write(_REPORT)
        for case in CASES:
            if case.name in options.cases:
                taken[case.name, case.about] = run(case, options.rounds, folder, options.bin)
    reported = scaling_report.report(taken, options.bin)
    text = scaling_report.markdown(reported)
    print(text)
    if options.output or len(options.cases) == len(CASES):
        figures.write(reported, text, options.output or environment.RESULTS, "scaling")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in CASES]
    parser.add_argument("--rounds", type=int, default=15, help="bursts of each server in each case (default 15)")
    parser.add_argument("--cases", nargs="+", choices=names, default=names, help="measure these cases alone")
    parser.add_argument("--bin", type=os.path.abspath, default=environment.BIN, help="where the servers are installed")
    parser.add_argument("--output", help="folder of scaling.json and .md (default: results/, for a whole run)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
