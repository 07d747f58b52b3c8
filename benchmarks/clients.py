"""The clients: wrk for bursts of requests, a loop over plain sockets for websockets, and a holder of idle connections."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import environment
import websocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cases import Case

__all__ = ("CONNECTIONS", "Burst", "Idle", "burst", "holding")

CONNECTIONS = 64

#: Seconds that connections may take until all are open and answered.
_OPENING = 120.0
_HANDSHAKE = b"GET /websocket HTTP/1.1\r\nHost: localhost\r\n" + websocket.UPGRADE + b"\r\n"


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of one burst: answers, seconds, the server's CPU seconds, two percentiles of latency in ms, and failures."""

    requests: int
    seconds: float
    cpu: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True)
class Idle:
    """A process that holds connections which have asked once."""

    process: subprocess.Popen[str]

    def renew(self) -> int:
        """Open those connections anew that the server has closed; return how many they were.

        Raises:
            OSError: the server did not take or answer them within two minutes.
        """
        assert self.process.stdin is not None  # noqa: S101 - a pipe
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.printed()

    def printed(self) -> int:
        """Read what the holder says: a number, or what went wrong."""
        assert self.process.stdout is not None  # noqa: S101 - a pipe
        line = self.process.stdout.readline().strip()
        if not line.isdigit():
            raise ConnectionError(f"idle connections: {line or 'their holder ended'}")
        return int(line)


def burst(case: Case, port: int, seconds: int, cpu: Callable[[], float]) -> Burst:
    """Ask on 64 connections for some seconds, each as soon as it has its answer; ``cpu`` reads the server's clock.

    Raises:
        OSError: the server is gone, or refused a websocket.
    """
    return _messages(case.message, port, seconds, cpu) if case.message else _requests(case, port, seconds, cpu)


@contextmanager
def holding(port: int, number: int) -> Iterator[Idle]:
    """Hold idle connections, in a process of their own because of the limit of descriptors.

    Raises:
        OSError: the server did not take or answer them all within two minutes.
    """
    command = [sys.executable, os.path.join(environment.HERE, "idle.py"), str(port), str(number), str(_OPENING)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            idle = Idle(process)
            idle.printed()
            yield idle
        finally:
            process.kill()


def _requests(case: Case, port: int, seconds: int, cpu: Callable[[], float]) -> Burst:
    script = os.path.join(environment.HERE, "wrk.lua")
    url = f"http://127.0.0.1:{port}{case.path}"
    line = f"-t1 -c{CONNECTIONS} -d{seconds} --timeout 10 -s {script} {url}"
    fields = case.fields if case.keeps else (*case.fields, "Connection: close")
    words = [*line.split(), *(word for field in fields for word in ("-H", field))]
    words += ["--", str(case.body), str(int(case.proxied))]
    begin = cpu()
    asked = subprocess.run([environment.program("wrk") or "wrk", *words], capture_output=True, check=False)
    used = cpu() - begin
    if asked.returncode:
        raise ConnectionError(f"wrk: {(asked.stderr or asked.stdout).decode(errors='replace').strip()}")
    reported = json.loads(asked.stdout.splitlines()[-1])
    errors = sum(reported[kind] for kind in ("connect", "read", "write", "status", "timeout"))
    return Burst(
        reported["requests"],
        reported["microseconds"] / 1e6,
        used,
        reported["p50"] / 1000,
        reported["p99"] / 1000,
        errors,
    )


def _messages(size: int, port: int, seconds: float, cpu: Callable[[], float]) -> Burst:
    """Send a message on each connection as soon as its last one came back, and compare the bytes."""
    message, echoed = websocket.sent(size), websocket.echoed(size)
    connections = {c.fileno(): c for c in (_websocket(port) for _ in range(CONNECTIONS))}
    poll = select.epoll()
    waits: list[float] = []
    sent, came, errors = {}, {number: bytearray() for number in connections}, 0
    begin, used = time.perf_counter(), cpu()
    end = begin + seconds
    for number, connection in connections.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = time.perf_counter()
        connection.sendall(message)
    while sent and (now := time.perf_counter()) < end:
        for number, _ in poll.poll(end - now):
            data = connections[number].recv(262_144)
            came[number] += data
            if len(came[number]) == len(echoed) and came[number] == echoed:
                came[number].clear()
                now = time.perf_counter()
                waits.append(now - sent[number])
                sent[number] = now
                connections[number].sendall(message)
            elif not data or len(came[number]) >= len(echoed):
                errors += 1
                poll.unregister(number)
                del sent[number]
    taken, used = time.perf_counter() - begin, cpu() - used
    for connection in connections.values():
        connection.close()
    poll.close()
    waits.sort()
    p50, p99 = (waits[len(waits) * part // 100] * 1000 if waits else 0.0 for part in (50, 99))
    return Burst(len(waits), taken, used, p50, p99, errors)


def _websocket(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(_HANDSHAKE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := connection.recv(1)):
            break
        head += byte
    if not head.startswith(b"HTTP/1.1 101 "):
        connection.close()
        raise ConnectionError(f"no websocket: {head[:80]!r}")
    return connection
