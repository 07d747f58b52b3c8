"""The build of a wheel: the modules of the hot path are compiled by mypyc where a C compiler and Python's headers are at hand.

A hook of hatchling (https://hatch.pypa.io/latest/plugins/build-hook/custom/), and the script that it starts to compile, so that
whatever a compiler does ends that process only. The environment variable ARUN_COMPILE decides:

======= ==================================================================================
unset   compiled where that works, else pure Python, with a warning that says why
1       compiled, or the build fails
0       pure Python
======= ==================================================================================

Both are made of the same sources, which are in either wheel. Editable installations are always pure. As a script without
arguments it lists what is compiled.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from fnmatch import fnmatchcase
from glob import glob
from typing import Any

__all__ = ("Uncompilable", "compile_modules", "hindrance", "modules")

#: What is compiled, by the paths of its sources below runner/ ...
COMPILED = (
    "arun/http/*.py",
    "arun/http/access/*.py",
    "arun/http/http1/*.py",
    "arun/http/websocket/*.py",
    "arun/apps/aiohttp/exchange.py",
    "arun/apps/aiohttp/head.py",
    "arun/apps/aiohttp/message.py",
    "arun/apps/aiohttp/serving.py",
    "arun/apps/aiohttp/writer.py",
    "arun/apps/asgi/*.py",
    "arun/apps/wsgi/*.py",
    "arun/system/line_file.py",
)
#: ... but for packages, what mypyc cannot make, and what no usual request meets; tests/house/test_compiling.py says more.
INTERPRETED = (
    "*/__init__.py",
    "arun/http/detour.py",
    "arun/http/endpoints.py",
    "arun/http/errors.py",
    "arun/http/file_part.py",
    "arun/http/options.py",
    "arun/http/refusals.py",
    "arun/http/transport.py",
    "arun/apps/asgi/lifespan.py",
    "arun/apps/asgi/tls.py",
    "arun/http/websocket/deflate.py",
    "arun/http/websocket/handshake.py",
    "arun/apps/wsgi/file_reader.py",
)
#: What makes them; what another mypyc makes of them is not tested.
REQUIREMENTS = ("mypy~=2.4.1", "setuptools>=65")
#: The library that holds them all is arun__mypyc, beside the package: its modules find their own files from there. Each has a
#: small library of its own that refers to it.
GROUP = "arun"
#: Where the libraries lie, in the directory in which they are made.
_MADE = "made"
#: Lines of a compiler's that a message keeps.
_LINES = 12


class Uncompilable(Exception):  # noqa: N818 - describes a machine, or what went wrong there
    """Nothing was compiled; the text says why."""


def modules(root: str) -> list[str]:
    """Return the paths of the sources that are compiled, relative to ``root``."""
    found = sorted(path for pattern in COMPILED for path in glob(pattern, root_dir=root))
    return [path for path in found if not any(fnmatchcase(path, pattern) for pattern in INTERPRETED)]


def hindrance() -> str:
    """Return why nothing can be compiled on this machine, empty where it can: a module of a line is tried."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "only CPython with its global lock runs compiled modules"
    if sys.version_info >= (3, 12):
        # mypyc throws what is cancelled into a coroutine in a form that is deprecated there: with warnings as errors an app
        # gets another exception.
        return "compiled modules are for CPython 3.11 so far"
    headers = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(headers, "Python.h")):
        return f"Python's headers are not in {headers} (on Debian: apt-get install python3-dev)"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory(prefix="arun-compiling-") as directory:
        source = os.path.join(directory, "try.c")
        with open(source, "w", encoding="ascii") as file:
            file.write("#include <Python.h>\n")
        try:
            _run([*compiler, f"-I{headers}", "-c", source, "-o", f"{source}.o"], directory)
        except FileNotFoundError:
            return f"there is no C compiler, {compiler[0]} (on Debian: apt-get install gcc libc6-dev)"
        except (OSError, Uncompilable) as exc:
            return f"the C compiler does not work: {exc}"
    return ""


def compile_modules(root: str, target: str) -> dict[str, str]:
    """Compile a copy of the modules below ``root`` in the directory ``target``.

    Returns where each library lies, by its path in the wheel.

    Raises:
        Uncompilable: it failed, or cannot work.
    """
    if missing := hindrance():
        raise Uncompilable(missing)
    sources = os.path.join(target, "arun")
    shutil.copytree(os.path.join(root, "arun"), sources, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    _run([sys.executable, os.path.abspath(__file__), *modules(target)], target)
    made = os.path.join(target, _MADE)
    return {path: os.path.join(made, path) for path in sorted(glob("**/*.so", root_dir=made, recursive=True))}


def _run(command: list[str], directory: str) -> None:
    """Run a command in a directory.

    Raises:
        OSError: it cannot be started.
        Uncompilable: it failed; the text is what it said of that.
    """
    done = subprocess.run(  # noqa: S603 - a compiler, or this script
        command,
        cwd=directory,
        env={name: value for name, value in os.environ.items() if not name.startswith("MYPY")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = done.stdout.splitlines()
        told = "\n".join([line for line in said if "error" in line.lower()][:_LINES] or said[-_LINES:])
        raise Uncompilable(f"{os.path.basename(command[0])} ended with status {done.returncode}\n{told}".rstrip())


def _compile_here(paths: list[str]) -> None:
    """Compile modules of the working directory: what the script does."""
    from mypyc.build import mypycify
    from setuptools import setup

    # What is installed makes no difference: whatever comes from elsewhere is Any, on every machine.
    options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--explicit-package-bases"]
    extensions = mypycify([*options, *paths], opt_level="3", debug_level="0", group_name=GROUP)
    for extension in extensions:  # a newer compiler warns of more
        extension.extra_compile_args = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
    setup(name=GROUP, ext_modules=extensions, script_args=["--quiet", "build_ext", "--build-lib", _MADE])


if __name__ == "__main__":
    if sys.argv[1:]:
        _compile_here(sys.argv[1:])
    else:
        print(*modules(os.path.dirname(os.path.abspath(__file__))), sep="\n")  # noqa: T201 - a script's answer
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CompilingHook(BuildHookInterface[Any]):
        """Adds the compiled modules to a wheel."""

        #: Where the compiled modules are made; it goes with the process at the latest.
        _directory: tempfile.TemporaryDirectory[str] | None = None

        def dependencies(self) -> list[str]:
            """Return what compiling needs, if a wheel will be compiled."""
            wanted = self._wanted()
            return list(REQUIREMENTS) if wanted == "1" or (wanted != "0" and not hindrance()) else []

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Compile, if this wheel is to be; without ARUN_COMPILE=1, a failure makes it a pure one."""
            wanted = self._wanted()
            if version == "editable" or wanted == "0":
                return
            self._directory = tempfile.TemporaryDirectory(prefix="arun-compiling-")
            try:
                libraries = compile_modules(os.path.join(self.root, "runner"), self._directory.name)
            except Uncompilable as exc:
                if wanted == "1":
                    self.app.abort(f"arun is not built, as it cannot be compiled, and ARUN_COMPILE=1: {exc}")
                self.app.display_warning(f"this wheel of arun is pure Python, which is slower: {exc}")
                return
            self.app.display_info(f"this wheel of arun is compiled: {len(libraries) - 1} modules")
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"].update({made: path for path, made in libraries.items()})

        def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's
            """Remove what was made on the way."""
            if self._directory is not None:
                self._directory.cleanup()

        def _wanted(self) -> str:
            wanted = os.environ.get("ARUN_COMPILE", "")
            if wanted not in {"", "0", "1"}:
                self.app.abort(f"ARUN_COMPILE is 0, 1, or not set: not {wanted!r}")
            return wanted
