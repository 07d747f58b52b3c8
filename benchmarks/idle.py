"""Hold idle connections: ``idle.py PORT NUMBER SECONDS``.

It opens them, asks once on each, and says ``open`` when all are answered, or what went wrong. Each line that it reads
asks how many the server has closed since then; the end of its input ends it.
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
    """Open, say so, and hold."""
    port, number, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    end = time.monotonic() + seconds
    held: list[socket.socket] = []
    try:
        while len(held) < number:
            held += opened(port, min(_AT_ONCE, number - len(held)), end - time.monotonic())
    except OSError as failure:
        say(f"{len(held)} of {number} were answered, then {failure}")
        return
    say("open")
    poll = select.poll()
    for connection in held:
        poll.register(connection, select.POLLIN | select.POLLRDHUP)
    for _ in sys.stdin:
        # Nothing more was asked for: whatever can be read is the end of a connection.
        say(str(len(poll.poll(0))))


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
    """Tell the driver."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
