"""Answers that are made while they are sent."""

from __future__ import annotations

import socket
import uuid
from typing import TYPE_CHECKING

from tests.frameworks.conftest import client_of, each

if TYPE_CHECKING:
    import httpx
    from tests.conftest import Instance
    from tests.frameworks.conftest import Framework

NUMBERS = "".join(f"{n}\n" for n in range(200_000))


@each()
def test_a_long_stream_comes_whole_and_in_order(client: httpx.Client) -> None:
    answer = client.get("/numbers")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text == NUMBERS
    assert client.get("/").text == "hello"


@each()
def test_a_piece_of_a_stream_is_there_before_the_next_is_made(client: httpx.Client) -> None:
    """The app waits, in the middle of its answer, for a request that the client sends when it has the first piece."""
    key = uuid.uuid4().hex
    with client.stream("GET", f"/gates/{key}") as answer:
        pieces = answer.iter_text()
        assert next(pieces) == "waiting\n"
        client.post(f"/gates/{key}")
        assert "".join(pieces) == "open\n"


@each()
def test_a_client_that_leaves_in_the_middle_of_a_stream_disturbs_nobody(framework: Framework, shop: Instance) -> None:
    before = shop.said
    for _ in range(3):
        with client_of(shop) as client, client.stream("GET", "/numbers") as answer:
            next(answer.iter_bytes())
    with client_of(shop) as client:
        assert client.get("/numbers").text == NUMBERS
    if framework.name != "aiohttp":  # it logs an error by itself then, on every server
        assert "Traceback" not in shop.said.removeprefix(before)


@each()
def test_a_half_closed_client_gets_all_of_a_stream(shop: Instance) -> None:
    """Many of these frameworks listen for the client's going while they answer, and would give up."""
    key = uuid.uuid4().hex
    with shop.connect() as half_closed:
        half_closed.settimeout(20)
        half_closed.sendall(b"GET /gates/%b HTTP/1.1\r\nHost: a\r\n\r\n" % key.encode())
        half_closed.shutdown(socket.SHUT_WR)
        raw = half_closed.recv(65_536)
        while b"waiting\n" not in raw:
            raw += half_closed.recv(65_536)
        with client_of(shop) as client:
            client.post(f"/gates/{key}")
        while data := half_closed.recv(65_536):
            raw += data
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"open\n" in raw
    assert raw.endswith(b"0\r\n\r\n")


@each()
def test_many_waiting_streams_do_not_keep_others_waiting(client: httpx.Client) -> None:
    """Four at once: a WSGI app needs a thread for each, and one more for those that come meanwhile."""
    keys = [uuid.uuid4().hex for _ in range(4)]
    requests = [client.stream("GET", f"/gates/{key}") for key in keys]
    answers = [request.__enter__() for request in requests]
    try:
        pieces = [answer.iter_text() for answer in answers]
        assert [next(piece) for piece in pieces] == ["waiting\n"] * 4
        assert client.get("/").text == "hello"
        for key in keys:
            client.post(f"/gates/{key}")
        assert ["".join(piece) for piece in pieces] == ["open\n"] * 4
    finally:
        for request in requests:
            request.__exit__(None, None, None)
