"""What a request costs an engine, without a network: connections that are driven in this process, on transports that count.

``python benchmarks/cost.py asgi`` prints microseconds of CPU time per request, the least and the median of all rounds, of the
arun that is installed where this interpreter is, and whether that one is compiled. ``wsgi`` and ``aiohttp`` are our other
engines, ``aiohttp-runner`` is aiohttp's own and ``uvicorn`` a peer for ASGI. Neither a client nor the kernel takes part, so the
least is steady where requests per second are not. A figure without any noise is that of ``--instructions``, which needs
valgrind: user-space instructions per request of one round, once a round has warmed it up.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import shlex
import statistics
import sys
import time

import callgrind
import environment
import instances
import websocket
from apps.answers import CHUNK, CHUNKS, JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

__all__ = ("CASES", "HEADS", "KINDS", "build", "count")

CONNECTIONS = 64
KINDS = ("asgi", "wsgi", "aiohttp", "aiohttp-runner", "uvicorn")
#: Seconds for one round; valgrind makes fifty of each.
_LIMIT = 300
#: What a read brings at most of a large body: the kernel hands it over in such pieces.
_READ = 65_536
_LONG = 86_400.0
_ADDRESS = "127.0.0.1"
_BROWSER = (
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Mode: navigate\r\n"
)
#: The fields beside Host of the requests that a connection sends in turn: none, seven of a browser, those with a cookie that
#: never comes again, those as a trusted proxy hands them on from one of 64 clients.
HEADS = {
    "short": [b""],
    "browser": [_BROWSER],
    "varied": [_BROWSER + b"Cookie: session=%08x\r\n" % number for number in range(4096)],
    "proxied": [_BROWSER + b"X-Forwarded-For: 203.0.113.%d\r\n" % number for number in range(64)],
}
#: What is asked: path and size of the body; for a websocket, after its handshake, the size of its messages.
CASES = {
    "hello": ("/", 0),
    "json": ("/json", 0),
    "echo": ("/echo", 100_000),
    "stream": ("/stream", 0),
    "websocket": ("/websocket", 10),
    "websocket-64k": ("/websocket", 65_536),
}
#: Bytes of each answer's body.
_BODIES = {"hello": 5, "json": len(JSON), "echo": 100_000, "stream": len(CHUNK) * CHUNKS}


class Transport(asyncio.Transport):
    """A transport that takes every byte at once, and counts them over all transports until as many came as are due."""

    written = due = 0
    reached: asyncio.Event

    def __init__(self) -> None:
        super().__init__({"peername": (_ADDRESS, 50_000), "sockname": (_ADDRESS, 8000)})
        self._protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count."""
        Transport.written += len(data)
        if Transport.written >= Transport.due:
            Transport.reached.set()

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


class Recorder(Transport):
    """A transport that keeps the first answer, to learn its length; all others are as long."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.whole = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.data += data
        if self.data.startswith(b"HTTP/1.1 101") or instances.complete(self.data, ended=False):
            self.whole.set()


def build() -> str:
    """Say whether the arun that is installed here is compiled or pure."""
    from arun.http.http1 import parser

    return "pure" if parser.__file__.endswith(".py") else "compiled"


async def factory(options: argparse.Namespace) -> Callable[[], asyncio.Protocol]:
    """Start the engine of a kind on its app, and return what makes its connections."""
    sys.path.insert(0, environment.APPS)
    served = "asgi" if options.kind == "uvicorn" else options.kind.partition("-")[0]
    app = getattr(__import__(f"{served}_{'hello' if options.case == 'hello' else 'load'}"), "app")  # noqa: B009 - an Any
    if options.kind == "uvicorn":
        return _uvicorn(app)
    if options.kind == "aiohttp-runner":
        from aiohttp import web

        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert runner.server is not None  # noqa: S101 - it is set up
        return runner.server
    from arun.http.options import HttpOptions
    from arun.lifecycle.build import http_server

    access = None
    if options.access_log:
        from arun.http.access.log import access_log
        from arun.system.line_file import LineFile

        access = access_log(options.access_log, (), LineFile(os.devnull, "the access log").write)
    http = http_server(
        served,
        app,
        HttpOptions(
            threads=options.threads,
            access=access,
            measures=options.measures,
            forwarded_allow_ips=(_ADDRESS,),
            keep_alive_requests=0,
            ws_ping_interval=0,
            # Under valgrind, on a loaded machine, the times of a client would be over between two requests.
            **dict.fromkeys(("timeout_keep_alive", "timeout_header", "timeout_body", "timeout_write"), _LONG),
        ),
    )
    made: Callable[[], asyncio.Protocol] = await http.start()
    return made


def _uvicorn(app: Any) -> Callable[[], asyncio.Protocol]:
    from uvicorn import Config
    from uvicorn.server import ServerState

    config = Config(app, access_log=False, log_level="critical", lifespan="off")
    config.load()
    state = ServerState()
    return lambda: config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]


def requests(case: str, head: str) -> Iterator[bytes]:
    """Return what a connection sends, one after the other and without an end."""
    path, size = CASES[case]
    if case.startswith("websocket"):
        return itertools.repeat(websocket.sent(size))
    line = f"{'POST' if size else 'GET'} {path} HTTP/1.1\r\nHost: {_ADDRESS}:8000\r\n".encode()
    length = b"Content-Length: %d\r\n" % size if size else b""
    return itertools.cycle([line + fields + length + b"\r\n" + b"b" * size for fields in HEADS[head]])


async def connected(make: Callable[[], asyncio.Protocol], case: str) -> tuple[list[Transport], int]:
    """Open all connections, ask on one of them, and on each for a websocket; return their transports and an answer's length.

    Raises:
        SystemExit: the answer is not that of the case.
        TimeoutError: it did not come within five minutes.
    """
    transports: list[Transport] = []
    for _ in range(CONNECTIONS):
        transport: Transport = Recorder() if case.startswith("websocket") or not transports else Transport()
        protocol = make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transports.append(transport)
    path, size = CASES[case]
    if case.startswith("websocket"):
        for transport in transports:
            feed(
                transport,
                b"GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (path.encode(), _ADDRESS.encode(), websocket.UPGRADE),
            )
            await _answer(transport, b"HTTP/1.1 101")
        # The recorders have done their work: from here on they count as the others do.
        for transport in transports:
            transport.__class__ = Transport
        return transports, len(websocket.echoed(size))
    first = transports[0]
    feed(first, next(requests(case, "short")))
    answer = await _answer(first, b"HTTP/1.1 200")
    if (found := len(answer.partition(b"\r\n\r\n")[2])) < _BODIES[case]:
        raise SystemExit(f"it answered with {found} bytes")
    first.__class__ = Transport
    return transports, len(answer)


async def _answer(transport: Transport, beginning: bytes) -> bytes:
    assert isinstance(transport, Recorder)  # noqa: S101 - it is asked of these alone
    async with asyncio.timeout(_LIMIT):
        await transport.whole.wait()
    if not transport.data.startswith(beginning):
        raise SystemExit(f"it answered {transport.data[:200]!r}")
    return transport.data


def feed(transport: Transport, data: bytes) -> None:
    """Hand bytes to the protocol of a transport, as uvloop does."""
    protocol: Any = transport.get_protocol()
    if isinstance(protocol, asyncio.BufferedProtocol):
        view = memoryview(data)
        while view:
            room = protocol.get_buffer(len(view))
            taken = min(len(room), len(view))
            room[:taken] = view[:taken]  # type: ignore[index] # a buffer
            protocol.buffer_updated(taken)
            view = view[taken:]
        return
    for begin in range(0, len(data), _READ):
        protocol.data_received(data[begin : begin + _READ])


async def measure(options: argparse.Namespace) -> list[float]:
    """Return the microseconds of CPU time per request of each round, in which every connection asks equally often.

    Raises:
        TimeoutError: a round took longer than five minutes: an answer did not come.
        SystemExit: an answer is not as long as the first one.
    """
    Transport.reached = asyncio.Event()
    make = await factory(options)
    transports, length = await connected(make, options.case)
    asked = requests(options.case, options.head)
    receive = [(transport, transport.get_protocol()) for transport in transports]
    plain = all(hasattr(protocol, "data_received") for _, protocol in receive) and CASES[options.case][1] < _READ

    async def ask() -> None:
        async with asyncio.timeout(_LIMIT):
            for _ in range(options.requests):
                request = next(asked)
                Transport.reached.clear()
                Transport.due = Transport.written + CONNECTIONS * length
                for transport, protocol in receive:
                    if plain:
                        protocol.data_received(request)  # type: ignore[attr-defined] # it has been looked at
                    else:
                        feed(transport, request)
                await Transport.reached.wait()
                if Transport.written != Transport.due:
                    raise SystemExit(f"answers of {length} bytes each were {Transport.written - Transport.due} longer")

    if options.marked:
        await ask()
        # Our server looks at all its connections by the clock: the slower the machine, the more looks would be counted.
        if watching := getattr(getattr(make, "__self__", None), "_watching", None):
            watching.cancel()
        callgrind.instrument()
        callgrind.mark()
        await ask()
        callgrind.mark()
        return [0.0]
    taken = []
    for _ in range(options.rounds):
        begin = time.process_time()
        await ask()
        taken.append((time.process_time() - begin) / (options.requests * CONNECTIONS) * 1e6)
    return taken


def count(python: str, words: Sequence[str], environ: Mapping[str, str]) -> float:
    """Return the user-space instructions per request of this program with these arguments and these variables.

    Raises:
        RuntimeError: it failed.
    """
    try:
        counted = callgrind.count([python, os.path.abspath(__file__), *words, "--marked"], environ)
    except RuntimeError as failure:
        raise RuntimeError(f"{shlex.join(words)}: {failure}") from None
    return counted / (arguments(words).requests * CONNECTIONS)


def main() -> None:
    """Read the command line, measure, and tell."""
    words = [word for word in sys.argv[1:] if word != "--instructions"]
    options = arguments(sys.argv[1:])
    what = f"{shlex.join(words)} ({build()})"
    if options.instructions:
        print(f"{what}: {count(sys.executable, words, {}):,.0f} instructions per request")
        return
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if options.loop == "uvloop":
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        taken = runner.run(measure(options))
    print(f"{what}: {min(taken):.2f} µs of CPU time per request, median {statistics.median(taken):.2f}", flush=True)
    # Connections are still open, and threads wait: nothing of that is worth an orderly end.
    os._exit(0)


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--case", choices=tuple(CASES), default="hello", help="what is asked (default hello)")
    parser.add_argument("--head", choices=tuple(HEADS), default="short", help="the fields of requests (default short)")
    parser.add_argument("--threads", type=int, default=0, help="threads that run a WSGI app (default 0: none)")
    parser.add_argument("--access-log", metavar="FORMAT", default="", help="with an access log of this format")
    parser.add_argument("--measures", action="store_true", help="with what --status measures of each request")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--rounds", type=int, default=15, help="how often it is measured (default 15)")
    parser.add_argument("--requests", type=int, default=20, help="requests per connection and round (default 20)")
    parser.add_argument("--instructions", action="store_true", help="count instructions instead, under valgrind")
    parser.add_argument("--marked", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
