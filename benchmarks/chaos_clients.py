"""The clients of chaos.py: a steady load without any retry, and the ledger of what came of every request."""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import dataclass, field

__all__ = ("ANSWERED", "FAULTS", "KILLED", "PAGE", "Fault", "Ledger", "load")

#: What may become of a request. ``lost`` is one without a byte of an answer, ``cut`` one with a part of it.
ANSWERED, REFUSED, LOST, CUT, WRONG, OVERLONG, KILLED, PAGE = (
    "answered",
    "refused",
    "lost",
    "cut",
    "wrong",
    "overlong",
    "killed",
    "page",
)
#: Those that nothing excuses. ``killed`` is a lost or cut answer of a worker that was killed while it had the request.
#: ``page`` is counted beside ``answered``: the answer was the page of the fallback.
FAULTS = (REFUSED, LOST, CUT, WRONG, OVERLONG)

#: Seconds that a request may take, the waiting for a fallback that is being started included.
DEADLINE = 10.0
#: Seconds between two requests of a client at most: so often that no keep-alive timeout (5 s) ever meets a request on
#: its way. They are drawn, and each client begins elsewhere in the sequence, so that the clients do not march in step.
_PAUSE = 0.01
#: What a client asks for in turn: a path, and whether it uploads something.
_SEQUENCE = (("/", False),) * 6 + (("/slow", False), ("/", True))
#: Bytes of an upload, and seconds in which its second half follows.
_UPLOAD, _HALF_TIME = 20_000, 0.03
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
#: Deployment, pid, and bytes received; what follows is known, and is long enough to be cut.
_BODY = re.compile(rb"([0-9]+) ([0-9]+) ([0-9]+) ")
_FILLER = b"0123456789abcdef" * 1024
#: How often an answer repeats that, by its path; otherwise once.
REPEATED = {"/large": 512}
#: Bytes that a client reads at once; and the seconds between two reads of one that is slow: it takes 8 MB in a second.
_READ, _SLOW_PAUSE = 65_536, 0.008
#: Bytes that the head of an answer has at most.
_LONGEST_HEAD = 4096
#: Slow clients for each one of the other two sorts, of which there are a few.
_SLOW_SHARE = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that was not answered as it should be: when (seconds of the run), what it was, and what was going on."""

    when: float
    what: str
    client: str
    activity: str
    began_in: str
    detail: str


@dataclass(slots=True)
class Ledger:
    """What was going on, and what came of the requests in the meantime.

    A request belongs to the activity in which it ended: that is what was done to it.
    """

    began: float = field(default_factory=time.monotonic)
    activity: str = ""
    #: The page of the fallback is an answer now.
    in_fallback: bool = False
    #: When workers were killed, by their pids; and the last such moment.
    killed: dict[int, float] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Seconds from the beginning of a connection or request to the first byte of the answer.
    waits: dict[str, list[float]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    #: The kept connections that were closed between two requests, which is how they may end.
    closed: dict[str, int] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)

    #: How often each activity has begun.
    times: dict[str, int] = field(default_factory=dict)

    def begin(self, activity: str) -> None:
        """Say what goes on from now on."""
        self.activity = activity
        self.times[activity] = self.times.get(activity, 0) + 1

    def note(self, what: str, number: int = 1) -> None:
        """Count an outcome."""
        row = self.counts.setdefault(self.activity, {})
        row[what] = row.get(what, 0) + number

    def fault(self, what: str, client: str, began_in: str, detail: str) -> None:
        """Count and date a fault."""
        self.note(what)
        self.faults.append(Fault(time.monotonic() - self.began, what, client, self.activity, began_in, detail))

    def answered(self, waited: float) -> None:
        """Count an answer and how long it was waited for."""
        self.note(ANSWERED)
        self.waits.setdefault(self.activity, []).append(waited)

    def was_killed(self, pid: int, began: float) -> bool:
        """Say whether a request can have been in the hands of a worker that was killed.

        Of a connection that has had an answer the worker is known. A new one can have been taken in by the killed worker
        only if it was there before the kill: later ones wait in the backlog, which survives.
        """
        return pid in self.killed if pid else any(began <= moment for moment in self.killed.values())


class Client:
    """One client: it asks, waits, and asks again, on one kept connection or on a new one each time."""

    _sequence = _SEQUENCE

    def __init__(self, ledger: Ledger, port: int, name: str, *, keeps: bool) -> None:
        self._ledger = ledger
        self._port = port
        self._name = name
        self._keeps = keeps
        self._chance = random.Random(name)  # noqa: S311 - pauses, no secret
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        #: The pid of the worker that responded on this connection; 0 before a response.
        self._pid = 0
        self._got = bytearray()

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask until it is enough."""
        number = self._chance.randrange(len(self._sequence))
        while not stopping.is_set():
            path, uploads = self._sequence[number % len(self._sequence)]
            await self._ask(path, _UPLOAD if uploads else 0)
            number += 1
            await asyncio.sleep(self._chance.uniform(0, _PAUSE))
        self._close()

    async def _ask(self, path: str, upload: int) -> None:
        """Send one request and judge what comes of it."""
        ledger, began, began_in = self._ledger, time.monotonic(), self._ledger.activity
        if self._reader is not None and self._reader.at_eof():
            ledger.closed[began_in] = ledger.closed.get(began_in, 0) + 1
            self._close()
        is_kept = self._reader is not None
        self._got, what = bytearray(), ""
        try:
            async with asyncio.timeout(DEADLINE):
                await self._exchange(path, upload, began)
        except TimeoutError:
            what, detail = OVERLONG, f"no whole answer within {DEADLINE:g} s"
        except ConnectionRefusedError as error:
            what, detail = REFUSED, str(error)
        except OSError as error:
            what, detail = CUT if self._got else LOST, str(error) or type(error).__name__
        except ValueError as error:
            what, detail = WRONG, str(error)
        if what:
            if what in {LOST, CUT} and ledger.was_killed(self._pid, began):
                what = KILLED
            where = f"{self._name} {path}{' with a body' if upload else ''}, {'kept' if is_kept else 'new'} connection"
            after = f"after {time.monotonic() - began:.3f} s, {len(self._got)} bytes, worker {self._pid or 'unknown'}"
            ledger.fault(what, where, began_in, f"{detail} ({after})")
        if what or not self._keeps:
            self._close()

    async def _exchange(self, path: str, upload: int, began: float) -> None:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"{'POST' if upload else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Length: {upload}\r\n" if upload else ""
        head += "" if self._keeps else "Connection: close\r\n"
        half = b"b" * (upload // 2)
        self._writer.write(head.encode() + b"\r\n" + half)
        if upload:
            await asyncio.sleep(_HALF_TIME)
            self._writer.write(half)
            began += _HALF_TIME
        status, waited = await self._answer(self._reader, path, upload, began)
        self._ledger.answered(waited)
        if status == 503:
            self._ledger.note(PAGE)
        if _CLOSES.search(self._got, 0, _LONGEST_HEAD):
            self._close()

    async def _answer(self, reader: asyncio.StreamReader, path: str, sent: int, began: float) -> tuple[int, float]:
        """Read an answer and compare it; return its status, and the seconds to its first byte.

        Raises:
            ConnectionError: it broke off.
            ValueError: it is another one.
        """
        self._got += await self._more(reader)
        waited = time.monotonic() - began
        while (end := self._got.find(b"\r\n\r\n") + 4) < 4:
            self._got += await self._more(reader)
        head = bytes(self._got[:end])
        found = _LENGTH.search(head)
        if found is None:
            raise ValueError(f"an answer without a length: {head[:80]!r}")
        while len(self._got) < end + int(found[1]):
            self._got += await self._more(reader)
            self._pid = self._pid or _worker_of(self._got, end)
        status = int(head.split(None, 2)[1])
        if status == 503 and self._ledger.in_fallback:
            return status, waited
        match = _BODY.match(self._got, end)
        body = _FILLER * REPEATED.get(path, 1)
        if status != 200 or match is None or int(match[3]) != sent or self._got[match.end() :] != body:
            raise ValueError(f"status {status}, {len(self._got) - end} bytes: {bytes(self._got[end : end + 60])!r}")
        self._pid = int(match[2])
        self._ledger.pids.add(self._pid)
        return status, waited

    async def _more(self, reader: asyncio.StreamReader) -> bytes:
        if not (data := await reader.read(_READ)):
            raise ConnectionResetError("the server closed the connection")
        return data

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
        self._pid = 0


class SlowReader(Client):
    """A client that asks for a large answer and takes it more slowly than the server could give it."""

    _sequence = (("/large", False),)

    async def _more(self, reader: asyncio.StreamReader) -> bytes:
        await asyncio.sleep(_SLOW_PAUSE)
        return await super()._more(reader)


def _worker_of(got: bytearray, body: int) -> int:
    """Return the pid of the worker whose answer this is, as soon as it is there; 0 before."""
    match = _BODY.match(got, body)
    return int(match[2]) if match else 0


async def load(ledger: Ledger, port: int, clients: int, stopping: asyncio.Event) -> None:
    """Ask with so many clients of each sort, and a few slow ones, until it is enough."""
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            for keeps in (False, True):
                name = f"{'keeping' if keeps else 'opening'} client {number + 1}"
                group.create_task(Client(ledger, port, name, keeps=keeps).run(stopping))
        for number in range(-(-clients // _SLOW_SHARE)):
            group.create_task(
                SlowReader(ledger, port, f"slow client {number + 1}", keeps=bool(number % 2)).run(stopping)
            )
