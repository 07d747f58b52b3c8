"""The build of a wheel: the modules of the hot path are compiled by mypyc where a C compiler and Python's headers are at hand.

A hook of hatchling (https://hatch.pypa.io/latest/plugins/build-hook/custom/), and the script that it starts to compile, so that
whatever a compiler does ends that process only. The environment variable ARUN_COMPILE decides:

======= ==================================================================================
unset   compiled where it can be, else pure; why it is pure is a warning, and no failure
1       compiled, or the build fails
0       pure
======= ==================================================================================

The sources are the same, and stay in the wheel beside what they were compiled to. Editable installations are always pure.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from glob import glob
from typing import Any

__all__ = ("COMPILED", "CompilingHook", "Uncompilable")

#: What is compiled, by the paths of its sources below runner/, and what of it is not: mypyc knows no class that inherits from
#: an exception other than Exception, and no class that inherits from one of a library's.
COMPILED = (
    "arun/http/*.py",
    "arun/http/access/*.py",
    "arun/http/http1/*.py",
    "arun/apps/asgi/*.py",
    "arun/apps/wsgi/*.py",
    "arun/system/line_file.py",
)
INTERPRETED = (
    "*/__init__.py",
    "arun/http/errors.py",
    "arun/apps/asgi/websocket.py",
)
#: With which the modules are compiled: what a later one makes of them is not known.
REQUIREMENTS = ("mypy>=2.4.1,<2.5", "setuptools>=65")
#: Where the libraries lie, in the directory in which they are made.
_MADE = "made"
#: Lines of a compiler's that a message keeps: the last ones.
_LAST_LINES = 12


class Uncompilable(Exception):  # noqa: N818 - describes a machine, or what went wrong there
    """Nothing was compiled; the text says why."""


def modules(root: str) -> list[str]:
    """Return the paths of the sources that are compiled, below ``root``."""
    from fnmatch import fnmatchcase

    found = sorted(path for pattern in COMPILED for path in glob(pattern, root_dir=root))
    return [path for path in found if not any(fnmatchcase(path, pattern) for pattern in INTERPRETED)]


def hindrance() -> str:
    """Return what is missing on this machine, so that nothing can be compiled; empty when nothing is."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "only CPython with its global lock runs compiled modules"
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        return f"{sys.executable} has no C headers (on Debian: apt-get install python3-dev)"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if not compiler or shutil.which(compiler[0]) is None:
        return f"there is no C compiler ({' '.join(compiler)}; on Debian: apt-get install gcc libc6-dev)"
    return ""


def compile_modules(root: str, target: str) -> dict[str, str]:
    """Compile a copy of the modules below ``root`` in the directory ``target``; return where each library is that goes into the wheel.

    Raises:
        Uncompilable: it failed.
    """
    if missing := hindrance():
        raise Uncompilable(missing)
    shutil.copytree(
        os.path.join(root, "arun"), os.path.join(target, "arun"), ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MYPY")}
    done = subprocess.run(  # noqa: S603 - this script, on sources of ours
        [sys.executable, os.path.abspath(__file__), *modules(target)],
        cwd=target,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        raise Uncompilable(f"the compiler failed (status {done.returncode}), its last lines:\n{last}")
    made = os.path.join(target, _MADE)
    return {path: os.path.join(made, path) for path in sorted(glob("**/*.so", root_dir=made, recursive=True))}


def compile_here(paths: list[str]) -> None:
    """Compile modules of the working directory: what the script does."""
    from mypyc.build import mypycify
    from setuptools import setup

    # What is installed makes no difference: whatever comes from elsewhere is Any, on every machine.
    options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--explicit-package-bases"]
    extensions = mypycify([*options, *paths], opt_level="3", debug_level="0", group_name="arun")
    for extension in extensions:
        flags = [flag for flag in extension.extra_compile_args if flag != "-Werror"]  # a newer compiler warns of more
        extension.extra_compile_args = flags
    setup(name="arun", ext_modules=extensions, script_args=["--quiet", "build_ext", "--build-lib", _MADE])


if __name__ == "__main__":
    compile_here(sys.argv[1:])
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CompilingHook(BuildHookInterface[Any]):
        """Adds the compiled modules to a wheel."""

        _target = ""

        def dependencies(self) -> list[str]:
            """Return what compiling needs, if this build will compile."""
            wanted = os.environ.get("ARUN_COMPILE", "")
            return list(REQUIREMENTS) if wanted == "1" or (wanted != "0" and not hindrance()) else []

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Compile, if this build is to."""
            wanted = os.environ.get("ARUN_COMPILE", "")
            if version == "editable" or wanted == "0":
                return
            self._target = tempfile.mkdtemp(prefix="arun-compiling-")
            try:
                libraries = compile_modules(os.path.join(self.root, "runner"), self._target)
            except Uncompilable as exc:
                if wanted == "1":
                    self.finalize(version, build_data, "")
                    self.app.abort(f"ARUN_COMPILE=1, but nothing can be compiled: {exc}")
                self.app.display_warning(f"This wheel is pure Python, which is slower: {exc}")
                return
            self.app.display_success(f"{len(libraries)} libraries compiled")
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"].update({made: path for path, made in libraries.items()})

        def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's
            """Remove what was built."""
            if self._target:
                shutil.rmtree(self._target, ignore_errors=True)
