"""Clients as people use them: curl, and a session of aiohttp's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.conftest import PATIENCE
from tests.frameworks.conftest import REPORT, each

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Instance

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: apt-get install curl")


def curl(shop: Instance, path: str, *options: str, stdin: bytes = b"") -> str:
    """Run curl, which has to succeed, and return what it printed."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(PATIENCE), *options]
    ran = subprocess.run([*command, f"http://{shop.address}{path}"], input=stdin, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode()


@each()
@needs_curl
def test_curl_follows_a_redirect_with_its_cookies(shop: Instance, tmp_path: Path) -> None:
    assert curl(shop, "/login", "--location", "--cookie-jar", str(tmp_path / "jar")) == "ann likes it dark"
    assert curl(shop, "/whoami", "--cookie", str(tmp_path / "jar")) == "ann likes it dark"


@each()
@needs_curl
def test_curl_uploads_a_file_and_is_told_to_go_on(shop: Instance, tmp_path: Path) -> None:
    """More than a megabyte: curl sends Expect: 100-continue and, when nobody says so, waits."""
    file = tmp_path / "numbers.txt"
    file.write_text("".join(f"{n}\n" for n in range(300_000)))
    received = {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    waiting = ("--expect100-timeout", str(PATIENCE * 2))  # longer than it may take: without the 100 it fails
    raw = curl(shop, "/upload", *waiting, "--header", "Expect: 100-continue", "--data-binary", f"@{file}")
    assert json.loads(raw) == received
    form = curl(shop, "/form", *waiting, "--form", "note=all of them", "--form", f"file=@{file}")
    assert json.loads(form) == {"note": "all of them", "name": "numbers.txt", **received}


@each("chunked")
@needs_curl
def test_curl_uploads_what_it_reads_from_a_pipe(shop: Instance) -> None:
    body = b"line\n" * 300_000
    options = ("--request", "POST", "--upload-file", "-")
    received = json.loads(curl(shop, "/upload", *options, stdin=body))
    assert received == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@each("ranges")
@needs_curl
def test_curl_resumes_a_download(shop: Instance, tmp_path: Path) -> None:
    part = tmp_path / "report.txt"
    part.write_bytes(REPORT.read_bytes()[:1_000])
    curl(shop, "/files/report.txt", "--continue-at", "-", "--output", str(part))
    assert part.read_bytes() == REPORT.read_bytes()


@each()
@needs_curl
def test_curl_speaks_http_1_0(shop: Instance) -> None:
    """A stream of unknown length ends with its connection then, as the client knows no chunks."""
    told = curl(shop, "/numbers", "--http1.0", "--include")
    head, _, body = told.partition("\r\n\r\n")
    assert "transfer-encoding" not in head.lower()
    assert body.startswith("0\n1\n")
    assert body.endswith("\n199999\n")


@each()
@needs_curl
def test_curl_asks_several_times_on_one_connection(shop: Instance) -> None:
    again = f"http://{shop.address}/"
    told = curl(shop, "/", again, again, "--write-out", " %{num_connects} ")
    assert told == "hello 1 hello 0 hello 0 "


@each()
async def test_a_session_of_aiohttp_asks_many_things_at_once(shop: Instance) -> None:
    async def ask(session: aiohttp.ClientSession, n: int) -> str:
        async with session.get("/json", params={"name": f"visitor {n}"}) as answer:
            found: dict[str, str] = await answer.json()
            return found["name"]

    async with aiohttp.ClientSession(f"http://{shop.address}") as session:
        names = await asyncio.gather(*(ask(session, n) for n in range(60)))
        assert names == [f"visitor {n}" for n in range(60)]
