"""What is asked of the servers under load, and which of them take part."""

from __future__ import annotations

from dataclasses import dataclass

from apps.answers import CHUNK, CHUNKS, HELLO, JSON
from servers import SERVERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from servers import Server

__all__ = ("CASES", "FILES", "Case", "Entrant", "entrants")

#: What nginx answers with, by path: the same bytes as the apps, but for the body that it cannot echo.
FILES = {"/": HELLO, "/json": JSON, "/stream": CHUNK * CHUNKS}


#: Beside Host: what a browser sends, as a proxy hands it on; wrk.lua adds X-Forwarded-For of 64 clients in turn.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Connection: keep-alive",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Mode: navigate",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to ask, again and again on 64 connections.

    ``body`` and ``answer`` are bytes of the bodies of request and answer, ``fields`` more fields of a request, ``proxied``
    whether it has an X-Forwarded-For that shall be believed. ``idle`` is how many more connections are kept that have asked
    once, ``message`` the bytes of a websocket's. ``keeps``: a connection is used again; ``workers``: one and two of them, on
    both cores; ``nginx``: a proxy stands before the server, on the client's core.
    """

    name: str
    about: str
    path: str = "/"
    body: int = 0
    fields: tuple[str, ...] = ()
    answer: int = len(HELLO)
    idle: int = 0
    message: int = 0
    proxied: bool = False
    keeps: bool = True
    workers: bool = False
    nginx: bool = False
    access_log: bool = False

    @property
    def request(self) -> bytes:
        """Return one whole request, like those of wrk, to see whether a server is up to it."""
        head = f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Length: {self.body}\r\n" if self.body else ""
        return f"{head}\r\n{'b' * self.body}".encode()


CASES = (
    Case("hello", "5 bytes"),
    Case("browser", "hello, asked with seven fields of a browser and X-Forwarded-For", fields=BROWSER, proxied=True),
    Case("json", "1 kB of JSON", "/json", answer=len(JSON)),
    Case("echo", "POST of 100 kB, sent back", "/echo", body=100_000, answer=100_000),
    Case("stream", "1 MB in 16 chunks, length not announced", "/stream", answer=len(CHUNK) * CHUNKS),
    Case("short", "hello, a new connection for each request", keeps=False),
    Case("nginx", "hello, behind nginx that keeps its connections", nginx=True),
    Case("workers", "hello, one worker and two, on both cores with their client", workers=True),
    Case("websocket", "text messages of 64 bytes, sent back one after the other", "/websocket", message=64),
    Case("websocket-64k", "text messages of 64 kB", "/websocket", message=65_536),
    Case("access-log", "hello with an access log and without", access_log=True),
    Case("idle", "hello beside 10,000 idle connections", idle=10_000),
)


@dataclass(frozen=True, slots=True)
class Entrant:
    """One instance that takes part in a case."""

    label: str
    server: Server
    command: str
    idle: int = 0


def entrants(case: Case, programs: Collection[str], kinds: Collection[str]) -> list[Entrant]:
    """Return who takes part in a case; where something is kept, written or doubled, once more without it, to compare."""
    chosen = [s for s in SERVERS if s.program in programs and s.kind in kinds and _can(s, case)]
    if case.access_log:
        logging = [Entrant(f"{s.label}, access log", s, f"{s.command} {s.access_log}") for s in chosen]
        return [Entrant(s.label, s, s.command) for s in chosen] + logging
    if case.workers:
        two = [Entrant(f"{s.label}, 2 workers", s, f"{s.command} {s.two}") for s in chosen]
        return [Entrant(s.label, s, s.command) for s in chosen] + two
    if case.idle:
        many = {s: f"{s.command} {s.many}" for s in chosen}
        beside = [Entrant(f"{s.label}, {case.idle:,} idle", s, many[s], case.idle) for s in chosen]
        return [Entrant(s.label, s, many[s]) for s in chosen] + beside
    if case.proxied or case.nginx:
        return [Entrant(s.label, s, f"{s.command} {s.trusting}".rstrip()) for s in chosen]
    return [Entrant(s.label, s, s.command) for s in chosen]


def _can(server: Server, case: Case) -> bool:
    if case.message:
        return server.websockets
    if case.access_log:
        return bool(server.access_log)
    if case.workers:
        return bool(server.two)
    if case.idle:
        return bool(server.many)
    if server.kind == "files":
        return case.path in FILES and not case.nginx
    return True
