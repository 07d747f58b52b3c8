"""What the tests of control and status share: an instance with a control socket, and clients of both of its addresses."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import ARUN, PATIENCE, Answer, Instance, Starter, own_address, until

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("APP", "Controlled", "Controls")

#: Responds with its pid; /slow until a file is there, /stuck after as many seconds as it says, in its loop.
APP = """
import asyncio, os, time
if os.environ.get("GATE"):
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    if scope["path"].startswith("/stuck/"):
        time.sleep(float(scope["path"][7:]))
    said = b"pid %d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})
"""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Controlled:
    """One instance with its control socket and its status address."""

    def __init__(self, instance: Instance, path: Path, status: str, command: Path = ARUN) -> None:
        self.instance = instance
        self.path = path
        self.status_address = status
        self._command = command

    def ask(self, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        """Ask on the control socket."""
        return _answer(_UnixConnection(str(self.path)), method, path, body, headers)

    def probe(self, path: str, **headers: str) -> Answer:
        """Ask on the status address."""
        host, _, port = self.status_address.rpartition(":")
        return _answer(http.client.HTTPConnection(host, int(port), timeout=PATIENCE), "GET", path, None, headers)

    def probes(self) -> tuple[int, int, int]:
        """The statuses of /livez, /startupz and /readyz."""
        live, startup, ready = (self.probe(path).status for path in ("/livez", "/startupz", "/readyz"))
        return live, startup, ready

    def state(self) -> dict[str, Any]:
        """What /status says on the control socket."""
        found: dict[str, Any] = json.loads(self.ask("/status").body)
        return found

    def becomes(self, **wanted: Any) -> dict[str, Any]:
        """Wait until the state has these values."""

        def look() -> dict[str, Any]:
            found = self.state()
            assert {name: found[name] for name in wanted} == wanted, self.instance.said
            return found

        return until(look, AssertionError, OSError, http.client.HTTPException)

    def command(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command for this instance."""
        return subprocess.run(
            [str(self._command), words[0], "--control", str(self.path), *words[1:]],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )


class Controls:
    """Starts instances with a control socket and a status address."""

    def __init__(self, arun: Starter, status: str) -> None:
        self.arun = arun
        self.status = status
        arun.write("shop.py", APP)

    def __call__(self, *arguments: str, app: str = "shop:app", ready: bool = True, **more: Any) -> Controlled:
        path = self.arun.folder / "c.sock"
        words = ["--bind", self.arun.address, "--control", str(path), "--status", self.status, *arguments]
        started = Controlled(self.arun(*filter(None, [app]), *words, **more), path, self.status)
        if ready:
            started.instance.wait_for("serving ")
            until(started.state, OSError, http.client.HTTPException)
        return started


@pytest.fixture
def controlled(arun: Starter) -> Controls:
    return Controls(arun, own_address())


def _answer(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> Answer:
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
