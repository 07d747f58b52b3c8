"""The black box: the installed command, started as users start it, watched from outside."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

#: Seconds after which something that should have happened counts as not happened; the machine may be slow.
PATIENCE = 30.0
ARUN = Path(sys.executable).parent / "arun"


class Answer(NamedTuple):
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Instance:
    """One started arun: its process, what it says on standard error, and the address it is asked on."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.pid = process.pid
        self.address = address
        self._said = ""
        self._news = threading.Condition()
        self._reader: threading.Thread | None = None
        if process.stderr is not None:
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        while chunk := os.read(self.process.stderr.fileno(), 65_536):
            with self._news:
                self._said += chunk.decode(errors="replace")
                self._news.notify_all()

    @property
    def said(self) -> str:
        """Everything on standard error so far."""
        with self._news:
            return self._said

    def wait_for(self, text: str, *, times: int = 1) -> str:
        """Wait until standard error contains the text (``times`` times) and return everything said."""
        with self._news:
            if not self._news.wait_for(lambda: self._said.count(text) >= times, PATIENCE):
                raise AssertionError(f"{text!r} was not said {times}x within {PATIENCE} s, but:\n{self._said}")
            return self._said

    def ready(self) -> Instance:
        """Wait until the instance says that it serves."""
        self.wait_for("arun running on")
        return self

    def get(self, path: str = "/", *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """Ask once; the address must accept already."""
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def eventually(self, path: str = "/", **more: Mapping[str, str]) -> Answer:
        """Ask until somebody accepts: for starts whose address is not bound yet."""
        return until(lambda: self.get(path, **more), ConnectionRefusedError, FileNotFoundError)

    def argv(self) -> list[str]:
        return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().split("\0")[:-1]

    def descriptors(self) -> dict[int, str]:
        """Open descriptors and what they point to."""
        folder = Path(f"/proc/{self.pid}/fd")
        return {int(entry.name): os.readlink(entry) for entry in folder.iterdir()}

    def children(self) -> list[int]:
        """Children, zombies included."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def rss(self) -> int:
        """Resident memory in KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; the status, negative for a signal."""
        status = self.process.wait(PATIENCE)
        if self._reader is not None:
            self._reader.join(PATIENCE)
        return status

    def stop(self) -> int:
        """Ask it to stop and return the status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """End it for certain, whatever the test left behind."""
        if self.process.poll() is None:
            for child in self.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self.process.kill()
            self.process.wait(PATIENCE)
        if self._reader is not None:
            self._reader.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def until(ask: Callable[[], T], *retried: type[BaseException]) -> T:
    """Return what ``ask`` returns as soon as it does not raise one of ``retried`` any more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except retried:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


class Starter:
    """Starts instances in a folder of the test's own and ends all of them afterwards."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.running: list[Instance] = []

    def write(self, name: str, content: str) -> Path:
        """Put a file into the folder; ``{address}`` stands for the address of this test."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("{address}", self.address))
        return path

    def __call__(
        self,
        *arguments: str,
        command: Sequence[str] = (str(ARUN),),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **popen: object,
    ) -> Instance:
        """Start arun with the arguments; the environment is clean but for PATH, coverage's variables and ``env``."""
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH"} or "COV" in k}
        options: dict[str, object] = {"stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **popen}
        process = subprocess.Popen(  # type: ignore[call-overload]
            [*command, *(argument.replace("{address}", self.address) for argument in arguments)],
            cwd=cwd or self.folder,
            env={**kept, **(env or {})},
            **options,
        )
        instance = Instance(process, self.address)
        self.running.append(instance)
        return instance


_numbers = itertools.count(1)


def own_address() -> str:
    """An address on loopback that no other test of this run or another one uses: 127.x.y.z with a port of its own."""
    number = next(_numbers)
    return f"127.{20 + os.getpid() % 200}.{os.getpid() // 200 % 250}.{number % 250 + 1}:{18_000 + number // 250}"


@pytest.fixture
def address() -> str:
    return own_address()


@pytest.fixture
def arun(tmp_path: Path, address: str) -> Iterator[Starter]:
    """Start the installed command in an empty folder."""
    starter = Starter(tmp_path, address)
    try:
        yield starter
    finally:
        for instance in starter.running:
            instance.close()


@pytest.fixture
def held(address: str) -> Iterator[socket.socket]:
    """A listener of somebody else's on the test's address."""
    host, _, port = address.rpartition(":")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, int(port)))
        holder.listen()
        yield holder
