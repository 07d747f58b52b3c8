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


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to ask, again and again on 64 connections.

    ``body`` and ``answer`` are bytes of the bodies of request and answer, ``fields`` how many header fields of 500
    bytes a request carries, ``idle`` how many more connections are kept that have asked once.
    """

    name: str
    about: str
    path: str = "/"
    body: int = 0
    fields: int = 0
    answer: int = len(HELLO)
    idle: int = 0
    websocket: bool = False
    access_log: bool = False

    @property
    def request(self) -> bytes:
        """Return one whole request, like those of wrk, to see whether a server is up to it."""
        head = f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Length: {self.body}\r\n" if self.body else ""
        head += "".join(f"X-Field-{number:02}: {'v' * 486}\r\n" for number in range(self.fields))
        return f"{head}\r\n{'b' * self.body}".encode()


CASES = (
    Case("hello", "5 bytes"),
    Case("json", "1 kB of JSON", "/json", answer=len(JSON)),
    Case("echo", "100 kB of body, sent back", "/echo", body=100_000, answer=100_000),
    Case("stream", "1 MB in 16 chunks, length not announced", "/stream", answer=len(CHUNK) * CHUNKS),
    Case("headers", "10 kB of header fields, hello", fields=20),
    Case("idle-500", "hello beside 500 idle connections", idle=500),
    Case("idle-10000", "hello beside 10,000 idle connections", idle=10_000),
    Case("websocket", "text messages of 64 bytes, sent back one after the other", "/websocket", websocket=True),
    Case("access-log", "hello with an access log and without", access_log=True),
)


@dataclass(frozen=True, slots=True)
class Entrant:
    """One instance that takes part in a case."""

    label: str
    server: Server
    command: str
    idle: int = 0


def entrants(case: Case, programs: Collection[str], kinds: Collection[str]) -> list[Entrant]:
    """Return who takes part in a case; where something is kept or written, once more without it, to compare."""
    chosen = [s for s in SERVERS if s.program in programs and s.kind in kinds and _can(s, case)]
    if case.access_log:
        logging = [Entrant(f"{s.label}, access log", s, f"{s.command} {s.access_log}") for s in chosen]
        return [Entrant(s.label, s, s.command) for s in chosen] + logging
    if case.idle:
        many = {s: f"{s.command} {s.many}" for s in chosen}
        beside = [Entrant(f"{s.label}, {case.idle:,} idle", s, many[s], case.idle) for s in chosen]
        return [Entrant(s.label, s, many[s]) for s in chosen] + beside
    return [Entrant(s.label, s, s.command) for s in chosen]


def _can(server: Server, case: Case) -> bool:
    if case.websocket:
        return server.websockets
    if case.access_log:
        return bool(server.access_log)
    if case.idle:
        return server.keeps
    return server.kind != "files" or case.path in FILES
