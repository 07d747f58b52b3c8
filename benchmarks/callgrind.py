"""Instructions between two marks of a program, counted by valgrind's callgrind: exact where seconds are not.

The program calls ``instrument`` once it is warm: until then valgrind is five times as slow as a processor instead of fifty. It
calls ``mark`` at the beginning and at the end of what is counted, and ``count`` runs it.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import tempfile

import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ("count", "instrument", "mark")

#: The C function behind ``mark``: nobody else calls it.
_MARK = "getloadavg"


def instrument() -> None:
    """Let valgrind count from here on.

    Raises:
        RuntimeError: this process does not run under valgrind, or that cannot be asked.
    """
    # Valgrind looks for orders while its program runs; one that waits would have to be traced, which containers forbid.
    command = ["vgdb", f"--pid={os.getpid()}", "--max-invoke-ms=0", "instrumentation", "on"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as asked:
        while asked.poll() is None:
            pass
        assert asked.stderr is not None  # noqa: S101 - a pipe
        if asked.returncode:
            raise RuntimeError(f"vgdb: {asked.stderr.read().decode(errors='replace')}")
    # A look at all that was ever imported, which comes now and then, would fall into one count and not into the next.
    gc.collect()
    gc.freeze()


def mark() -> None:
    """Begin what is counted, or end it."""
    os.getloadavg()


def count(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Return the user-space instructions of all threads of a Python program between its two marks.

    ``environ`` are variables beside those of this process.

    Raises:
        RuntimeError: it failed, or has not marked anything.
    """
    with tempfile.TemporaryDirectory(prefix="arun-callgrind-") as folder:
        line = [environment.program("valgrind") or "valgrind", "--tool=callgrind", "--instr-atstart=no"]
        line += [f"--dump-before={_MARK}", f"--callgrind-out-file={folder}/out"]
        # A seed of its own would give sets of strings another order, and another count, in each run.
        whole = {**os.environ, "PYTHONHASHSEED": "0", **environ}
        ran = subprocess.run([*line, *command], env=whole, capture_output=True, text=True, check=False)
        dump = os.path.join(folder, "out.2")
        if ran.returncode or not os.path.exists(dump):
            raise RuntimeError((ran.stdout + ran.stderr)[-2000:])
        with open(dump, encoding="utf-8") as file:
            found = re.search(r"^totals: (\d+)", file.read(), re.MULTILINE)
    if found is None:
        raise RuntimeError("callgrind has counted nothing between the two marks")
    return int(found[1])
