"""A forked worker ends in its own frames: those below belong to the supervisor, whose way out ends all workers."""

from __future__ import annotations

import subprocess
import sys

FORKING = """
import os
from arun.core import exits
from arun.supervisor import forking

def run(_connection):
    raise KeyboardInterrupt("a stop signal in the last moment")

exits.arm()
above = os.getpid()
try:
    pid, line = forking.fork(run, ())
finally:
    if os.getpid() != above:
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
os._exit(0)
"""


def test_what_a_worker_raises_does_not_reach_the_frames_of_its_supervisor() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "1\n"
