"""The commands as a user types them: what they say, and with which status they end."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.conftest import ARUN, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Starter
    from tests.control.conftest import Controls

WORDS = ("status", "reload", "stop", "health", "offline", "online")


@pytest.mark.parametrize("word", WORDS)
def test_help_fits_eighty_columns(word: str) -> None:
    said = subprocess.run([ARUN, word, "--help"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"usage: arun {word}")
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("word", [word for word in WORDS if word != "health"])
def test_where_no_instance_is_the_status_is_2_and_what_was_looked_at_is_named(word: str, tmp_path: Path) -> None:
    path = {"PATH": os.environ["PATH"]}
    nowhere = subprocess.run([ARUN, word], env=path, capture_output=True, text=True, check=False)
    assert nowhere.returncode == 2
    assert nowhere.stderr.startswith("arun: no-instance: ")
    assert "RUNTIME_DIRECTORY" in nowhere.stderr
    gone = subprocess.run(
        [ARUN, word, "--control", tmp_path / "x"], env=path, capture_output=True, text=True, check=False
    )
    assert gone.returncode == 2
    assert f"no instance answers at {tmp_path}/x" in gone.stderr
    assert "Traceback" not in nowhere.stderr + gone.stderr


def test_status_shows_what_serves_within_eighty_columns_and_its_status_is_0(controlled: Controls) -> None:
    shop = controlled("--workers", "2")
    said = shop.command("status")
    assert said.returncode == 0
    assert "serving" in said.stdout.splitlines()[0]
    assert f"http://{shop.instance.address}" in said.stdout
    assert len(re.findall(r"^ +\d +\d+  serving", said.stdout, re.MULTILINE)) == 2
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "\033" not in said.stdout
    assert json.loads(shop.command("status", "--json").stdout)["state"] == "serving"


def test_status_of_a_fallback_tells_the_failure_and_is_1(controlled: Controls) -> None:
    controlled.arun.write("broken.py", "import missing_one\n")
    shop = controlled("--fallback-config", "welcome", app="broken:app")
    shop.becomes(state="fallback")
    said = shop.command("status")
    assert said.returncode == 1
    assert "fallback" in said.stdout.splitlines()[0]
    assert "app-dependency-missing" in said.stdout
    assert "hint" in said.stdout


def test_offline_and_online_say_that_a_fallback_serves_and_status_that_it_is_offline(controlled: Controls) -> None:
    controlled.arun.write("broken.py", "import missing_one\n")
    shop = controlled("--fallback-config", "welcome", "--recover", "signal", app="broken:app")
    shop.becomes(state="fallback")
    said = shop.command("offline", "back at 14:00")
    assert (said.returncode, said.stdout) == (0, "offline; a fallback serves in place of the app\n")
    assert re.search(r"^  offline +back at 14:00$", shop.command("status").stdout, re.MULTILINE)
    said = shop.command("online")
    assert (said.returncode, said.stdout) == (0, "online; a fallback serves in place of the app\n")
    assert "back at" not in shop.command("status").stdout


@pytest.mark.parametrize("plain", [False, True], ids=["colours", "NO_COLOR"])
def test_watch_redraws_on_a_terminal_until_it_is_interrupted(controlled: Controls, *, plain: bool) -> None:
    shop = controlled()
    reading, terminal = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8"} | ({"NO_COLOR": "1"} if plain else {})
    watching = subprocess.Popen(
        [ARUN, "status", "--control", shop.path, "--watch"], stdout=terminal, stdin=terminal, env=env, process_group=0
    )
    os.close(terminal)
    seen = b""
    while seen.count(b"\033[H") < 2:
        seen += os.read(reading, 65_536)
    watching.send_signal(signal.SIGINT)
    while True:
        try:
            seen += os.read(reading, 65_536)
        except OSError:
            break
    os.close(reading)
    assert watching.wait() == 0
    assert b"\033[2J" not in seen  # which flickers
    assert (b"\033[32m" in seen) is not plain
    assert seen.endswith(b"\033[?25h\033[?1049l")


def test_reload_waits_for_the_new_workers(controlled: Controls) -> None:
    shop = controlled("--workers", "2")
    before = {one["pid"] for one in shop.state()["workers"]}
    said = shop.command("reload")
    assert (said.returncode, said.stdout) == (0, "reloaded: shop:app with 2 workers\n")
    state = shop.state()
    assert state["generation"] == 2
    assert before.isdisjoint(one["pid"] for one in state["workers"] if one["state"] == "serving")


def test_a_reload_that_fails_says_why_and_is_1(controlled: Controls) -> None:
    shop = controlled("--workers", "2")
    controlled.arun.write("shop.py", "raise KeyError('stock')\n")
    said = shop.command("reload")
    assert said.returncode == 1
    assert "arun: app-import-failed: " in said.stderr
    assert "KeyError: 'stock'" in said.stderr
    assert "arun: hint: " in said.stderr
    state = shop.state()
    assert f" [{state['reloads']['last']['failures'][0]['id']}]\n" in said.stderr
    assert (state["generation"], state["ready"], state["reloads"]["failed"]) == (1, True, 1)
    assert "app-import-failed" in shop.command("status").stdout


def test_why_tells_of_a_reload_that_has_failed_with_and_without_records(controlled: Controls) -> None:
    shop = controlled("--workers", "2")
    for state_dir in ([], ["--state-dir", str(controlled.arun.folder)]):
        controlled.arun.write("shop.py", "raise KeyError('stock')\n")
        shop.command("reload")
        (failed,) = shop.state()["reloads"]["last"]["failures"]
        for words in ([], [failed["id"].lower()]):
            said = shop.command("why", *state_dir, *words)
            assert said.returncode == 0, said
            assert said.stdout.startswith("app-import-failed: ")
            assert f"id        {failed['id']}\n" in said.stdout
            assert "the instance goes on serving as before" in said.stdout


def test_a_reload_of_wrong_settings_fails_too(controlled: Controls) -> None:
    config = controlled.arun.write("shop.ini", "[arun]\nmodule = shop:app\nmaster = true\n")
    shop = controlled(app="shop.ini")
    config.write_text("[arun]\nmodule = shop:app\nmaster = true\nbacklog = many\n")
    said = shop.command("reload")
    assert (said.returncode, "option-invalid" in said.stderr) == (1, True)


def test_one_process_has_nothing_to_reload(controlled: Controls) -> None:
    said = controlled().command("reload")
    assert said.returncode == 1
    assert "--supervise" in said.stderr


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_reload_of_a_fallback_tries_the_first_start(controlled: Controls, workers: tuple[str, ...]) -> None:
    controlled.arun.write("late.py", "import missing_one\n")
    shop = controlled(*workers, "--recover", "signal", "--fallback-config", "welcome", app="late:app")
    shop.becomes(state="fallback")
    said = shop.command("reload")
    assert (said.returncode, "app-dependency-missing" in said.stderr) == (1, True), said
    controlled.arun.write("late.py", "from shop import app\n")
    said = shop.command("reload")
    assert said.returncode == 0, said
    assert said.stdout.startswith("the first start serves again")
    assert shop.state()["state"] == "serving"


def test_a_reload_of_a_fallback_shows_all_that_is_wrong_with_the_first_start_and_nothing_of_the_fallbacks(
    controlled: Controls,
) -> None:
    first = controlled.arun.write("first.ini", "[arun]\nmodule = shop:app\nbacklog = many\nworkers = few\n")
    controlled.arun.write("second.ini", "[arun]\nmodule = nowhere:app\n")
    shop = controlled(
        *("--recover", "signal", "--fallback-config", "second.ini", "--fallback-config", "welcome"), app="first.ini"
    )
    shop.becomes(state="fallback")
    for _ in range(2):
        said = shop.command("reload")
        assert said.returncode == 1
        assert [
            line.split(": ")[1] for line in said.stderr.splitlines() if "-invalid" in line or "-not-found" in line
        ] == [
            "option-invalid",
            "option-invalid",
        ], said.stderr
    first.write_text("[arun]\nmodule = elsewhere:app\n")
    said = shop.command("reload")
    assert "elsewhere" in said.stderr
    assert "nowhere" not in said.stderr


def test_stop_waits_until_the_instance_has_gone(controlled: Controls) -> None:
    shop = controlled("--workers", "2", "--timeout-graceful-shutdown", "20")
    asking = threading.Thread(target=shop.instance.get, args=("/slow",))
    asking.start()
    until(lambda: _is_one(shop.state()["in_flight"]), AssertionError)
    stopping = subprocess.Popen([ARUN, "stop", "--control", shop.path], stdout=subprocess.PIPE, text=True)
    shop.becomes(state="draining")
    assert stopping.poll() is None
    (controlled.arun.folder / "go").touch()
    said, _ = stopping.communicate(timeout=30)
    assert (stopping.returncode, said) == (0, f"stopped (pid: {shop.instance.pid})\n")
    assert shop.instance.wait() == 0
    asking.join()


def _is_one(number: int) -> None:
    assert number == 1


def test_stop_says_what_it_waits_for(controlled: Controls) -> None:
    shop = controlled()
    with shop.instance.connect() as client:
        client.sendall(b"GET /stuck/8 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: _is_one(shop.state()["in_flight"]), AssertionError)
        said = shop.command("stop")
    assert (said.returncode, said.stdout) == (0, f"stopped (pid: {shop.instance.pid})\n")
    assert said.stderr.startswith("arun: it has not stopped for 5 s: the app holds its loop (kill -KILL ")


def test_stop_by_force_waits_for_no_request(controlled: Controls) -> None:
    shop = controlled("--timeout-graceful-shutdown", "60")
    with shop.instance.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: _is_one(shop.state()["in_flight"]), AssertionError)
        assert shop.command("stop", "--force").returncode == 0
    assert shop.instance.wait() == 0


def test_stop_by_force_waits_for_no_app_that_holds_the_loop(controlled: Controls) -> None:
    shop = controlled("--timeout-graceful-shutdown", "60")
    with shop.instance.connect() as client:
        client.sendall(b"GET /stuck/30 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: _is_one(shop.state()["in_flight"]), AssertionError)
        began = time.monotonic()
        assert shop.command("stop", "--force").returncode == 0
        assert time.monotonic() - began < 10
    shop.instance.wait()


def test_stop_waits_for_an_instance_in_a_namespace_of_its_own(controlled: Controls) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs to make a PID namespace, as root does")
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    shop = controlled(command=[*unshare, str(ARUN)])
    assert shop.state()["pid"] == 1
    said = shop.command("stop")
    assert (said.returncode, said.stdout) == (0, "stopped (pid: 1)\n")
    assert shop.instance.wait() == 0


def test_health_is_0_where_the_instance_is_ready_and_1_where_not(controlled: Controls) -> None:
    shop = controlled()
    said = shop.command("health")
    assert (said.returncode, said.stdout) == (0, "serving\n")
    assert shop.command("health", "--path", "/").stdout == "status 200\n"
    shop.command("offline", "back at 14:00")
    said = shop.command("health")
    assert (said.returncode, said.stderr) == (1, "arun: offline: back at 14:00\n")
    assert shop.command("health", "--live").returncode == 0
    assert shop.command("health", "--path", "/").returncode == 1
    assert shop.instance.stop() == 0
    assert shop.command("health").returncode == 1


def test_health_finds_the_app_where_there_is_no_control_socket(arun: Starter) -> None:
    arun.write("shop.py", "async def app(scope, receive, send): ...\n")
    host, _, port = arun.address.rpartition(":")
    instance = arun("--bind", "{address}").ready()
    for env, words, status in (
        ({"ARUN_BIND": arun.address}, [], 0),
        ({}, [arun.address], 0),
        ({"PORT": port}, [], 1),  # that is on 127.0.0.1
        ({}, [f"{host}:1"], 1),
    ):
        said = subprocess.run(
            [ARUN, "health", *words],
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == status, said
        assert "Traceback" not in said.stderr
    assert instance.stop() == 0


def test_health_loads_no_event_loop_and_no_json(controlled: Controls) -> None:
    shop = controlled()
    script = (
        "import sys; from arun.commands import health; status = health.main(sys.argv[1:]);"
        "print(status, sorted({'asyncio', 'json', 'ssl', 'argparse', 'subprocess', 'typing'} & set(sys.modules)))"
    )
    python = ARUN.parent / "python"
    said = subprocess.run(
        [python, "-c", script, "--control", shop.path], capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines()[-1] == "0 []"


def test_commands_find_the_instance_by_its_config_and_its_pid_file(controlled: Controls) -> None:
    folder = controlled.arun.folder
    controlled.arun.write("shop.ini", f"[arun]\nmodule = shop:app\nbind = {{address}}\ncontrol = {folder}/d.sock\n")
    instance = controlled.arun("shop.ini", "--pidfile", "shop.pid").ready()
    env = {"PATH": os.environ["PATH"]}
    for words in (["shop.ini"], ["--pidfile", "shop.pid"]):
        said = subprocess.run(
            [ARUN, "status", "--json", *words], cwd=folder, env=env, capture_output=True, text=True, check=True
        )
        assert json.loads(said.stdout)["pid"] == instance.pid
    assert instance.stop() == 0


@pytest.mark.parametrize("word", [*WORDS[::-1], "why"])
def test_commands_find_the_instance_by_its_state_directory(controlled: Controls, word: str) -> None:
    folder = controlled.arun.folder
    words = ["--supervise"] if word == "reload" else []
    instance = controlled.arun("shop:app", "--bind", "{address}", "--state-dir", "kept", *words).ready()
    said = subprocess.run(
        [ARUN, word, "--state-dir", "kept"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == (1 if word == "why" else 0), said
    assert said.stdout
    if word != "stop":
        assert instance.stop() == 0


def test_why_takes_a_config_and_says_what_it_takes_otherwise(controlled: Controls) -> None:
    controlled.arun.write("shop.ini", f"[arun]\nmodule = gone\nbind = {controlled.arun.address}\nstate-dir = kept\n")
    controlled.arun.write("broken.ini", "[arun]\nbacklog = many\nstate-dir = kept\n")
    controlled.arun.write("wrong.ini", "[arun]\nbacklog = many\n")
    instance = controlled.arun("shop.ini", "--fallback-config", "welcome", "--recover", "signal").ready()
    for words, status, says in (
        (["shop.ini"], 0, "app-not-found: "),
        (["shop.ini", "--control", "kept/arun.sock"], 0, "app-not-found: "),
        (["--state-dir", "kept", "--control", "gone.sock"], 0, "app-not-found: "),
        (["--state-dir", "kept", "ABCDEF"], 1, "No failed start ABCDEF."),
        (["broken.ini"], 0, "app-not-found: "),
        (["wrong.ini"], 2, "arun: option-invalid: backlog: "),
        (["nowhere.ini"], 2, "an id has six letters and digits"),
    ):
        said = subprocess.run(
            [ARUN, "why", *words],
            cwd=controlled.arun.folder,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.returncode, says in said.stdout + said.stderr) == (status, True), said
    assert instance.stop() == 0


def test_offline_takes_no_file_for_its_text_and_no_wrong_address(controlled: Controls) -> None:
    shop = controlled()
    controlled.arun.write("site.ini", "[arun]\n")
    for words, says in (
        (["site.ini"], "--config site.ini"),
        (["x", "--allow", "300.1.1.1"], "arun: option-invalid: --allow: '300.1.1.1' is no IP address"),
    ):
        said = shop.command("offline", *words, cwd=controlled.arun.folder)
        assert (said.returncode, says in said.stderr, "arun: hint: " in said.stderr) == (2, True, True), said
    assert shop.state()["state"] == "serving"


def test_an_instance_that_was_killed_is_said_not_to_run(controlled: Controls) -> None:
    shop = controlled()
    os.kill(shop.instance.pid, signal.SIGKILL)
    shop.instance.wait()
    said = shop.command("status")
    assert said.returncode == 2
    assert "connection refused" in said.stderr
    assert "hint: it is not running" in said.stderr


def test_a_word_that_is_an_app_is_one_by_its_file(controlled: Controls) -> None:
    controlled.arun.write("status.py", "from shop import app\n")
    instance = controlled.arun("status.py", "--bind", "{address}").ready()
    assert instance.get().text.startswith("pid ")
