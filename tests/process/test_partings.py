"""Kept connections where one instance follows another: their clients are asked to reconnect, and lose no request."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.process.conftest import Starter

APP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "http":
        body = b"%d" % os.getpid()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("supervise", ["no", "yes"])
def test_no_request_on_a_kept_connection_is_lost_on_the_way_back(arun: Starter, supervise: str) -> None:
    arun.write("shop.py", "import nowhere")
    arun.write("safe.ini", f"[arun]\nsupervise = {supervise}\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    arun.write("shop.py", APP)
    with contextlib.closing(instance.connect()) as connection:
        answers = [ask(connection)]
        instance.send(signal.SIGHUP)
        answers += ask_until_told_to_go(connection)
    assert {answer.split(b" ", 2)[1] for answer in answers} == {b"503"}
    instance.wait_for("arun running on", times=2)
    assert instance.get().status == 200
    assert instance.stop() == 0


def test_no_request_to_a_worker_that_lives_is_lost_when_others_end_in_a_crash_loop(arun: Starter) -> None:
    arun.write("shop.py", APP)
    crashes = ("--workers", "2", "--crash-limit", "2", "--recover", "none")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome", *crashes).ready()
    with contextlib.closing(instance.connect()) as connection:
        living = int(ask(connection).rpartition(b"\r\n\r\n")[2])
        for answer in ask_until_told_to_go(connection):
            assert int(answer.rpartition(b"\r\n\r\n")[2]) == living
            for pid in set(instance.children()) - {living}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert "crash-loop: " in instance.wait_for("serving the welcome page")
    assert instance.get().status == 503
    assert instance.stop() == 0


def ask_until_told_to_go(connection: socket.socket) -> Iterator[bytes]:
    """Ask again and again until an answer says that it is the last one; the connection ends after it, not before."""
    last = False
    while not last:
        time.sleep(0.002)
        answer = ask(connection)
        yield answer
        last = b"\r\nconnection: close\r\n" in answer
    assert not connection.recv(1)


def ask(connection: socket.socket) -> bytes:
    """Ask once; the answer in lower case. It fails where the connection ends instead."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nAccept: text/plain\r\n\r\n")
    answer = b""
    while (blank := answer.find(b"\r\n\r\n")) < 0 or len(answer) < blank + 4 + length(answer):
        piece = connection.recv(65_536)
        assert piece, f"the connection ended after {answer!r}"
        answer += piece.lower()
    return answer


def length(answer: bytes) -> int:
    return int(answer.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
