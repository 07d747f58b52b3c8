"""Where the benchmarks run: the environment of the pinned servers, the machine, and the versions of everything."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
import venv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("APPS", "BIN", "BUILDS", "HERE", "RESULTS", "ROOT", "circumstances", "program", "setup")

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
APPS = os.path.join(HERE, "apps")
RESULTS = os.path.join(HERE, "results")
ENVIRONMENT = os.path.join(ROOT, ".venv-bench")
BIN = os.path.join(ENVIRONMENT, "bin")
#: Beside the environment's own arun, which is compiled: builds of it that are found first by PYTHONPATH, the compiled one again
#: so that all three are found in the same way.
BUILDS = {name: os.path.join(ENVIRONMENT, name) for name in ("compiled", "pure", "before")}

_PACKAGES = (
    "arun-server",
    "h2corn",
    "fastpysgi",
    "uvicorn",
    "granian",
    "gunicorn",
    "hypercorn",
    "aiohttp",
    "uwsgi",
    "uvloop",
    "httptools",
    "websockets",
    "wsproto",
)
_PROGRAMS = ("nginx", "wrk")


def setup(before: str = "") -> None:
    """Make ``.venv-bench`` with the pinned peers and arun, compiled and pure; ``before`` is a commit whose arun is built as well.

    Every server runs on one interpreter, that of this program.
    """
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    with open(os.path.join(ENVIRONMENT, ".gitignore"), "w", encoding="ascii") as ignore:
        ignore.write("*\n")
    _pip("-r", os.path.join(HERE, "requirements.txt"))
    install()
    if before:
        with tempfile.TemporaryDirectory() as folder:
            archive = subprocess.run(["git", "archive", before], cwd=ROOT, check=True, capture_output=True).stdout
            subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
            _pip("--no-deps", "--target", BUILDS["before"], folder)


def install() -> None:
    """Install the arun of the work tree into ``.venv-bench`` anew, compiled and pure."""
    _pip("--force-reinstall", "--no-deps", ROOT, compiles="1")
    for name, compiles in (("compiled", "1"), ("pure", "0")):
        _pip("--upgrade", "--no-deps", "--target", BUILDS[name], ROOT, compiles=compiles)


def _pip(*words: str, compiles: str = "") -> None:
    pip = [os.path.join(BIN, "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(pip, env={**os.environ, "ARUN_COMPILE": compiles}, check=True)


def program(name: str) -> str | None:
    """Return where a program of the system is installed, also where only root looks; None if it is nowhere."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def circumstances(bin_: str) -> dict[str, Any]:
    """Return when, where and with what a run was made, as JSON-able values."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": {
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
        },
        "versions": _versions(bin_),
    }


def _versions(bin_: str) -> dict[str, str]:
    """Ask the interpreter that runs the servers, not the one that runs this."""
    code = (
        "import json, platform, sys\nfrom importlib import metadata\nfound = {'python': platform.python_version()}\n"
        "for name in sys.argv[1:]:\n    try: found[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    command = [os.path.join(bin_, "python"), "-c", code, *_PACKAGES]
    versions: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for name in _PROGRAMS:
        if path := program(name):
            # Both name themselves in the first line that they say; wrk takes the question for a wrong use of it.
            asked = subprocess.run([path, "-v"], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            versions[name] = re.findall(r"[0-9][^\s/]*", asked.stdout.decode())[0]
    return versions
