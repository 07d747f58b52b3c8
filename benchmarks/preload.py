"""What --preload saves: the memory of four workers that import the app each, and of four that are forked with it.

``python benchmarks/start.py --setup`` makes the environment, ``python benchmarks/preload.py`` measures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from statistics import median

import environment
import figures
import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: The workers of each instance, the requests that they serve before they are weighed, and the seconds of rest after those.
WORKERS, REQUESTS, IDLE = 4, 400, 1.0
#: Seconds that one instance may take until all its workers serve.
LIMIT = 30.0
APPS = {"asgi_hello": "an app that responds hello", "asgi_large": "an app with 40 MB of objects of its own"}
OPTIONS: dict[str, Sequence[str]] = {"imported by each worker": (), "--preload": ("--preload",)}


@dataclass(frozen=True, slots=True)
class Sample:
    """The memory of one instance in kB, see ``instances.Memory``."""

    rss: int
    pss: int
    processes: int


def measure(app: str, options: Sequence[str], folder: str, bin_: str) -> Sample:
    """Start one instance, let it serve, weigh it, end it.

    Raises:
        SystemExit: it did not come to serve; its log is printed.
    """
    port, log = instances.free_port(), os.path.join(folder, "log")
    command = [os.path.join(bin_, "arun"), f"{app}.py", "--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}"]
    with instances.started([*command, *options], folder, log) as (process, _):
        end = time.monotonic() + LIMIT
        while f"with {WORKERS} workers" not in instances.tail(log):
            if time.monotonic() > end or process.poll() is not None:
                raise SystemExit(f"{app} does not serve\n{instances.tail(log)}")
            time.sleep(0.01)
        for _ in range(REQUESTS):
            instances.first_answer(process, port, LIMIT)
        time.sleep(IDLE)
        weight = instances.memory(process.pid)
    return Sample(weight.rss, weight.pss, weight.processes)


def run(rounds: int, bin_: str) -> dict[str, dict[str, list[Sample]]]:
    """Measure every case once per round."""
    taken: dict[str, dict[str, list[Sample]]] = {app: {way: [] for way in OPTIONS} for app in APPS}
    with tempfile.TemporaryDirectory(prefix="arun-bench-") as folder:
        shutil.copytree(environment.APPS, folder, dirs_exist_ok=True)
        for _ in range(rounds):
            for app in APPS:
                for way, options in OPTIONS.items():
                    taken[app][way].append(measure(app, options, folder, bin_))
    return taken


def report(taken: dict[str, dict[str, list[Sample]]], bin_: str) -> dict[str, Any]:
    """Return what is reported, as JSON-able values."""
    samples = {app: {way: [asdict(one) for one in rows] for way, rows in ways.items()} for app, ways in taken.items()}
    return environment.circumstances(bin_) | {"workers": WORKERS, "requests": REQUESTS, "samples": samples}


def markdown(reported: dict[str, Any], rounds: int) -> str:
    """Return the report in Markdown."""
    rows = []
    for app, ways in reported["samples"].items():
        for way, samples in ways.items():
            pss = sorted(one["pss"] / 1024 for one in samples)
            rss = median(one["rss"] / 1024 for one in samples)
            rows.append(
                [
                    APPS[app],
                    way,
                    f"{median(pss):.0f}",
                    f"{pss[0]:.0f} to {pss[-1]:.0f}",
                    f"{rss:.0f}",
                    str(samples[-1]["processes"]),
                ]
            )
    head = ["app", "workers", "PSS MB: median", "min to max", "RSS MB", "processes"]
    return "\n".join([figures.headline(reported, rounds), *figures.table(head, rows)])


def main() -> None:
    """Read the command line, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each case is measured (default 5)")
    parser.add_argument("--bin", default=environment.BIN, help="where arun is installed")
    parser.add_argument("--output", default=environment.RESULTS, help="folder of preload.json and preload.md")
    options = parser.parse_args()
    reported = report(run(options.rounds, options.bin), options.bin)
    text = markdown(reported, options.rounds)
    print(text)
    figures.write(reported, text, options.output, "preload")


if __name__ == "__main__":
    main()
