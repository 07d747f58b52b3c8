"""A ceiling that holds: instructions per request of each kind and build, against those that are committed in ceilings.toml.

``/usr/bin/python3 benchmarks/ceiling.py`` makes its environment, counts, and ends with status 1 where a case needs more than 3 %
more instructions than its ceiling says. ``--write`` writes the figures anew, and the versions of everything that they depend on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tomllib
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cost
import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ("Counted", "differences", "judge", "rewritten")

CEILINGS = os.path.join(environment.HERE, "ceilings.toml")
BUILDS = ("pure", "compiled")
#: By how much of the ceiling a count may differ from it.
_MARGIN = 0.03
_FOLDER = os.path.join(environment.ROOT, ".venv-ceiling")
_PYTHON = os.path.join(_FOLDER, "bin", "python")


@dataclass(frozen=True, slots=True)
class Counted:
    """A case of a build: the arguments of cost.py, the instructions per request that are committed, and those counted now.

    ``failure`` says why there are none.
    """

    build: str
    case: str
    ceiling: int
    instructions: float
    failure: str = ""

    @property
    def change(self) -> float:
        """Return by how much it is more than its ceiling, as a part of that."""
        return self.instructions / self.ceiling - 1 if self.ceiling else 0.0

    def __str__(self) -> str:
        if self.failure:
            return f"{self.build:8} {self.case}: {self.failure}"
        told = f"{self.build:8} {self.case}: was {self.ceiling:,}, is {self.instructions:,.0f} instructions per request"
        return f"{told} ({self.change:+.1%})" if self.ceiling else f"{told} (no ceiling yet)"


def judge(all_counted: Iterable[Counted]) -> tuple[list[str], bool]:
    """Return what is to be told of the counts, and whether all ceilings hold."""
    lines, holds = [], True
    for counted in all_counted:
        if counted.failure:
            holds = False
            lines.append(f"FAILED     {counted}")
        elif not counted.ceiling:
            holds = False
            lines.append(f"NO FIGURE  {counted}: write it with --write")
        elif counted.change > _MARGIN:
            holds = False
            lines.append(f"ABOVE      {counted}: {_WHAT_TO_DO}")
        elif counted.change < -_MARGIN:
            lines.append(f"below      {counted}: lower the figure with --write, so that the gain stays")
        else:
            lines.append(f"holds      {counted}")
    return lines, holds


_WHAT_TO_DO = (
    "find what it is by `python benchmarks/cost.py CASE` under `valgrind --tool=callgrind`, before and after the change; "
    "if it is meant, write the figure with --write and its reason as a comment above it"
)


def differences(committed: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Return in what this machine differs from the one of the committed figures."""
    return [
        f"{name}: the figures are of {committed.get(name, 'another one')!r}, this is {here.get(name, 'another one')!r}"
        for name in {**committed, **here}
        if committed.get(name) != here.get(name)
    ]


def rewritten(text: str, machine: Mapping[str, str], all_counted: Iterable[Counted]) -> str:
    """Return the text of ceilings.toml with new figures of a machine; comments and all that was not counted stay."""
    figures = {
        (counted.build, counted.case): f"{counted.instructions:_.0f}" for counted in all_counted if not counted.failure
    }
    lines, section = [], ""
    for line in text.splitlines():
        if found := re.fullmatch(r"\[(\w+)\]\s*", line):
            section = found[1]
        elif found := re.match(r'"?([^"#=]+?)"? = ', line):
            if section == "machine":
                line = f"{found[1]} = {json.dumps(machine.get(found[1], ''))}"  # noqa: PLW2901 - its new text
            elif figure := figures.get((section, found[1])):
                line = f'"{found[1]}" = {figure}'  # noqa: PLW2901 - as above
        lines.append(line)
    return "\n".join(lines) + "\n"


def set_up(packages: Mapping[str, str]) -> None:
    """Make the environment with the packages in their versions, and install both builds of arun beside it.

    Raises:
        SystemExit: this is not the interpreter of the system.
    """
    if os.path.realpath(sys.executable) != os.path.realpath("/usr/bin/python3"):
        raise SystemExit("the same binary everywhere: /usr/bin/python3 benchmarks/ceiling.py")
    wanted = [f"{name}=={version}" for name, version in packages.items()]
    stamp = os.path.join(_FOLDER, "packages")
    if not os.path.exists(stamp) or _read(stamp) != "\n".join(wanted):
        venv.create(_FOLDER, with_pip=True, clear=True)
        _pip("install", "--no-deps", *wanted)
        with open(os.path.join(_FOLDER, ".gitignore"), "w", encoding="ascii") as ignore:
            ignore.write("*\n")
        with open(stamp, "w", encoding="ascii") as file:
            file.write("\n".join(wanted))
    for build in BUILDS:
        target = os.path.join(_FOLDER, build)
        compiles = {"ARUN_COMPILE": "1" if build == "compiled" else "0"}
        _pip(
            "install",
            "--no-deps",
            "--no-build-isolation",
            "--upgrade",
            "--target",
            target,
            environment.ROOT,
            **compiles,
        )


def _pip(*words: str, **environ: str) -> None:
    line = [_PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(line, env={**os.environ, **environ}, check=True)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def machine() -> dict[str, str]:
    """Return what the figures depend on beside the packages."""
    here = {
        "architecture": platform.machine(),
        # With the date of its build: another binary of the same version may need other instructions.
        "python": sys.version,
        "libc": platform.libc_ver()[1],
    }
    for name in ("gcc", "valgrind"):
        asked = subprocess.run([name, "--version"], check=True, capture_output=True, text=True)
        here[name] = asked.stdout.splitlines()[0]
    return here


def count(ceilings: Mapping[str, Any], cases: Iterable[str]) -> list[Counted]:
    """Count each case of each build, as many at a time as there are cores."""
    chosen = set(cases)

    def one(build: str, case: str, ceiling: int) -> Counted:
        environ = {"PYTHONPATH": os.path.join(_FOLDER, build), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            return Counted(build, case, ceiling, cost.count(_PYTHON, shlex.split(case), environ))
        except RuntimeError as failure:
            return Counted(build, case, ceiling, 0.0, str(failure))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [
            pool.submit(one, build, case, ceiling)
            for build in BUILDS
            for case, ceiling in ceilings[build].items()
            if not chosen or case in chosen
        ]
        return [one.result() for one in waiting]


def main() -> None:
    """Read the command line, count, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the figures anew")
    parser.add_argument(
        "--cases", nargs="+", default=[], metavar="CASE", help='count these alone, as "asgi --case json"'
    )
    options = parser.parse_args()
    text = _read(CEILINGS)
    ceilings = tomllib.loads(text)
    set_up(ceilings["packages"])
    here = machine()
    all_counted = count(ceilings, options.cases)
    if options.write:
        with open(CEILINGS, "w", encoding="utf-8") as file:
            file.write(rewritten(text, here, all_counted))
        print(*all_counted, sep="\n")
        return
    lines, holds = judge(all_counted)
    print("\n".join(lines))
    if different := differences(ceilings["machine"], here):
        print("This is not the machine of the figures, which may be why they differ:", *different, sep="\n  ")
    if not holds:
        raise SystemExit("benchmarks/ceilings.toml: not all ceilings hold (see above)")


if __name__ == "__main__":
    main()
