"""What ``env`` and ``env-file`` set, as the app and the lines of the log show it."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from tests.process.family import settled, stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.process.conftest import Starter

APP = """
import os, time

async def app(scope, receive, send):
    if scope["type"] == "http":
        body = f"{time.strftime('%z')} {os.environ.get('GREETING')}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""
WAYS: dict[str, Sequence[str]] = {
    "one process": (),
    "workers": ("--workers", "2"),
    "preload": ("--workers", "2", "--preload"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", ["--env=TZ=Asia/Shanghai", "--env-file=site.env", "site.ini"])
def test_a_time_zone_takes_effect_for_the_app_and_in_the_access_log(arun: Starter, said: str, way: str) -> None:
    arun.write("shop.py", APP)
    arun.write("site.env", '\ufeffexport\tTZ="Asia/Shanghai" # here\n')
    arun.write("site.ini", "[arun]\nenv = TZ=Asia/Shanghai\n")
    named = ["--config", said] if said == "site.ini" else [said]
    options = ("--bind", "{address}", "--access-logfile", "log", *WAYS[way])
    instance = arun("shop.py", *named, *options, env={"TZ": "America/New_York"}).ready()
    assert instance.get().text.startswith("+0800 ")
    stop(instance)
    assert " +0800] " in (arun.folder / "log").read_text()


def test_the_first_line_has_the_time_of_the_zone_that_env_names(arun: Starter) -> None:
    arun.write("shop.py", APP)
    hours = []
    for zone in ("UTC-5", "UTC+5"):
        instance = arun("shop.py", "--bind", "{address}", "--env", f"TZ={zone}").ready()
        hours += re.findall(r"Starting arun .* (\d+):\d+:\d+ \d{4}", instance.said)
        assert instance.stop() == 0
    assert (int(hours[0]) - int(hours[1])) % 24 in {9, 10}


def test_a_reload_reads_the_env_file_and_its_time_zone_again(arun: Starter) -> None:
    arun.write("shop.py", APP)
    arun.write("site.env", "TZ=Asia/Shanghai\nGREETING='hello\n you'\n")
    instance = arun("shop.py", "--bind", "{address}", "--env-file", "site.env", "--supervise").ready()
    before = settled(instance, 1)
    assert instance.get().text == "+0800 hello\n you"
    arun.write("site.env", "GREETING=bye # now\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    settled(instance, 1, without=before)
    assert instance.get().text.endswith(" bye")
    assert not instance.get().text.startswith("+0800")
    stop(instance)
