"""A forked worker ends in its own frames: those below belong to the supervisor, whose way out ends all workers."""

from __future__ import annotations

import socket
import subprocess
import sys

from arun.supervisor import forking

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


def test_an_order_to_a_loader_that_has_ended_is_the_end_of_the_connection_and_no_failure_to_fork() -> None:
    """The loader may fail between its fork and the order; why is known when it is reaped."""
    loader, end = socket.socketpair()
    end.close()
    with loader, forking.order_worker(loader, 1, 0.0) as line:
        assert line.recv(1) == b""
