"""The real arun behind the entrypoint as process 1 of a pid namespace, as it runs in a container."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds after which something that should have happened counts as not happened.
PATIENCE = 30.0
#: Without --kill-child a test that dies would leave process 1, and all of its namespace, behind.
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
HELLO = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@dataclass(frozen=True)
class Unshared:
    """A running namespace: ``unshare`` itself, and the address of the instance in it (a unix socket)."""

    process: subprocess.Popen[bytes]
    address: Path
    log: Path

    def get(self) -> tuple[int, bytes]:
        """Ask until an answer is complete; the address may not be bound yet."""
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
            with contextlib.closing(connection), socket.socket(socket.AF_UNIX) as connection.sock:
                connection.sock.settimeout(PATIENCE)
                try:
                    connection.sock.connect(str(self.address))
                    connection.request("GET", "/")
                    answer = connection.getresponse()
                    return answer.status, answer.read()
                except (ConnectionRefusedError, FileNotFoundError):
                    assert self.process.poll() is None, self.log.read_text()
                    assert time.monotonic() < deadline, self.log.read_text()
                    time.sleep(0.005)

    @property
    def first(self) -> int:
        """Process 1 of the namespace, by its pid outside."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)

    def pid_inside(self) -> str:
        status = Path(f"/proc/{self.first}/status").read_text()
        return status.partition("NSpid:")[2].splitlines()[0].split()[-1]

    def command(self) -> list[str]:
        return Path(f"/proc/{self.first}/cmdline").read_bytes().decode().split("\0")[:-1]


def refusal() -> str:
    """Why no pid namespace can be made here; nothing if it can."""
    if not shutil.which("unshare"):
        return "there is no unshare here"
    tried = subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True, text=True, timeout=PATIENCE)
    return tried.stderr.strip() if tried.returncode else ""


@pytest.fixture
def unshared(tmp_path: Path, docker: Path) -> Iterator[Callable[[str], Unshared]]:
    """Start the entrypoint with an app in a pid namespace of its own, with the fallback that the image has on."""
    if reason := refusal():
        sentence = f"ARUN WAS NOT TRIED AS PID 1: {reason} (it takes root on Linux)"
        pytest.fail(sentence) if os.environ.get("CI") else pytest.skip(sentence)
    with contextlib.ExitStack() as running:

        def start(app: str) -> Unshared:
            (tmp_path / "app.py").write_text(app)
            address, log = tmp_path / "s", tmp_path / "log"
            kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
            environ = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "ARUN_FALLBACK_CONFIG": "welcome", **kept}
            process = subprocess.Popen(
                [*NAMESPACE, docker / "entrypoint.sh", "app.py", "--bind", f"unix:{address}"],
                cwd=tmp_path,
                env=environ,
                stdin=subprocess.DEVNULL,
                stderr=running.enter_context(log.open("wb")),
            )
            running.callback(process.wait, PATIENCE)
            running.callback(process.kill)
            return Unshared(process, address, log)

        yield start


def test_arun_is_process_one_and_stops_at_sigterm(unshared: Callable[[str], Unshared]) -> None:
    """The kernel drops signals that process 1 has no handler for: `docker stop` would take ten seconds."""
    instance = unshared(HELLO)
    assert instance.get() == (200, b"hello")
    assert instance.pid_inside() == "1"
    assert any(word.endswith("/arun") for word in instance.command())
    os.kill(instance.first, signal.SIGTERM)
    assert instance.process.wait(PATIENCE) == 0, instance.log.read_text()


def test_a_broken_app_gives_the_page_and_process_one_lives_on(unshared: Callable[[str], Unshared]) -> None:
    """If process 1 were replaced rather than re-executed, the kernel would end the container with it."""
    instance = unshared("raise RuntimeError('broken on purpose')\n")
    status, page = instance.get()
    assert status == 503
    assert b"broken on purpose" not in page
    assert "(pid: 1) exited with status 1 !!!" in instance.log.read_text()
    assert instance.pid_inside() == "1"
    assert Path(instance.command()[-1]).stem == "welcome"
    os.kill(instance.first, signal.SIGTERM)
    assert instance.process.wait(PATIENCE) == 0, instance.log.read_text()
