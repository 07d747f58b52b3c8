"""The black box: the installed command, started as users start it, watched from outside."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

#: Seconds after which something that should have happened counts as not happened; the machine may be slow.
PATIENCE = 30.0
ARUN = Path(sys.executable).parent / "arun"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: looks at a page in a real browser")


def without_heads(text: str) -> str:
    """Return lines of the log without time, pid and level before them, and without the ids of failures behind them."""
    head = r"^\[(?:\d{4}-\d\d-\d\d )?[\d:.]{12}(?: [+-]\d{4})?\] \[\d+(?: worker \d+)?\] \[[A-Z]+\] "
    plain = re.sub(head, "", text, flags=re.MULTILINE)
    return re.sub(r"^(arun: [a-z-]+: .*) \[[2-9B-X]{6}\]$", r"\1", plain, flags=re.MULTILINE)


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
    def logged(self) -> str:
        """Everything on standard error so far, as it was written."""
        with self._news:
            return self._said

    @property
    def said(self) -> str:
        """Everything on standard error so far, without what the form of the log puts before a line."""
        return without_heads(self.logged)

    def wait_for(self, text: str, *, times: int = 1, patience: float = PATIENCE) -> str:
        """Wait until standard error contains the text (``times`` times) and return all of it."""
        with self._news:
            if not self._news.wait_for(lambda: without_heads(self._said).count(text) >= times, patience):
                raise AssertionError(f"{text!r} was not said {times}x within {patience} s, but:\n{self._said[-9000:]}")
            return without_heads(self._said)

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

    def connect(self) -> socket.socket:
        """Connect as soon as the address listens."""
        host, _, port = self.address.rpartition(":")
        return until(lambda: socket.create_connection((host, int(port)), PATIENCE), ConnectionRefusedError)

    def eventually(self, path: str = "/", **more: Any) -> Answer:
        """Send a request until a connection is accepted: for starts whose address is not bound yet."""
        return until(lambda: self.get(path, **more), ConnectionRefusedError, FileNotFoundError)

    def failures(self) -> list[str]:
        """The identifiers of the reported failures, in their order."""
        return [
            name
            for name in re.findall(r"^arun: ([a-z-]+): ", self.said, re.MULTILINE)
            if name not in {"hint", "warning"}
        ]

    def hints(self) -> int:
        return len(re.findall(r"^arun: hint: \S", self.said, re.MULTILINE))

    def fallbacks(self) -> list[str]:
        """What each re-execution named as its config, in their order."""
        return re.findall(r"^!!! Fallback config to (.*) !!!$", self.said, re.MULTILINE)

    def exits_told(self) -> list[str]:
        return re.findall(r"^!!! .* exited with status .* !!!$", self.said, re.MULTILINE)

    def own_frames(self) -> list[str]:
        """Lines of tracebacks that show arun's own code or the import system's."""
        return re.findall(r'^ *File ".*?(?:/arun/|importlib).*$', self.said, re.MULTILINE)

    def argv(self) -> list[str]:
        return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().split("\0")[:-1]

    def descriptors(self) -> dict[int, str]:
        """Open descriptors and what they point to."""
        found = {}
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a file that was open for a moment only
                found[int(entry.name)] = os.readlink(entry)
        return found

    def holdings(self) -> Counter[str]:
        """How many descriptors of each sort are open: sockets, pipes, files by their path."""
        return Counter(re.sub(r":\[\d+\]", "", target) for target in self.descriptors().values())

    def children(self) -> list[int]:
        """Children, zombies included."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
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

    def __init__(self, folder: Path, address: str, command: Path = ARUN) -> None:
        self.folder = folder
        self.address = address
        self.command = command
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
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        measured: bool = True,
        **popen: object,
    ) -> Instance:
        """Start arun with the arguments; the environment is clean but for PATH and ``env``.

        Coverage's variables are passed on unless ``measured`` is false.
        """
        names = {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH"}
        kept = {k: v for k, v in os.environ.items() if k in names or (measured and "COV" in k)}
        options: dict[str, object] = {"stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **popen}
        process = subprocess.Popen(  # type: ignore[call-overload]
            [
                *(command or [str(self.command)]),
                *(argument.replace("{address}", self.address) for argument in arguments),
            ],
            cwd=cwd or self.folder,
            env={**kept, **(env or {})},
            **options,
        )
        instance = Instance(process, self.address)
        self.running.append(instance)
        return instance

    def close(self) -> None:
        for instance in self.running:
            instance.close()


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
    with contextlib.closing(Starter(tmp_path, address)) as starter:
        yield starter
