"""PEP 3333 to the letter: WSGI apps inside the standard library's validator, which raises at the first slip."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from tests.frameworks.conftest import REPORT, Servers, client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from tests.conftest import Instance

#: The validator takes any arguments, so its kind cannot be seen.
APP = ("validated_app:app", "--interface", "wsgi")


@pytest.fixture(params=["4", "0"], ids=["in threads", "inline"])
def shop(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Instance]:
    instance = servers.arun(*APP, "--threads", request.param)
    yield instance
    assert "AssertionError" not in instance.said
    assert "WSGIWarning" not in instance.said


@pytest.fixture
def client(shop: Instance) -> Iterator[httpx.Client]:
    with client_of(shop) as client:
        yield client


@pytest.mark.parametrize("framework", ["django", "falcon", "flask"])
def test_a_framework_is_served_by_the_rules(framework: str, client: httpx.Client) -> None:
    assert client.get(f"/{framework}/json", params={"name": "Zoë"}).json() == {"name": "Zoë"}
    assert client.get(f"/{framework}/numbers").text.endswith("\n199999\n")
    assert client.get(f"/{framework}/files/report.txt").content == REPORT.read_bytes()
    assert client.get(f"/{framework}/nowhere").status_code == 404
    head = client.head(f"/{framework}/files/report.txt")
    assert (head.status_code, head.content) in {(200, b""), (405, b"")}
    body = b"pear" * 300_000
    assert client.post(f"/{framework}/upload", content=body).json()["sha256"] == hashlib.sha256(body).hexdigest()
    form = client.post(f"/{framework}/form", data={"note": "a"}, files={"file": ("b", body)})
    assert json.loads(form.text)["size"] == len(body)


def test_every_way_to_read_a_body(client: httpx.Client) -> None:
    body = b"one\ntwo two\n\nfour\nlast"
    assert client.post("/lines", content=body).content == body
    chunks = iter([b"one\ntw", b"o two\n", b"\nfour\nla", b"st"])
    assert client.post("/lines", content=chunks).content == body


def test_the_old_way_to_write_one(client: httpx.Client) -> None:
    assert client.post("/write", content=b"pear" * 100_000).content == b"pear" * 100_000 + b"written"
