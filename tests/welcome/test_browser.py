"""The page as a browser shows it: served over a real socket, looked at in headless Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import arun_welcome
from arun.core.outlook import Outlook
from arun_welcome import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arun.core.failures import FailureRecord

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

FLAGS = (
    "--headless",
    "--no-sandbox",  # root in a container may have no other
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--virtual-time-budget=4000",  # milliseconds of the page's own time: its motion has ended by then
)
HEIGHT = 640


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded screenshot; its rows are three bytes for each pixel."""

    width: int
    rows: list[bytes]

    @classmethod
    def read(cls, png: bytes) -> Picture:
        """Decode an RGB or RGBA PNG of eight bits, not interlaced (RFC 2083)."""
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        width, depth, colour, interlaced = int.from_bytes(png[16:20]), png[24], png[25], png[28]
        assert (depth, interlaced) == (8, 0)
        size = {2: 3, 6: 4}[colour]
        raw, at = b"", 8
        while at < len(png):
            length = int.from_bytes(png[at : at + 4])
            if png[at + 4 : at + 8] == b"IDAT":
                raw += png[at + 8 : at + 8 + length]
            at += length + 12
        raw, rows, above = zlib.decompress(raw), [], bytes(width * size)
        for start in range(0, len(raw), width * size + 1):
            above = _unfilter(raw[start], bytearray(raw[start + 1 : start + 1 + width * size]), above, size)
            rows.append(above if size == 3 else b"".join(above[n : n + 3] for n in range(0, len(above), 4)))
        return cls(width, rows)

    def ink(self, left: int, right: int, paper: bytes) -> int:
        """Count the rows in which anything but the paper is seen between two columns."""
        return sum(row[left * 3 : right * 3] != paper * (right - left) for row in self.rows)


def _unfilter(kind: int, row: bytearray, above: bytes, size: int) -> bytes:
    """Undo the filter of one row (RFC 2083, section 6)."""
    if kind == 0:
        return bytes(row)
    if kind == 2:
        return bytes([(a + b) & 255 for a, b in zip(row, above, strict=True)])
    for n in range(len(row)):
        left = row[n - size] if n >= size else 0
        up = above[n]
        corner = above[n - size] if n >= size else 0
        guess = left if kind == 1 else (left + up) // 2
        if kind == 4:
            near = left + up - corner
            guess = min((left, up, corner), key=lambda value: abs(near - value))
        row[n] = (row[n] + guess) & 255
    return bytes(row)


@dataclass
class Site:
    """The app behind a socket of its own, and the paths it was asked for."""

    app: Any
    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request by HTTP/1.0; a browser also opens connections that it does not use."""
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
            method, path, _ = first.decode().split()
            self.asked.append(path)
            headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

            async def send(message: Any) -> None:
                if message["type"] == "http.response.body":
                    writer.write(message["body"])
                    return
                writer.write(b"HTTP/1.0 %d Any\r\n" % message["status"])
                writer.writelines(b"%s: %s\r\n" % header for header in message["headers"])
                writer.write(b"\r\n")

            peer = writer.get_extra_info("peername")
            await self.app(
                {"type": "http", "method": method, "path": path, "headers": headers, "client": peer}, None, send
            )
            await writer.drain()


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[Site]:
    site = Site(app)
    async with await asyncio.start_server(site.answer, "127.0.0.1", 0) as server:
        site.port = server.sockets[0].getsockname()[1]
        yield site


async def look(site: Site, folder: Path, *, size: tuple[int, int], scheme: str, language: str) -> Picture:
    """Open the site's page in a browser of its own and return what is seen."""
    shot = folder / "shot.png"
    await _browse(
        site,
        folder,
        f"--accept-lang={language}",
        f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}",
        f"--window-size={size[0]},{size[1]}",
        f"--screenshot={shot}",
    )
    picture = await asyncio.to_thread(lambda: Picture.read(shot.read_bytes()))
    assert (picture.width, len(picture.rows)) == size
    return picture


async def _browse(site: Site, folder: Path, *flags: str) -> str:
    """Open the site's page in a browser of its own, and return what that prints."""
    assert CHROMIUM
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        *flags,
        f"http://127.0.0.1:{site.port}/",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        printed, _ = await asyncio.wait_for(browser.communicate(), 60)
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
    return printed.decode()


@pytest.fixture(params=["welcome", "pause"])
def app(request: pytest.FixtureRequest, failure: FailureRecord) -> Any:
    """The app in each of its two voices."""
    return make_app(outlook=lambda: Outlook((failure,) if request.param == "pause" else ()))


@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
async def test_the_page_is_seen_on_its_paper_and_within_its_margins(
    app: Any, tmp_path: Path, language: str, scheme: str, width: int
) -> None:
    """The style is applied (its policy lets it), the text is there, nothing runs over the edges, nothing else is fetched."""
    async with serving(app) as site:
        picture = await look(site, tmp_path, size=(width, HEIGHT), scheme=scheme, language=language)
    paper = _paper(scheme)
    margin = max(20, min(width // 20, 56)) - 2
    assert picture.ink(width - margin, width, paper) == 0
    assert picture.ink(0, margin, paper) == 0
    assert picture.ink(margin, width - margin, paper) > HEIGHT / 8  # a page of an outage has few lines
    assert site.asked == ["/"]


def _paper(scheme: str) -> bytes:
    """Return the colour behind everything, as the style names it."""
    light, dark = re.findall(r"--paper: #(\w{6});", Path(arun_welcome.__file__).with_name("page.html").read_text())
    return bytes.fromhex(light if scheme == "light" else dark)


async def test_the_narrowest_page_holds_the_longest_word(failure: FailureRecord, tmp_path: Path) -> None:
    """At 320 pixels, to which WCAG 2.2 (1.4.10) reflows a page, nothing is cut off by a traceback or a path."""
    long = "a_path_without_a_place_to_break/" * 9
    told = failure._replace(sentence=long, origin=long, config=long, detail=long, identifier=long)
    async with serving(make_app(outlook=lambda: Outlook((told,)), debug=True)) as site:
        picture = await look(site, tmp_path, size=(320, 1800), scheme="light", language="en")
    assert picture.ink(302, 320, _paper("light")) == 0
    assert picture.ink(20, 300, _paper("light")) > 900


@pytest.mark.parametrize("own_page", ["", "<h1>our own page</h1>"], ids=["built in", "own"])
async def test_the_page_gives_way_to_the_app_by_itself(own_page: str, failure: FailureRecord, tmp_path: Path) -> None:
    """Without a script: the policy of the page forbids any."""
    page = make_app(outlook=lambda: Outlook((failure,), time.time() + 1), own_page=own_page)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if site.asked.count("/") < 3:
            await page(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<h1>the shop is open</h1>"})

    async with serving(app) as site:
        printed = await _browse(site, tmp_path, "--virtual-time-budget=60000", "--dump-dom")
    assert "<h1>the shop is open</h1>" in printed
    assert site.asked.count("/") == 3
