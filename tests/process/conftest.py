"""What the black-box tests of one process share: strangers, fallbacks, and starts that have to fail."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme
from tests.conftest import Instance, Starter, own_address

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

__all__ = ("FailingStart", "Healthy", "Instance", "Starter")

#: Who the tests become where they must not be root: an id that owns nothing.
STRANGER = 65_534


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """A folder that every user can read, with the command ``arun`` in it: pytest's own are private."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it becomes another user")
    folder = Path(tempfile.mkdtemp(prefix="arun-tests-"))
    folder.chmod(0o755)
    try:
        install_copy(folder, readable_interpreter())
        yield folder
    finally:
        shutil.rmtree(folder)


def readable_interpreter() -> str:
    """Return a Python of this version that strangers can run; the one that runs the tests may lie under a 0700 home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (os.path.realpath(sys.executable), f"/usr/local/bin/{name}", f"/usr/bin/{name}"):
        with contextlib.suppress(OSError):
            subprocess.run([path, "-c", ""], check=True, user=STRANGER, group=STRANGER, extra_groups=[], cwd="/")
            return path
    pytest.skip(f"needs a {name} that every user can run")


def install_copy(folder: Path, interpreter: str) -> Path:
    """Put the packages that arun needs into the folder, and its command into ``bin`` in there; return the command."""
    for package in ("arun", "arun_welcome", "httptools", "uvloop"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, folder / package)
        for library in Path(spec.origin).parent.parent.glob(f"{package}__mypyc.*"):  # that of its compiled modules
            shutil.copy(library, folder)
    script = folder / "bin" / "arun"
    script.parent.mkdir()
    script.write_text(
        f"#!{interpreter}\nimport sys\nsys.path[0] = {str(folder)!r}\nfrom arun.__main__ import main\nmain()\n"
    )
    script.chmod(0o755)
    return script


@pytest.fixture
def public_arun(public_folder: Path, address: str) -> Iterator[Starter]:
    """Start arun in a folder and with an interpreter that every user can read."""
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=public_folder))
    folder.chmod(0o755)
    with contextlib.closing(Starter(folder, address, public_folder / "bin" / "arun")) as starter:
        yield starter


@pytest.fixture
def held(address: str) -> Iterator[socket.socket]:
    """A listener of another process on the test's address."""
    host, _, port = address.rpartition(":")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, int(port)))
        holder.listen()
        yield holder


#: A fallback that serves the welcome page on the address of the test.
SAFE = "[arun]\nbind = {address}\n"
PAGE = "be right back"


class Healthy(NamedTuple):
    """A start that serves the welcome page by its own config, nothing having failed: the measure of a fallback."""

    holdings: Counter[str]
    program: list[str]


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Healthy:
    starter = Starter(tmp_path_factory.mktemp("healthy"), own_address())
    starter.write("safe.ini", SAFE)
    instance = starter("safe.ini").ready()
    try:
        return Healthy(instance.holdings(), instance.argv()[:-1])
    finally:
        instance.close()


@pytest.fixture
def assert_welcomes(arun: Starter, healthy: Healthy) -> Callable[..., None]:
    """Check that an instance became the welcome page of a config: same process, nothing left of the failed start."""

    def check(instance: Instance, config: str = "safe.ini", program: Sequence[str] = ()) -> None:
        program = list(program) or healthy.program
        assert instance.ready().holdings() == healthy.holdings  # before a client adds its connection
        answer = instance.get()
        assert (answer.status, PAGE in answer.text) == (503, True)
        assert instance.process.poll() is None
        assert instance.fallbacks() == [config]
        name = " ".join(program[-2:]) if "-m" in program else program[-1]
        assert instance.exits_told() == [f"!!! {name} (pid: {instance.pid}) exited with status 1 !!!"]
        assert instance.argv() == [*program, str(arun.folder / config)]
        assert instance.children() == []

    return check


class FailingStart:
    """Starts that have to fail in a known way: alone they end with status 1, with a fallback they become its page."""

    def __init__(self, arun: Starter, assert_welcomes: Callable[..., None]) -> None:
        self.arun = arun
        self.assert_welcomes = assert_welcomes
        arun.write("safe.ini", SAFE)

    def __call__(self, *arguments: str, fails: Sequence[str], **more: Any) -> str:
        """Start both ways and return what the one without a fallback has written."""
        said = self.alone(*arguments, fails=fails, **more)
        self.falls_back(*arguments, "--fallback-config", "safe.ini", fails=fails, **more)
        return said

    def alone(self, *arguments: str, fails: Sequence[str], **more: Any) -> str:
        """Start, wait for the end, and return what was written."""
        instance = self.arun(*arguments, **more)
        assert instance.wait() == 1, instance.said
        self._assert_told(instance, fails)
        assert instance.fallbacks() == []
        return instance.said

    def falls_back(self, *arguments: str, fails: Sequence[str], **more: Any) -> Instance:
        """Start with arguments that name the fallback ``safe.ini``, themselves or by a config; return its instance."""
        instance = self.arun(*arguments, **more)
        self.assert_welcomes(instance)
        self._assert_told(instance, fails)
        return instance

    def _assert_told(self, instance: Instance, fails: Sequence[str]) -> None:
        assert instance.failures() == list(fails), instance.said
        assert instance.hints() == len(fails), instance.said
        assert instance.own_frames() == []


@pytest.fixture
def failing_start(arun: Starter, assert_welcomes: Callable[..., None]) -> FailingStart:
    return FailingStart(arun, assert_welcomes)


@pytest.fixture
def stranger() -> dict[str, Any]:
    """What starts a process as a user that owns nothing."""
    return {"user": STRANGER, "group": STRANGER, "extra_groups": []}


class Authority:
    """A certificate authority of the tests, and the files that it gives out."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.root = self._write("ca.pem", self.ca.cert_pem.bytes())

    def issue(self, *names: str, stem: str = "shop") -> tuple[Path, Path]:
        """Write a certificate for the names and its key, over those that had the same stem."""
        issued = self.ca.issue_cert(*names)
        chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
        return self._write(f"{stem}.pem", chain), self._write(f"{stem}.key", issued.private_key_pem.bytes())

    def client(self, **more: Any) -> ssl.SSLContext:
        """A client's context that trusts only this authority."""
        context = ssl.create_default_context(cafile=self.root)
        for name, value in more.items():
            setattr(context, name, value)
        return context

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        return fresh.replace(path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
