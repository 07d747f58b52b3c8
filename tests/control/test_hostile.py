"""Bytes that no client of good will sends to the status address: it answers them, or cuts them, and goes on."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import PATIENCE, until

from arun.control.messages import Response
from arun.control.responder import Responder
from arun.control.thread import ResponderThread

if TYPE_CHECKING:
    from tests.control.conftest import Controlled, Controls

    from arun.control.messages import Request


def connect(shop: Controlled) -> socket.socket:
    host, _, port = shop.status_address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def answered(shop: Controlled, data: bytes) -> bytes:
    """What comes back until the end of the connection."""
    with connect(shop) as client:
        with contextlib.suppress(OSError):
            client.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65_536):
                received += piece
        return received


CASES = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
    "no version": (b"GET /livez\r\n\r\n", b"400"),
    "another version": (b"GET /livez HTTP/2.0\r\n\r\n", b"505"),
    "a URL": (b"GET http://x/livez HTTP/1.1\r\n\r\n", b"400"),
    "a control character": (b"GET /livez HTTP/1.1\r\nx: a\x01b\r\n\r\n", b"400"),
    "a field without a colon": (b"GET /livez HTTP/1.1\r\nnonsense\r\n\r\n", b"400"),
    "a folded field": (b"GET /livez HTTP/1.1\r\nx: a\r\n b: c\r\n\r\n", b"400"),
    "two lengths": (b"POST /livez HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", b"400"),
    "a length that is none": (b"POST /livez HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
    "a huge body": (b"POST /livez HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", b"413"),
    "a body where no orders are taken": (b"POST /livez HTTP/1.1\r\ncontent-length: 9\r\n\r\n", b"413"),
    "chunks": (b"POST /livez HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"501"),
    "a long head": (b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 3000, b"431"),
    "a long line": (b"GET /" + b"a" * 20_000, b"431"),
    "a path that is not there": (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
    "pipelined": (b"GET /livez HTTP/1.1\r\n\r\n" * 50, b"200"),
    "HTTP/1.0": (b"GET /livez HTTP/1.0\r\n\r\n", b"200"),
}


def test_every_request_gets_the_status_that_it_deserves(controlled: Controls) -> None:
    shop = controlled("--supervise")
    for name, (sent, status) in CASES.items():
        received = answered(shop, sent)
        assert received.split(b" ", 2)[1:2] == [status], (name, received)
        assert received.count(b"HTTP/1.1 ") == 1, name
    assert shop.probes() == (200, 200, 200)
    assert "Traceback" not in shop.instance.said


@pytest.mark.parametrize("workers", [(), ("--supervise",)], ids=["thread", "supervisor"])
def test_slow_clients_keep_nobody_waiting_and_go(controlled: Controls, workers: tuple[str, ...]) -> None:
    shop = controlled(*workers)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(shop)) for _ in range(100)]
        for client in silent:
            with contextlib.suppress(OSError):  # the first ones have gone for the last ones
                client.sendall(b"GET /livez HTTP/1.1\r\nx: ")
        began = time.monotonic()
        assert shop.probes() == (200, 200, 200)
        assert time.monotonic() - began < 2
        last = silent[-1]
        while True:  # a byte now and then moves no deadline
            try:
                last.sendall(b"y")
                last.settimeout(0.2)
                if last.recv(1) or True:
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - began < 12


def test_a_client_that_reads_nothing_is_cut(controlled: Controls) -> None:
    shop = controlled("--supervise")
    with connect(shop) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert shop.probes() == (200, 200, 200)


@pytest.mark.parametrize("workers", [(), ("--supervise",)], ids=["thread", "supervisor"])
def test_ten_thousand_connections_leave_nothing(controlled: Controls, workers: tuple[str, ...]) -> None:
    shop = controlled(*workers)
    _knock(shop, 500)
    before, rss = len(shop.instance.descriptors()), shop.instance.rss()
    _knock(shop, 10_000 if workers else 3_000)

    def look() -> None:
        assert len(shop.instance.descriptors()) <= before

    until(look, AssertionError)
    assert shop.instance.rss() - rss < 2048
    assert shop.probes() == (200, 200, 200)


def _knock(shop: Controlled, times: int) -> None:
    host, _, port = shop.status_address.rpartition(":")
    for count in range(times):
        with socket.socket() as client:
            client.connect((host, int(port)))
            if count % 4 == 0:
                client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
                if count % 8 == 0:
                    client.recv(4096)
            elif count % 4 == 1:
                client.sendall(b"GET /li")


def test_a_body_that_comes_byte_by_byte_costs_no_more_behind_a_long_head() -> None:
    said: list[bytes] = []

    def respond(request: Request, _channel: str) -> Response:
        said.append(request.body)
        return Response.line(202, "taken")

    head = b"POST /offline HTTP/1.1\r\ncontent-length: 2000\r\n" + b"x: y\r\n" * 1300 + b"\r\n"
    responder = Responder(respond)
    ours, theirs = socket.socketpair()
    with ours:
        fd = theirs.detach()
        responder.adopt(fd, "control")
        ours.sendall(head)
        began = time.process_time()
        for _ in range(2000):
            responder.turn([(fd, select.POLLIN)])
            ours.sendall(b"b")
        responder.turn([(fd, select.POLLIN)])
        spent = time.process_time() - began
        assert ours.recv(4096).startswith(b"HTTP/1.1 202 ")
        responder.drop_clients()
    assert said == [b"b" * 2000]
    assert spent < 0.3


def test_a_thread_that_does_not_end_leaves_the_listener_to_another_responder() -> None:
    gate, entered = threading.Lock(), threading.Event()
    gate.acquire()

    def stuck(_request: Request, _channel: str) -> Response:
        entered.set()
        with gate:
            return Response.line(200, "late")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        old = Responder(stuck)
        old.listen(listener.fileno(), "status")
        thread = ResponderThread(old)
        assert thread.start()
        with socket.create_connection(listener.getsockname()) as first:
            first.settimeout(PATIENCE)
            first.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert entered.wait(PATIENCE)
            assert not thread.stop()
            with socket.create_connection(listener.getsockname()) as second:
                second.settimeout(PATIENCE)
                second.sendall(b"GET / HTTP/1.1\r\n\r\n")
                gate.release()
                first.recv(4096)  # late, or the end
                new = Responder(lambda _request, _channel: Response.line(200, "new"))
                new.listen(listener.fileno(), "status")
                second.settimeout(0.05)
                until(lambda: _is_told(new, second), TimeoutError)
        new.drop_clients()
        new.abandon()


def _is_told(responder: Responder, client: socket.socket) -> None:
    waiting = select.poll()
    responder.register(waiting)
    responder.turn(waiting.poll(10))
    assert client.recv(4096).endswith(b"new\n")
