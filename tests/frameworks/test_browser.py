"""A page of a framework's app in headless Chromium: it fetches, reads a stream piece by piece, opens a WebSocket."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.frameworks.conftest import each

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Instance
    from tests.frameworks.conftest import Framework

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
    "--no-proxy-server",
    "--dump-dom",  # when the page is loaded; the page sees to it that this is when its script is done
)


@each(of=("aiohttp", "starlette", "flask"))  # one of each kind: a browser takes its time
def test_a_page_works_in_a_browser(framework: Framework, shop: Instance, tmp_path: Path) -> None:
    assert CHROMIUM
    url = f"http://{shop.address}/files/page.html{'#sockets' if framework.sockets else ''}"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", url]
    dumped = subprocess.run(command, capture_output=True, check=True, timeout=90).stdout.decode()
    seen = {name: html.unescape(text) for name, text in re.findall(r'<p id="(\w+)">(.*?)</p>', dumped, re.DOTALL)}
    assert seen == {
        "json": "Zoë",
        "stream": "waiting\nthen open\n",
        "echo": "chat: one two, 4001 see you" if framework.sockets else "",
    }
