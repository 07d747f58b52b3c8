"""How long until an instance answers, and what it holds then: arun beside its peers, in one run.

``python benchmarks/start.py --setup`` makes the environment, ``python benchmarks/start.py`` measures.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass

import environment
import figures
import instances
import mending
import start_report
from servers import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that one instance may take until it answers, and that it is left alone before it is weighed.
LIMIT, IDLE = 20.0, 0.2

SERVERS = tuple(dict.fromkeys(server for server, _ in COMMANDS))

#: The status of an instance that is a fallback (Service Unavailable).
FALLBACK = 503
#: An address of no machine (RFC 5737): binding it fails at once, and no packet leaves.
NOWHERE = "192.0.2.1"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure: the command, and the answer that says it worked.

    ``way``: the instance is a fallback first, and what is measured is the time from the end of the outage until its primary
    answers.
    """

    name: str
    server: str
    command: tuple[str, ...]
    status: int = 200
    body: bytes = b"hello"
    way: str = ""


def cases(folder: str) -> list[Case]:
    """All cases; ``{bin}`` and ``{port}`` are still open in their commands, the configs lie in ``folder``."""
    found = [
        Case(f"{server} {kind}", server, tuple(line.replace("{app}", f"{kind}_hello").split()))
        for (server, kind), line in COMMANDS.items()
    ]
    page = COMMANDS["arun", "asgi"].replace("{app}", "broken") + " --fallback-config welcome"
    for build, place in environment.BUILDS.items():
        if os.path.isdir(place):
            before = f"env PYTHONPATH={place} "
            for kind in ("asgi", "wsgi", "aiohttp"):
                line = before + COMMANDS["arun", kind].replace("{app}", f"{kind}_hello")
                found.append(Case(f"build {build}: {kind}", "arun", tuple(line.split())))
            line = before + page
            found.append(Case(f"build {build}: page", "arun", tuple(line.split()), status=FALLBACK, body=b""))
    found.append(Case("arun broken -> welcome page", "arun", tuple(page.split()), status=503, body=b""))
    back = COMMANDS["arun", "asgi"].replace("{app}", "mending") + " --fallback-config welcome --recover {way}"
    for way in mending.WAYS:
        line = back.replace("{way}", way)
        found.append(Case(f"arun mended -> primary, by {way}", "arun", tuple(line.split()), way=way))
    ini = os.path.join(folder, "safe-{port}.ini")
    for server, options in (("arun", "asgi_hello.py"), ("uwsgi", "")):
        line = f"{{bin}}/{server} {options} --fallback-config {ini} --http-socket {NOWHERE}:{{port}}"
        found.append(Case(f"{server} bind failure -> fallback config", server, tuple(line.split())))
    for (server, kind), line in COMMANDS.items():
        if server != "arun":
            both = (line.replace("{app}", app) for app in ("broken", f"{kind}_hello"))
            found.append(Case(f"shell: {server} {kind} broken || good", server, ("sh", "-c", " || ".join(both))))
    return found


def measure(case: Case, folder: str, bin_: str) -> start_report.Sample:
    """Start one instance, wait for its first answer, weigh it, end it.

    Raises:
        SystemExit: it did not answer, or not as it should; its log is printed.
    """
    port = instances.free_port()
    write_fallback(folder, port)
    quoted = shlex.quote(bin_) if case.command[0] == "sh" else bin_
    command = [word.format(bin=quoted, port=port) for word in case.command]
    log = os.path.join(folder, "log")
    needed = mending.broken(case.way, folder) if case.way else 0
    with instances.started(command, folder, log) as (process, begin):
        try:
            answer = instances.first_answer(process, port, LIMIT)
            if case.way and answer.status == FALLBACK:
                with mending.mended(case.way, folder, needed) as begin:  # noqa: PLW2901 - what is measured begins here
                    answer = mending.answer_of_primary(process, port, LIMIT)
        except TimeoutError as failure:
            raise SystemExit(f"{case.name}: {failure}\n{shlex.join(command)}\n{instances.tail(log)}") from None
        if answer.status != case.status or case.body not in answer.body:
            raise SystemExit(f"{case.name}: answered {answer.status} {answer.body[:80]!r}\n{instances.tail(log)}")
        time.sleep(IDLE)
        weight = instances.memory(process.pid)
    return start_report.Sample((answer.first_byte - begin) * 1000, weight.rss, weight.pss, weight.processes)


def write_fallback(folder: str, port: int) -> None:
    """Write the config that the servers with a fallback of their own fall back to; both read the same file."""
    app = "wsgi-file = wsgi_hello.py\ncallable = app\n"
    with open(os.path.join(folder, f"safe-{port}.ini"), "w", encoding="ascii") as ini:
        ini.write(f"[uwsgi]\nhttp-socket = 127.0.0.1:{port}\n{app}")


def run(only: Sequence[str], rounds: int, bin_: str, part: str = "") -> dict[str, list[start_report.Sample]]:
    """Measure every case of these servers once per round, in an order of its own each time; the first round warms up.

    ``part``: those alone whose name contains this.
    """
    with tempfile.TemporaryDirectory(prefix="arun-bench-") as folder:
        shutil.copytree(environment.APPS, folder, dirs_exist_ok=True)
        chosen = [case for case in cases(folder) if case.server in only and part in case.name]
        taken: dict[str, list[start_report.Sample]] = {case.name: [] for case in chosen}
        for number in range(rounds + 1):
            sys.stderr.write(f"round {number} of {rounds}\n")
            for case in random.Random(number).sample(chosen, len(chosen)):  # noqa: S311 - an order, no secret
                sample = measure(case, folder, bin_)
                if number:
                    taken[case.name].append(sample)
    return taken


def main() -> None:
    """Read the command line, measure, and tell."""
    options = arguments()
    if options.setup:
        environment.setup()
        return
    servers = [server for server in options.only or SERVERS if server not in options.without]
    reported = start_report.report(run(servers, options.rounds, options.bin, options.case), options.bin)
    text = start_report.markdown(reported)
    print(text)
    if options.output or options.name or (len(servers) == len(SERVERS) and not options.case):
        figures.write(reported, text, options.output or environment.RESULTS, options.name or "start")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--setup", action="store_true", help="make .venv-bench with the pinned peers and arun as a wheel"
    )
    parser.add_argument("--rounds", type=int, default=15, help="how often each case is measured (default 15)")
    parser.add_argument("--only", nargs="+", choices=SERVERS, help="measure these servers alone")
    parser.add_argument("--without", nargs="+", choices=SERVERS, default=[], help="leave these servers out")
    parser.add_argument("--bin", default=environment.BIN, help="where the servers are installed")
    parser.add_argument("--case", default="", metavar="TEXT", help="measure the cases alone whose name contains this")
    parser.add_argument("--output", help="folder of start.json and start.md (default: results/, for a whole run)")
    parser.add_argument("--name", help="name of the two files in place of start")
    return parser.parse_args()


if __name__ == "__main__":
    main()
