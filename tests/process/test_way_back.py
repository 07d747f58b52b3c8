"""The way back: when the cause is gone, SIGHUP makes a fallback the instance that it was meant to be."""

from __future__ import annotations

import signal
import subprocess
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


def test_a_cause_that_is_still_there_leaves_the_fallback_where_it_is_and_refuses_no_client(arun: Starter) -> None:
    """The primary is tried in a process of its own first; test_recovery.py has the ways that need no signal."""
    arun.write("shop.py", BROKEN)
    arun.write("safe.ini", "[arun]\nbind = {address}\nrecover = signal\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    for round_ in range(1, 4):
        instance.send(signal.SIGHUP)
        assert instance.get().status == 503
        instance.wait_for("the first start would fail still, and this fallback stays", times=round_)
    assert instance.fallbacks() == ["safe.ini"]
    assert instance.stop() == 0


def test_sighup_ends_no_instance_that_is_not_a_fallback(arun: Starter) -> None:
    """Users of other runners send it to reload; a process that has gone back is such an instance too."""
    arun.write("shop.py", MENDED)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome").ready()
    instance.send(signal.SIGHUP)
    instance.wait_for("SIGHUP changes nothing here")
    assert instance.get().text == "mended"
    assert instance.stop() == 0


def test_a_second_sighup_while_the_first_start_is_tried_again_does_not_end_it(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome").ready()
    arun.write("shop.py", "import os, time\nos.write(2, b'here\\n')\ntime.sleep(0.5)\n" + MENDED)
    instance.send(signal.SIGHUP)
    instance.wait_for("here")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun running on", times=2)
    assert instance.get().text == "mended"
    assert instance.stop() == 0


def test_sighup_on_the_way_out_of_a_fallback_changes_nothing(arun: Starter) -> None:
    arun.write("shop.py", BROKEN)
    arun.write(
        "safe.py", "import atexit, os, signal\natexit.register(lambda: os.kill(os.getpid(), signal.SIGHUP))\n" + MENDED
    )
    arun.write("safe.ini", "[arun]\napp = safe.py\nbind = {address}\nlog-level = debug\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini").ready()
    instance.wait_for("tried the first start again")
    assert instance.stop() == 0
    assert "RuntimeError" not in instance.said


def test_the_limit_of_the_chain_holds_for_faults_in_the_settings_too(arun: Starter) -> None:
    arguments = ("--fallback-limit", "0", "--bogus", "--fallback-config", "safe.ini", "--last-resort", "exit")
    instance = arun(*arguments)
    assert instance.wait() == 1
    assert instance.failures() == ["option-unknown", "fallback-limit"]


def test_print_config_is_another_name_of_show_config(arun: Starter) -> None:
    shown = [arun(flag, "--bind", ":1", stdout=subprocess.PIPE).process.communicate()[0] for flag in FLAGS]
    assert shown[0] == shown[1]
    assert b"bind = :1" in shown[0]


FLAGS = ("--show-config", "--print-config")
