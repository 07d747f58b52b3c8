"""Requests with bodies: raw, in chunks of unknown length, and forms with files, all of more than a megabyte."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

from tests.frameworks.conftest import each

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


BODY = random.Random(7).randbytes(3_000_001)  # noqa: S311 - bytes that do not compress, the same each time
RECEIVED = {"size": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
EMPTY = {"size": 0, "sha256": hashlib.sha256().hexdigest()}


def pieces() -> Iterator[bytes]:
    for start in range(0, len(BODY), 100_000):
        yield BODY[start : start + 100_000]


@each()
def test_a_raw_body(client: httpx.Client) -> None:
    assert client.post("/upload", content=BODY).json() == RECEIVED
    assert client.post("/upload", content=b"").json() == EMPTY


@each("chunked")
def test_a_body_whose_length_nobody_knows(client: httpx.Client) -> None:
    assert client.post("/upload", content=pieces()).json() == RECEIVED
    assert client.get("/").text == "hello"


@each()
def test_a_form_with_a_file(client: httpx.Client) -> None:
    answer = client.post("/form", data={"note": "for 王"}, files={"file": ("photo.jpg", BODY, "image/jpeg")})
    assert answer.json() == {"note": "for 王", "name": "photo.jpg", **RECEIVED}


@each()
def test_a_body_that_the_app_does_not_read_does_not_become_the_next_request(client: httpx.Client) -> None:
    """The app answers at once: what is left of the body is read and dropped, or the connection closed."""
    for path in ("/nowhere", "/gates/unread"):
        assert client.post(path, content=b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n" * 3_000).status_code in {
            404,
            405,
            204,
        }
        assert client.get("/").text == "hello"
