"""The control socket as a file: whose it is, where it is, whose place it takes, and when it goes."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from tests.conftest import until
from tests.control.conftest import Controlled

if TYPE_CHECKING:
    from tests.conftest import Starter
    from tests.control.conftest import Controls


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_the_socket_is_its_users_alone_and_goes_with_the_instance(controlled: Controls, stop: signal.Signals) -> None:
    shop = controlled()
    assert stat.S_IMODE(shop.path.stat().st_mode) == 0o600
    shop.instance.send(stop)
    assert shop.instance.wait() == 0
    assert not shop.path.exists()


def test_the_runtime_directory_holds_it_by_default_and_else_the_state_directory(arun: Starter) -> None:
    arun.write("shop.py", "async def app(scope, receive, send): ...\n")
    for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
        folder = arun.folder / name.lower()
        folder.mkdir()
        instance = arun("shop:app", "--bind", "{address}", env={name: f"{folder}:/nowhere"}).ready()
        assert Controlled(instance, folder / "arun.sock", "").state()["pid"] == instance.pid
        assert instance.stop() == 0


@pytest.mark.parametrize("arguments", [(), ("--control", "none")])
def test_without_a_directory_or_on_request_there_is_none(arun: Starter, arguments: tuple[str, ...]) -> None:
    env = {"RUNTIME_DIRECTORY": str(arun.folder)} if arguments else {}
    arun.write("shop.py", "async def app(scope, receive, send): ...\n")
    instance = arun("shop:app", "--bind", "{address}", *arguments, env=env).ready()
    assert not (arun.folder / "arun.sock").exists()
    assert instance.stop() == 0


def test_a_socket_that_nobody_answers_is_replaced(controlled: Controls) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(controlled.arun.folder / "c.sock"))
    assert controlled().state()["state"] == "serving"


def test_a_socket_that_another_instance_has_fails_the_start_that_asks_for_it_and_stays(controlled: Controls) -> None:
    shop = controlled()
    second = controlled.arun("shop:app", "--uds", "other.sock", "--control", str(shop.path))
    assert second.wait() == 1
    assert second.failures() == ["address-in-use"]
    assert shop.state()["pid"] == shop.instance.pid


def test_one_that_is_only_the_default_is_gone_without(controlled: Controls) -> None:
    folder = controlled.arun.folder
    shop = controlled.arun("shop:app", "--uds", "a.sock", env={"RUNTIME_DIRECTORY": str(folder)})
    shop.ready()
    second = controlled.arun("shop:app", "--uds", "b.sock", env={"RUNTIME_DIRECTORY": str(folder)}).ready()
    assert "no control socket" in second.said
    assert second.failures() == []
    assert second.stop() == 0
    assert Controlled(shop, folder / "arun.sock", "").state()["pid"] == shop.pid


def test_a_path_that_no_socket_can_have_is_a_clear_failure(arun: Starter) -> None:
    arun.write("shop.py", "async def app(scope, receive, send): ...\n")
    instance = arun("shop:app", "--bind", "{address}", "--control", f"/tmp/{'x' * 120}")
    assert instance.wait() == 1
    assert instance.own_frames() == []
    assert len(instance.failures()) == 1


def test_it_answers_through_the_fallback_and_the_way_back_and_leaves_nothing(controlled: Controls) -> None:
    controlled.arun.write("late.py", "import missing_one\n")
    shop = controlled("--recover", "signal", "--fallback-config", "welcome", app="late:app")
    shop.becomes(state="fallback")
    file = os.stat(shop.path).st_ino
    controlled.arun.write("missing_one.py", "")
    controlled.arun.write("late.py", "import missing_one\nfrom shop import app\n")
    shop.instance.send(signal.SIGHUP)
    shop.becomes(state="serving", level=0)
    assert os.stat(shop.path).st_ino == file  # the same socket, handed over
    assert shop.probes() == (200, 200, 200)
    # The connection of the last question may not be closed yet.
    came_back = min(len(shop.instance.descriptors()) for _ in range(50))
    assert shop.instance.stop() == 0
    assert not shop.path.exists()
    direct = controlled(app="late:app")
    assert came_back <= len(direct.instance.descriptors())


def test_it_is_there_for_the_fallback_of_settings_that_are_wrong(controlled: Controls) -> None:
    shop = controlled("--fallback-config", "welcome", "--backlog", "many")
    state = shop.becomes(state="fallback")
    assert state["failures"][0]["identifier"] == "option-invalid"
    assert shop.probes() == (200, 200, 503)


def test_a_reload_moves_it(controlled: Controls) -> None:
    folder = controlled.arun.folder
    config = folder / "shop.ini"
    first, second = folder / "one.sock", folder / "two.sock"
    config.write_text(
        f"[arun]\nbind = {controlled.arun.address}\nmodule = shop:app\nmaster = true\ncontrol = {first}\n"
    )
    instance = controlled.arun(str(config)).ready()
    shop = Controlled(instance, first, "")
    assert shop.state()["generation"] == 1
    config.write_text(config.read_text().replace(str(first), str(second)))
    instance.send(signal.SIGHUP)
    moved = Controlled(instance, second, "")
    until(lambda: moved.becomes(generation=2), OSError)
    until(lambda: _is_gone(str(first)), AssertionError)


def _is_gone(path: str) -> None:
    assert not os.path.exists(path)


def test_workers_do_not_hold_it(controlled: Controls) -> None:
    shop = controlled("--workers", "2", "--preload")
    table = shop.instance.descriptors()
    with open("/proc/net/unix", encoding="ascii", errors="replace") as file:
        (inode,) = (
            line.split()[6] for line in file if line.rstrip().endswith(f" {shop.path}") and " 00010000 " in line
        )
    assert f"socket:[{inode}]" in table.values()
    for pid in shop.instance.children():
        held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert f"socket:[{inode}]" not in held


def test_json_is_versioned_and_whole(controlled: Controls) -> None:
    shop = controlled()
    answer = shop.ask("/status")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["version"] == 1
