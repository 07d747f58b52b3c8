"""The way back: when the cause is gone, SIGHUP makes a fallback the instance that it was meant to be."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.process.conftest import Starter

BROKEN = "import nowhere\n"
MENDED = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"mended"})
"""


def test_sighup_takes_a_fallback_back_to_the_first_start_with_its_socket_and_pid(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome").ready()
    assert instance.get().status == 503
    socket_before = [name for name in instance.descriptors().values() if name.startswith("socket:")]
    first = instance.argv()[:-1]

    arun.write("shop.py", MENDED)
    instance.send(signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    answer = instance.get()
    assert (answer.status, answer.text) == (200, "mended")
    assert instance.argv() == [*first, "shop.py", "--bind", instance.address, "--fallback-config", "welcome"]
    assert set(instance.descriptors().values()) & set(socket_before)
    assert "going back to the first start" in instance.said
    assert instance.stop() == 0


def test_a_cause_that_is_still_there_ends_in_the_fallback_again_and_refuses_nobody(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    arun.write("safe.ini", "[arun]\nbind = {address}\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    for round_ in range(2, 5):
        instance.send(signal.SIGHUP)
        assert instance.get().status == 503
        instance.wait_for("arun running on", times=round_)
    assert instance.said.count("!!! Fallback config to safe.ini !!!") == 4
    assert "fallback-loop" not in instance.said
    assert instance.stop() == 0
