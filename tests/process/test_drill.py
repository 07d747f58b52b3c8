"""``arun drill``: starts that are made to fail on purpose, the fallback that answers, and the way back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import ARUN
from tests.process.conftest import STRANGER
from tests.process.shops import SHOP

if TYPE_CHECKING:
    from tests.conftest import Starter
    from tests.process.conftest import Authority

KINDS = {
    "bind": "address-in-use",
    "config": "option-unknown",
    "app": "app-import-failed",
    "startup": "app-startup-failed",
    "crash-loop": "crash-loop",
}
OWN = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"the shop is closed for repairs"]
"""


def drill(
    arun: Starter, *arguments: str, tmp: Path | None = None, command: Path = ARUN, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, "drill", *(one.replace("{address}", arun.address) for one in arguments)],
        cwd=arun.folder,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp or "/tmp"), "ARUN_LOG_LEVEL": "critical", **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def left_in(folder: Path) -> list[str]:
    """What processes of this folder are there still."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(line.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return [words for words in found if str(folder) in words]


def test_all_failures_are_answered_by_the_fallback_of_the_user_and_mended(arun: Starter, tmp_path: Path) -> None:
    """Beside the instance itself, which serves on its address meanwhile and notices nothing."""
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    arun.write("shop.py", SHOP)
    arun.write("closed.py", OWN)
    arun.write("safe.ini", "[arun]\nbind = {address}\napp = closed.py\n")
    arun.write(
        "site.ini",
        "[arun]\napp = shop.py\nbind = {address}\npidfile = pid\nlog-file = log\nfallback-config = safe.ini\n",
    )
    instance = arun("site.ini")
    assert instance.eventually().status == 200
    before = {one.name: one.stat().st_mtime_ns for one in arun.folder.iterdir() if one.is_file()}
    done = drill(arun, "--json", "site.ini", tmp=tmp)
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["ok"], told["version"]) == (0, "", True, 1), told
    assert {one["kind"]: one["identifier"] for one in told["failures"]} == KINDS
    for one in told["failures"]:
        assert (one["status"], one["words"]) == (200, "the shop is closed for repairs")
        assert (one["refused"], one["faults"], one["fallbacks"]) == (0, [], ["safe.ini"])
        assert 0 < one["answered_after"] < 20
        assert 0 < one["back_after"] < 20
    assert {one.name: one.stat().st_mtime_ns for one in arun.folder.iterdir() if one.is_file()} == before
    assert instance.get().text == f"one {instance.pid}"
    assert list(tmp.iterdir()) == []
    assert left_in(tmp) == []


def test_one_failure_is_shown_on_a_line(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    done = drill(arun, "--fail", "app", "shop.py", "--fallback-config", "welcome", "--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Drill of the fallback welcome\n\n  failure     identifier")
    row = r"^  app         app-import-failed   503 in \d\.\d\d s     0        \d\.\d\d s"
    assert re.search(row, done.stdout, re.MULTILINE), done.stdout
    assert "\nIt says: We’ll be right back.\n" in done.stdout  # noqa: RUF001 - typographic
    assert "\nEvery failure was answered, and the way back works, in " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_terminal_without_unicode_is_no_reason_to_fail(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    line = ("--fail", "app", "shop.py", "--fallback-config", "welcome")
    done = drill(arun, *line, env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nIt says: We\\u2019ll be right back.\n" in done.stdout


#: What is wrong with a fallback, and how the drill tells it.
FAULTS = {
    "fails too": ("app = gone.py\n", "    the fallback failed too: app-not-found; run arun check\n"),
    "listens elsewhere": (
        "bind = 127.0.0.1:1999\n",
        "    the fallback serves, but not where the start listens: its clients are refused\n",
    ),
}


@pytest.mark.parametrize(("safe", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fallback_that_does_not_help_is_found(arun: Starter, safe: str, words: str) -> None:
    arun.write("shop.py", SHOP)
    arun.write("safe.ini", f"[arun]\n{safe}")
    line = ("shop.py", "--bind", "{address}", "--fallback-config", "safe.ini", "--log-format", "plain")
    done = drill(arun, "--fail", "config", *line)
    assert done.returncode == 1
    assert words in done.stdout
    assert "\n    | option-unknown: arun has no key broken-on-purpose" in done.stdout  # what the drilled start said
    assert "\n1 of 1 drills failed, in " in done.stdout


def test_secrets_and_signs_of_configs_cross_as_they_are(arun: Starter) -> None:
    """The own app, in the drill of bind, is started with the settings of the instance."""
    value = "50% $(HOME) @(x) é"
    arun.write("shop.py", f"import os\nassert os.environ['SHOP'] == {value!r}\n{SHOP}")
    arguments = ("--env", f"SHOP={value}", "shop.py", "--fallback-config", "welcome")
    done = drill(arun, "--fail", "bind", *arguments)
    assert done.returncode == 0, done.stdout


def test_a_start_with_tls_is_drilled_with_tls(arun: Starter, authority: Authority) -> None:
    certificate, key = authority.issue("shop.test")
    arun.write("shop.py", SHOP)
    secured = ("--https-socket", f"{{address}},{certificate},{key}")
    done = drill(arun, "--fail", "startup", "shop.py", *secured, "--fallback-config", "welcome")
    assert done.returncode == 0, done.stdout
    assert "503 in" in done.stdout


def test_a_start_that_drops_its_privileges_is_drilled_as_that_user(public_arun: Starter) -> None:
    public_arun.write("shop.py", SHOP)
    who = ("--uid", str(STRANGER), "--gid", str(STRANGER))
    line = ("--bind", "{address}", "shop.py", "--fallback-config", "safe.ini")
    public_arun.write("safe.ini", "[arun]\nbind = {address}\n")
    done = drill(public_arun, "--fail", "bind,app", *who, *line, command=public_arun.command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_failure_that_has_no_fallback_on_purpose_is_left_out(arun: Starter) -> None:
    arun.write("shop.py", SHOP)
    line = ("--fallback-config", "welcome", "--fallback-on", "load")
    done = drill(arun, "--fail", "config", "shop.py", *line)
    assert done.returncode == 0
    assert "  config      fallback-on leaves it out\n" in done.stdout


#: Arguments that cannot be drilled, and why.
REFUSED = {
    "no fallback": (("shop.py",), "no fallback is named"),
    "kind": (("--fail", "fire", "shop.py"), "--fail takes one of bind, config, app, startup, crash-loop, not 'fire'"),
    "option": (("--no-such", "--fallback-config", "welcome"), "arun has no option --no-such"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drilled_is_refused(arun: Starter, arguments: tuple[str, ...], words: str) -> None:
    done = drill(arun, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "\narun: hint: " in done.stderr


def test_the_help_is_at_most_80_columns_wide(arun: Starter) -> None:
    done: Any = drill(arun, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
