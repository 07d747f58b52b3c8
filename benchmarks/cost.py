"""What a request costs an engine, without a network: connections that are driven in this process, on transports that count.

``.venv-bench/bin/python benchmarks/cost.py asgi`` prints microseconds of CPU time per request, the least and the median
of all rounds; with ``PYTHONPATH=.`` before it, of the work tree instead of the installed wheel. ``wsgi`` and ``aiohttp``
are our other engines, ``aiohttp-runner`` is aiohttp's own. Neither a client nor the kernel takes part, so the least is
steady where requests per second are not. For a figure without any noise, count instructions, with two numbers of rounds,
whose difference leaves out the start:
``valgrind --tool=callgrind --callgrind-out-file=/dev/null .venv-bench/bin/python benchmarks/cost.py asgi --rounds 2``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import time

import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_CONNECTIONS = 64
#: Seconds for one round; valgrind makes fifty of each.
_LIMIT = 120
_SHORT = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
_BROWSER = (
    _SHORT + b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
)
#: The requests that a connection sends in turn: a server may remember what comes again, and "varied" never does.
_REQUESTS = {
    "short": [_SHORT + b"\r\n"],
    "browser": [_BROWSER + b"\r\n"],
    "proxied": [_BROWSER + b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\r\n"],
    "varied": [_BROWSER + b"Cookie: session=%08x\r\n\r\n" % number for number in range(4096)],
}


class Counter(asyncio.Transport):
    """A transport that takes every byte at once and counts the answers that begin, over all transports."""

    answers = 0

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 8000)})
        self._protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count an answer when this is its first bytes."""
        if data[:5] == b"HTTP/":
            Counter.answers += 1

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Take several pieces."""
        for data in list_of_data:
            self.write(data)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that it belongs to."""
        assert self._protocol is not None  # noqa: S101 - set before it is used
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Belong to somebody else."""
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        """Nothing ever waits."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing ever waits."""

    def is_reading(self) -> bool:
        """Say that it reads."""
        return True

    def pause_reading(self) -> None:
        """Bytes come when they are given."""

    def resume_reading(self) -> None:
        """Bytes come when they are given."""

    def is_closing(self) -> bool:
        """Say that it stays open."""
        return False

    def close(self) -> None:
        """Stay open: an answer that ends its connection shows as one that never comes."""

    def abort(self) -> None:
        """Stay open."""


async def factory(kind: str, threads: int, log: str = "", *, measures: bool = False) -> Callable[[], asyncio.Protocol]:
    """Start the engine of a kind on its app that says hello, and return what makes its connections."""
    sys.path.insert(0, environment.APPS)
    from arun.http.options import HttpOptions
    from arun.lifecycle.build import http_server

    engine: Any
    access = None
    if log:
        from arun.http.access.log import access_log
        from arun.system.line_file import LineFile

        access = access_log(log, (), LineFile(os.devnull, "the access log").write)
    # the peer is trusted with forwarding headers, as one on this machine is by default
    options = HttpOptions(threads=threads, forwarded_allow_ips=("127.0.0.1",), access=access, measures=measures)
    if kind == "asgi":
        from asgi_hello import app as asgi_app

        engine = http_server("asgi", asgi_app, options)
    elif kind == "wsgi":
        from wsgi_hello import app as wsgi_app

        engine = http_server("wsgi", wsgi_app, options)
    else:
        from aiohttp_hello import app as aiohttp_app

        if kind == "aiohttp-runner":
            from aiohttp import web

            runner = web.AppRunner(aiohttp_app, access_log=None)
            await runner.setup()
            assert runner.server is not None  # noqa: S101 - it is set up
            return runner.server
        engine = http_server("aiohttp", aiohttp_app, options)
    made: Callable[[], asyncio.Protocol] = await engine.start()
    return made


async def measure(options: argparse.Namespace) -> list[float]:
    """Return the microseconds of CPU time per request of each round, in which every connection asks equally often.

    Raises:
        TimeoutError: a round took longer than two minutes: an answer did not come.
    """
    make = await factory(options.kind, options.threads, options.access_log, measures=options.measures)
    heads = itertools.cycle(_REQUESTS[options.head])
    connections = []
    for _ in range(_CONNECTIONS):
        protocol, transport = make(), Counter()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        connections.append(protocol)
    taken = []
    for _ in range(options.rounds):
        begin = time.process_time()
        async with asyncio.timeout(_LIMIT):
            for _ in range(options.requests):
                head = next(heads)
                due = Counter.answers + _CONNECTIONS
                for protocol in connections:
                    protocol.data_received(head)
                # An event would have to be set by the code that counts, and would cost more than what it waits for.
                while Counter.answers < due:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        taken.append((time.process_time() - begin) / (options.requests * _CONNECTIONS) * 1e6)
    return taken


def main() -> None:
    """Read the command line, measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("asgi", "wsgi", "aiohttp", "aiohttp-runner"))
    parser.add_argument("--threads", type=int, default=0, help="threads that run a WSGI app (default 0: none)")
    parser.add_argument("--access-log", metavar="FORMAT", default="", help="with an access log of this format")
    parser.add_argument("--measures", action="store_true", help="with what --status measures of each request")
    parser.add_argument(
        "--head", choices=tuple(_REQUESTS), default="short", help="what the requests are (default short)"
    )
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--rounds", type=int, default=15, help="how often it is measured (default 15)")
    parser.add_argument("--requests", type=int, default=20, help="requests per connection and round (default 20)")
    options = parser.parse_args()
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if options.loop == "uvloop":
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        taken = runner.run(measure(options))
    print(
        f"{options.kind}: {min(taken):.2f} µs of CPU time per request, median {statistics.median(taken):.2f}",
        flush=True,
    )
    # Connections are still open, and threads wait: nothing of that is worth an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
