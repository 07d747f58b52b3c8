"""The two scenes of uWSGI's page on its fallback configuration, word for word, in a network of the test's own.

Source: uWSGI's documentation, "Fallback configuration". Its ports are 80 and 8080; in a network namespace they
are free, and the kernel's default decides which user may bind a port below 1024.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.conftest import Instance, Starter

SAFE = """\
[uwsgi]
print = Hello i am the fallback config !!!
http-socket = :8080
wsgi-file = welcomeapp.wsgi
"""
WELCOMEAPP = """\
def application(env, start_response):
    start_response('200 OK', [('Content-Type', 'text/html')])
    return [b"<h1>The start failed, this is another app</h1>"]
"""
#: From linux/if.h and linux/sockios.h.
_SIOCSIFFLAGS, _IFF_UP, _CLONE_NEWNET = 0x8914, 0x1, 0x40000000


@pytest.fixture
def scene(public_arun: Starter) -> Callable[..., Instance]:
    """Start arun in a network namespace of its own, beside the two files of the page."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare(1) and the right to make a network namespace")
    public_arun.write("safe.ini", SAFE)
    public_arun.write("welcomeapp.wsgi", WELCOMEAPP)

    def start(line: str) -> Instance:
        return public_arun(*line.split()[1:], command=[unshare, "--net", "--", str(public_arun.command)])

    return start


def ask(instance: Instance, port: int) -> tuple[int, str]:
    """Ask from inside the network of the instance; a thread that enters it is in no other any more."""
    got: list[tuple[int, str]] = []

    def inside() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{instance.pid}/ns/net") as namespace:
            assert libc.setns(namespace.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/")
        answer = connection.getresponse()
        got.append((answer.status, answer.read().decode()))
        connection.close()

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(PATIENCE)
    return got[0]


def test_a_port_that_the_user_may_not_have(scene: Callable[..., Instance]) -> None:
    instance = scene("arun --fallback-config safe.ini --uid 1000 --http-socket :80")
    assert_fallen_back(instance, "address-denied")


@pytest.mark.parametrize(
    "broken", ["1 / 0\n", "def application(:\n", "import nowhere\n", "import sys; sys.exit(22)\n", ""]
)
def test_an_app_that_is_broken(scene: Callable[..., Instance], public_arun: Starter, broken: str) -> None:
    """In whatever way; with uWSGI, a file that is not there is broken too."""
    if broken:
        public_arun.write("brokenapp.py", broken)
    instance = scene("arun --fallback-config safe.ini --need-app --http-socket :8080 --wsgi-file brokenapp.py")
    assert_fallen_back(instance, "app-")


def assert_fallen_back(instance: Instance, identifier: str) -> None:
    said = instance.wait_for("serving welcomeapp.wsgi\n")
    assert ask(instance, 8080) == (200, "<h1>The start failed, this is another app</h1>")
    (failure,) = instance.failures()
    assert failure.startswith(identifier)
    told = [
        f"arun: {failure}: ",
        f"(pid: {instance.pid}) exited with status 1 !!!\n!!! Fallback config to safe.ini !!!\n",
        "[arun] getting INI configuration from safe.ini\nHello i am the fallback config !!!\n",
        "serving welcomeapp.wsgi\n",
    ]
    places = [said.index(text) for text in told]
    assert places == sorted(places)
    assert instance.stop() == 0
