"""A process of load.py that holds idle connections: ``idle.py PORT NUMBER SECONDS``.

It opens them, sends one request on each, and prints ``0`` when it has all responses, or what went wrong. For each line that it
reads it opens those anew that the server has closed, and prints how many they were; the end of its input ends it.
"""

from __future__ import annotations

import resource
import select
import socket
import sys
import time

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: How many connections are opened before the first of them must be answered: less than any server's backlog.
_AT_ONCE = 100


def main() -> None:
    """Open the connections, report, and hold them."""
    port, number, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held: list[socket.socket] = []
    try:
        fill(held, port, number, seconds)
        say("0")
        for _ in sys.stdin:
            lost = closed(held)
            held = [connection for connection in held if connection not in lost]
            for connection in lost:
                connection.close()
            fill(held, port, number, seconds)
            say(str(len(lost)))
    except OSError as failure:
        say(f"{len(held)} of {number} were answered, then {failure}")


def fill(held: list[socket.socket], port: int, number: int, seconds: float) -> None:
    """Open connections until there are as many as wanted."""
    end = time.monotonic() + seconds
    while len(held) < number:
        held += opened(port, min(_AT_ONCE, number - len(held)), end - time.monotonic())


def closed(held: list[socket.socket]) -> set[socket.socket]:
    """Return the connections that the server has closed: nothing was asked for, so nothing else can be read."""
    poll = select.poll()
    for connection in held:
        poll.register(connection, select.POLLIN | select.POLLRDHUP)
    ready = {number for number, _ in poll.poll(0)}
    return {connection for connection in held if connection.fileno() in ready}


def opened(port: int, number: int, left: float) -> list[socket.socket]:
    """Open some connections and wait for an answer on each."""
    if left <= 0:
        raise TimeoutError("the time was over")
    connections = []
    for _ in range(number):
        connection = socket.create_connection(("127.0.0.1", port), timeout=left)
        connection.sendall(_REQUEST)
        connections.append(connection)
    for connection in connections:
        answer = b""
        while not answer.endswith(b"hello"):
            data = connection.recv(4096)
            if not data:
                raise ConnectionResetError("the server closed one")
            answer += data
    return connections


def say(what: str) -> None:
    """Report to the driver."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
