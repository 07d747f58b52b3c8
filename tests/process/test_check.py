"""``arun check``: all that a start does short of serving, fallbacks included; what it prints, and its status."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import ARUN, PATIENCE
from tests.process.conftest import STRANGER
from tests.process.shops import SHOP, start_up

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from tests.conftest import Starter

SAFE = "[arun]\nbind = {address}\n"
STEPS = ["settings", "surroundings", "addresses", "app", "start-up", "shut-down"]


class Checked:
    """What a check has printed, and its status."""

    def __init__(self, arun: Starter, *arguments: str, command: Path = ARUN, **env: str) -> None:
        done = subprocess.run(
            [command, "check", *(one.replace("{address}", arun.address) for one in arguments)],
            cwd=arun.folder,
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.status, self.text, self.said = done.returncode, done.stdout, done.stderr

    def rows(self, mark: str) -> list[str]:
        return re.findall(rf"^  {mark} +(\S.*)$", self.text, re.MULTILINE)

    @property
    def values(self) -> Any:
        return json.loads(self.text)


def test_a_sound_start_is_told_step_by_step_and_nothing_is_left(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    line = ("--bind", "{address}", "--pidfile", "pid", "--log-file", "log", "--access-logfile", "access")
    checked = Checked(arun, "shop.py", *line)
    assert (checked.status, checked.said) == (0, "")
    assert checked.text.startswith("Start: shop.py\n")
    assert [row.split("  ")[0] for row in checked.rows("ok")] == STEPS
    assert all(re.search(r"  \d+ ms$", row) for row in checked.rows("ok"))
    assert checked.text.endswith("This start would serve.\n")
    assert "No fallback: a start that fails ends with status 1" in checked.text
    assert {one.name for one in arun.folder.iterdir()} - {"__pycache__"} == {"shop.py"}
    assert checked.text.isascii()
    assert max(map(len, checked.text.splitlines())) <= 80


def test_every_fallback_is_tried_as_a_start_of_its_own(arun: Starter) -> None:
    """A fallback whose own start-up fails is found here, before the outage."""
    arun.write("shop.py", SHOP)
    arun.write("other.py", start_up("raise RuntimeError('no brokers')"))
    arun.write("a.ini", SAFE + "app = other.py\nfallback-config = b.ini\n")
    arun.write("b.ini", SAFE)
    checked = Checked(arun, "shop.py", "--bind", "{address}", "--fallback-config", "a.ini")
    assert checked.status == 1
    heads = re.findall(r"^\S.*: .*$", checked.text, re.MULTILINE)
    assert heads[:4] == ["Start: shop.py", "Fallback 1: a.ini", "Fallback 2: b.ini", "Fallback 3: welcome"]
    assert [row[:36].rstrip() for row in checked.rows("failed")] == ["start-up         app-startup-failed:"]
    assert "\nFirst thing to mend: app-startup-failed: " in checked.text
    assert "\n  hint  the fault is in the app's own start-up" in checked.text
    assert 'other.py", line ' in checked.text
    assert "arun/" not in checked.text


#: What is wrong, and the step, the identifier and the place that are told.
BROKEN = {
    "option": (("--no-such-thing", "shop.py"), "settings", "option-unknown", "command line"),
    "folder": (("--chdir", "gone", "shop.py"), "surroundings", "directory-unusable", "--chdir"),
    "user": (("--uid", "no-such-user", "shop.py"), "surroundings", "user-unknown", "--uid"),
    "certificate": (("--ssl-certfile", "gone.pem", "shop.py"), "certificates", "certificate-missing", "--ssl-certfile"),
    "app": (("gone.py",), "app", "app-not-found", "command line"),
    "page": (("--welcome-html", "gone.html"), "surroundings", "file-unusable", "--welcome-html"),
    "exit": (("dies.py",), "process", "worker-died", ""),
    "time": (("sleeps.py", "--start-timeout", "1"), "start-up", "start-timeout", "--start-timeout"),
    "strict": (
        ("shop.py", "--fallback-config", "gone.ini", "--strict-fallback"),
        "fallback",
        "fallback-broken",
        "--fallback-config",
    ),
}


@pytest.mark.parametrize(("arguments", "step", "identifier", "origin"), BROKEN.values(), ids=BROKEN)
def test_the_first_thing_to_mend_is_named(
    arun: Starter, arguments: tuple[str, ...], step: str, identifier: str, origin: str
) -> None:
    arun.write("shop.py", SHOP)
    arun.write("dies.py", "import os\nos._exit(3)\n")
    arun.write("sleeps.py", "import time\ntime.sleep(1000)\n")
    checked = Checked(arun, "--json", "--bind", "{address}", *arguments)
    told = checked.values
    assert (checked.status, told["version"], told["ok"]) == (1, 1, False)
    assert (told["mend"]["step"], told["mend"]["identifier"], told["mend"]["origin"]) == (step, identifier, origin)
    assert told["mend"]["hint"]
    assert told["starts"][0]["failures"][0] == told["mend"]
    assert checked.said == ""


def test_a_busy_address_is_a_failure_that_names_its_holder(arun: Starter, held: socket.socket) -> None:
    arun.write("shop.py", SHOP)
    checked = Checked(arun, "shop.py", "--bind", "{address}")
    assert checked.status == 1
    assert f"pid {os.getpid()} (" in " ".join(checked.text.split())
    assert held.getsockname()


@pytest.mark.parametrize("known_by", ["arguments", "pid file", "fallback"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_the_same_instance_holds_is_its_own(arun: Starter, known_by: str, workers: str) -> None:
    """As nginx -t beside a running nginx."""
    arun.write("shop.py", "1 / 0\n" if known_by == "fallback" else SHOP)
    arun.write("safe.ini", f"[arun]\nworkers = {workers}\n")
    line = ["shop.py", "--bind", "{address}", "--workers", workers, "--pidfile", "pid", "--fallback-config", "safe.ini"]
    if known_by != "pid file":
        del line[5:7]
    instance = arun(*line).ready()
    arun.write("shop.py", SHOP)
    checked = Checked(arun, *line, *(["--debug"] if known_by == "pid file" else []))
    assert checked.status == 0, checked.text
    assert f"in use by a running arun (pid {instance.pid})" in " ".join(checked.text.split())
    assert "would serve, with 1 warning.\n" in checked.text
    assert instance.get().status in {200, 503}


def test_warnings_of_arun_are_shown(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    checked = Checked(arun, "shop.py", "--bind", "{address}", "--ssl-ciphers", "ECDHE+AESGCM", ARUN_NO_SUCH="1")
    assert checked.status == 0
    assert len(checked.rows("warning")) == 2


def test_a_command_of_a_notice_that_is_not_found_is_a_warning(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    line = ("shop.py", "--bind", "{address}", "--on-fallback", "nosuchcmd --now", "--on-recover", "sh -c true")
    checked = Checked(arun, *line)
    assert checked.status == 0
    (warning,) = checked.rows("warning")
    assert warning.startswith("on-fallback (from --on-fallback) cannot be run: ")
    assert "nosuchcmd" in checked.text


def test_json_may_be_asked_for_at_the_end(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    assert Checked(arun, "shop.py", "--bind", "{address}", "--json").values["ok"]
    assert Checked(arun, "shop.py", "--json", "--bind", "{address}").values["ok"]
    arun.write("site.json", '{"module": "shop"}')
    assert Checked(arun, "--json", "--json", "site.json", "--bind", "{address}").values["ok"]


def test_an_app_that_hangs_is_ended_with_the_check(arun: Starter) -> None:
    arun.write("sleeps.py", "import os, time\nopen('here', 'w').write(str(os.getpid()))\ntime.sleep(1000)\n")
    instance = arun("check", "sleeps.py")
    here = arun.folder / "here"
    while not here.exists() or not here.read_text():
        assert instance.process.poll() is None
    pid = int(here.read_text())
    instance.process.terminate()
    instance.wait()
    while os.path.exists(f"/proc/{pid}"):
        pass


def test_the_drop_of_privileges_is_part_of_it(public_arun: Starter) -> None:
    public_arun.write("shop.py", SHOP)
    public_arun.write("safe.ini", SAFE).chmod(0o600)
    line = ("--uid", str(STRANGER), "--gid", str(STRANGER), "--bind", "{address}", "shop.py")
    checked = Checked(public_arun, *line, "--fallback-config", "safe.ini", command=public_arun.command)
    assert checked.status == 1, checked.text
    assert f"privileges       uid {STRANGER}, gid {STRANGER}" in checked.text
    assert f"config-unreadable: uid {STRANGER} cannot read the config safe.ini" in " ".join(checked.text.split())


def test_colours_are_for_a_terminal_that_wants_them(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    shown = {}
    for name, env in (("plain", {"NO_COLOR": "1"}), ("coloured", {})):
        parent, child = pty.openpty()
        command = [str(ARUN), "check", "shop.py", "--bind", arun.address]
        terminal = {"PATH": os.environ["PATH"], "TERM": "xterm", **env}
        with subprocess.Popen(command, cwd=arun.folder, env=terminal, stdout=child, stderr=child):
            os.close(child)
            pieces = []
            try:
                while piece := os.read(parent, 65_536):
                    pieces.append(piece)
            except OSError:  # the other end is closed
                os.close(parent)
        shown[name] = b"".join(pieces).decode()
    assert "\033[32mok" in shown["coloured"]
    assert (
        re.sub(r"\d+ ms", "", re.sub(r"\033\[\d+m", "", shown["coloured"])).split()
        == re.sub(r"\d+ ms", "", shown["plain"]).split()
    )


@pytest.mark.parametrize("arguments", [("shop.py", "--help"), ("--version",)])
def test_a_question_is_nothing_to_check(arun: Starter, arguments: tuple[str, ...]) -> None:
    checked = Checked(arun, *arguments)
    assert (checked.status, checked.text) == (2, "")
    assert "starts nothing that could be checked\narun: hint: " in checked.said


def test_the_help_is_at_most_80_columns_wide(arun: Starter) -> None:
    checked = Checked(arun, "--help")
    assert checked.status == 0
    assert max(map(len, checked.text.splitlines())) <= 80


def test_the_app_knows_that_it_is_only_tried(arun: Starter) -> None:
    arun.write("shop.py", f"import os\nopen('said', 'w').write(os.environ['ARUN_PROBE'])\n{SHOP}")
    assert Checked(arun, "shop.py", "--bind", "{address}").status == 0
    assert (arun.folder / "said").read_text() == "1"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_secret_is_shown(arun: Starter, form: tuple[str, ...]) -> None:
    """Neither one of the settings, nor of the environment, nor of a URL in what an app or a config says."""
    arun.write("shop.py", "import os\nraise RuntimeError('no route to ' + os.environ['DATABASE_URL'])\n")
    arun.write("safe.ini", "[arun]\nport = postgres://me:canary-4@db/shop\n")
    line = ("--ssl-keyfile-password", "canary-1", "--env", "TOKEN=canary-2", "--fallback-config", "safe.ini", "shop.py")
    checked = Checked(arun, *form, *line, DATABASE_URL="postgres://me:canary-3@db/shop", API_KEY="canary-5")
    assert checked.status == 1
    assert "no route to postgres://me:***@db/shop" in checked.text.replace("\n", " ")
    assert "canary" not in checked.text + checked.said
