"""One instance of a server under measurement: started, asked until it answers, weighed, and always ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = (
    "REQUEST",
    "Answer",
    "Memory",
    "children",
    "complete",
    "cpu_seconds",
    "first_answer",
    "free_port",
    "memory",
    "rss",
    "started",
    "tail",
    "tree",
)

#: Seconds between two attempts to connect: what a figure can be late by.
PAUSE = 0.000_3
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer and when its first byte came (``time.perf_counter`` seconds)."""

    first_byte: float
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """What a tree of processes holds, in kB: the sum of VmRSS, and of PSS (shared pages divided by their users)."""

    rss: int
    pss: int
    processes: int


@contextmanager
def started(command: Sequence[str], folder: str, log: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run the command in a session of its own; yield it with the moment before its spawn. It is killed at the end.

    The environment is that of a container: no variable of this shell reaches the server.
    """
    environ = {"PATH": os.environ["PATH"], "HOME": folder, "LANG": "C.UTF-8"}
    with open(log, "wb") as sink:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        yield process, begin
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def first_answer(process: subprocess.Popen[bytes], port: int, limit: float, request: bytes = REQUEST) -> Answer:
    """Connect and ask, again and again, until one answer is complete.

    Raises:
        TimeoutError: no answer within ``limit`` seconds, or the process is gone.
    """
    end = time.perf_counter() + limit
    while (left := end - time.perf_counter()) > 0:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=left) as connection:
                connection.sendall(request)
                return _read(connection)
        except (ConnectionError, TimeoutError):
            # Seen, not reaped: the number stays its own until it is killed with its group.
            if (ended := os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                raise TimeoutError(f"it ended with status {ended.si_status}") from None
            time.sleep(PAUSE)
    raise TimeoutError(f"no answer within {limit} s")


def memory(root: int) -> Memory:
    """Weigh a process and all its descendants."""
    pids = tree(root)
    together = sum(rss(pid) for pid in pids)
    return Memory(together, sum(_kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids), len(pids))


def rss(pid: int) -> int:
    """Return the kB of resident memory of one process."""
    return _kilobytes(f"/proc/{pid}/status", "VmRSS:")


def cpu_seconds(root: int) -> float:
    """Return the CPU time, in seconds with all their digits, that a process and its living descendants have used.

    It counts each of their threads, also those that have ended, user and system time together: what the kernel shows in
    hundredths as utime and stime of /proc/PID/stat. The clock of another process has the number that glibc's
    clock_getcpuclockid(3) computes.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in tree(root))


def tree(root: int) -> list[int]:
    """Return a process and all its living descendants, children before grandchildren."""
    found = [root]
    for pid in found:
        found += children(pid)
    return found


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies included."""
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        # A thread of a pool may end between the two looks; one that has ended has no children.
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/task/{task}/children") as listed:
            found += map(int, listed.read().split())
    return found


def tail(path: str) -> str:
    """Return the last two thousand characters of a log."""
    with open(path, encoding="utf-8", errors="replace") as log:
        return log.read()[-2000:]


def free_port() -> int:
    """Return a port that is free; a fresh one each time keeps the instances out of each other's way."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _read(connection: socket.socket) -> Answer:
    data = connection.recv(65_536)
    first_byte, ended = time.perf_counter(), not data
    while not complete(data, ended):
        if ended:
            raise ConnectionResetError("the answer broke off")
        more = connection.recv(65_536)
        data, ended = data + more, not more
    head, _, body = data.partition(b"\r\n\r\n")
    return Answer(first_byte, int(head.split(None, 2)[1]), body)


def complete(data: bytes, ended: bool) -> bool:  # noqa: FBT001 - a fact about the connection, not a mode
    """Say whether an answer is whole: by its length, its last chunk, or the end of the connection if it has neither."""
    head, blank, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"content-length" in fields:
        return bool(blank) and len(body) >= int(fields[b"content-length"])
    if b"transfer-encoding" in fields:
        return bool(blank) and body.endswith(b"0\r\n\r\n")
    return bool(blank) and ended


def _kilobytes(path: str, field: str) -> int:
    # A process may end between two looks; one that has ended holds nothing.
    with suppress(FileNotFoundError, ProcessLookupError), open(path, encoding="ascii") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
    return 0
