"""A real PostgreSQL and a real Redis of Debian, started and stopped by tests, on loopback and with data of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.process.conftest import STRANGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("Service", "postgresql", "redis")


class Service(NamedTuple):
    """What starts the service at host and port, until the context ends."""

    name: str
    run: Callable[[str, int], contextlib.AbstractContextManager[None]]


def redis() -> Service:
    """The server of redis, without any file of data."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs Debian's redis-server")

    def run(host: str, port: int) -> contextlib.AbstractContextManager[None]:
        return running([program, "--bind", host, "--port", str(port), "--save", "", "--daemonize", "no"])

    return Service("redis", run)


@contextlib.contextmanager
def postgresql() -> Iterator[Service]:
    """The server of PostgreSQL, with a cluster of its own; it must not be root's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found or os.geteuid() != 0:
        pytest.skip("needs Debian's postgresql, and root, which becomes its user")
    folder = Path(tempfile.mkdtemp(prefix="arun-postgresql-"))
    try:
        os.chown(folder, STRANGER, STRANGER)
        data = str(folder / "data")
        subprocess.run(
            [found[-1].with_name("initdb"), "--no-sync", "--auth=trust", "--username=shop", "--locale=C", "-D", data],
            check=True,
            capture_output=True,
            cwd=folder,
            **OF_STRANGER,
        )
        command = [str(found[-1]), "-D", data, "-F", "-k", str(folder)]

        def run(host: str, port: int) -> contextlib.AbstractContextManager[None]:
            return running([*command, "-h", host, "-p", str(port)], cwd=folder, **OF_STRANGER)

        yield Service("postgresql", run)
    finally:
        shutil.rmtree(folder)


#: initdb and postgres refuse to run as root; the ids need no name.
OF_STRANGER: dict[str, Any] = {
    "user": STRANGER,
    "group": STRANGER,
    "extra_groups": [],
    "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
}


@contextlib.contextmanager
def running(command: list[str], **more: Any) -> Iterator[None]:
    """Run a server in the foreground; it may need a moment until it answers."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, **more)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL: a fast shut-down, which waits for no client
        process.wait(30)
