"""Secrets are in no output of arun's: canaries in environment, command line, settings, URLs and locals of an app that fails.

What the user has put into the environment stays there, for the app and for what is executed; it is looked for in all else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import ARUN, until

from arun.control import client

if TYPE_CHECKING:
    from collections.abc import Callable

#: Each canary by where it is put.
IN_ENVIRONMENT = {"url": "canary0url7pass", "variable": "canary1variable"}
ELSEWHERE = {
    "option": "canary2option",
    "--env": "canary3env",
    "setting": "canary4setting",
    "env file": "canary5file",
    "local": "canary6local",
    "url in code": "canary7code",
    "assignment": "canary8assigned",
}
CANARIES = IN_ENVIRONMENT | ELSEWHERE
APP = f"""
import os

if "-" in os.environ.get("ARUN_PROBE", ""):  # a probe of the way back, and not of arun check, which is given the secrets
    for name in ("cmdline", "environ"):
        with open(f"/proc/self/{{name}}") as seen, open(f"probe.{{name}}", "w") as kept:
            kept.write(seen.read().replace(chr(0), chr(10)))

class Pool:
    def connect(self, url):
        secret = "{CANARIES["local"]}"[:]
        raise ConnectionError(
            f"cannot connect to {{url}} with {{os.environ['API_TOKEN']}} {{os.environ['DB_PASSWORD']}} "
            f"{{os.environ['SMTP_PASSWORD']}}; amqp://shop:" + "canary7" + "code@mq/x password=" + "canary8" + "assigned"
        )

Pool().connect(os.environ["DATABASE_URL"])
"""
SITE = f"""
[arun]
app = shop.py
bind = {{address}}
debug = yes
state-dir = state
control = control.sock
status = unix:status.sock
ssl-keyfile-password = {CANARIES["setting"]}
env-file = secrets.env
fallback-config = welcome
"""
WORKS = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"mended"]
"""
ENVIRONMENT = {
    "DATABASE_URL": f"postgresql://shop:{CANARIES['url']}@db.example:5432/shop",
    "API_TOKEN": CANARIES["variable"],
}
TELLER = """
import os, sys
text = sys.stdin.read()
with open("told.part", "w") as file:
    file.write(text)
os.rename("told.part", sys.argv[1])
"""


def page(kind: str) -> Callable[[Any], str]:
    return lambda instance: instance.get("/", headers={"Accept": kind}).text


def command(*words: str, status: int = 0) -> Callable[[Any], str]:
    """Run a command of arun's in the folder of the instance, with what the user has put into the environment."""

    def run(instance: Any) -> str:
        told = subprocess.run(
            [str(ARUN), *words],
            cwd=Path(f"/proc/{instance.pid}/cwd").resolve(),
            env={"PATH": os.environ["PATH"], **ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert told.returncode == status, told.stderr
        return told.stdout + told.stderr

    return run


def why(*arguments: str) -> Callable[[Any], str]:
    return command("why", "--state-dir", "state", *arguments)


def asked(socket: str, path: str) -> Callable[[Any], str]:
    def ask(instance: Any) -> str:
        return client.ask(str(Path(f"/proc/{instance.pid}/cwd").resolve() / socket), path).text

    return ask


def of_process(name: str) -> Callable[[Any], str]:
    return lambda instance: Path(f"/proc/{instance.pid}/{name}").read_text().replace("\0", "\n")


def in_folder(name: str) -> Callable[[Any], str]:
    return lambda instance: until((Path(f"/proc/{instance.pid}/cwd") / name).read_text, FileNotFoundError)


#: The options that hold secrets.
SECRETS = ("-e", f"DB_PASSWORD={CANARIES['--env']}", f"--ssl-keyfile-password={CANARIES['option']}")
#: A start on another address than the instance that runs.
BESIDE = ("site.ini", *SECRETS, "--bind", "127.0.0.1:0")
#: Every output, and a word that shows that it is about this failure.
OUTPUTS: dict[str, tuple[Callable[[Any], str], str]] = {
    "the log": (lambda instance: instance.logged, "cannot connect to postgresql://shop:***@db.example"),
    "the page": (page("text/html"), "cannot connect to postgresql://shop:***@db.example"),
    "the page as text": (page("text/plain"), "cannot connect to"),
    "the page as JSON": (page("application/json"), "cannot connect to"),
    "the failure log": (in_folder("state/failures.jsonl"), "cannot connect to"),
    "arun why": (why(), "cannot connect to"),
    "arun why --json": (why("--json"), "cannot connect to"),
    "arun why --all": (why("--all"), "app-import-failed"),
    "what a command is told": (in_folder("told"), "cannot connect to"),
    "the control socket": (asked("control.sock", "/status"), "cannot connect to"),
    "the status listener": (asked("status.sock", "/status"), "app-import-failed"),
    "metrics": (asked("status.sock", "/metrics"), "app-import-failed"),
    "a probe of readiness": (asked("status.sock", "/readyz"), "app-import-failed"),
    "arun status": (command("status", "site.ini", status=1), "cannot connect to"),
    "arun status --json": (command("status", "--json", "site.ini", status=1), "cannot connect to"),
    "arun check": (command("check", *BESIDE, status=1), "cannot connect to"),
    "arun check --json": (command("check", "--json", *BESIDE, status=1), "cannot connect to"),
    "arun drill": (command("drill", "--fail", "app", "site.ini", *SECRETS), "app-import-failed"),
    "the probe's command line": (in_folder("probe.cmdline"), "arun"),
    "the probe's environment": (in_folder("probe.environ"), "API_TOKEN"),
    "the successor's command line": (of_process("cmdline"), "welcome.ini"),
    "the successor's environment": (of_process("environ"), "API_TOKEN"),
}


@pytest.mark.parametrize("form", ["text", "json", "plain"])
@pytest.mark.parametrize("processes", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_no_output_holds_a_secret(arun: Any, form: str, processes: tuple[str, ...]) -> None:
    arun.write("shop.py", APP)
    arun.write("site.ini", SITE)
    arun.write("secrets.env", f"SMTP_PASSWORD={CANARIES['env file']}\n")
    arun.write("tell.py", TELLER)
    instance = arun(
        *("site.ini", *SECRETS, "--log-format", form, *processes),
        *("--on-fallback", f"{sys.executable} tell.py told", "--on-recover", f"{sys.executable} tell.py all-clear"),
        env=ENVIRONMENT,
    )
    instance.wait_for("serving the welcome page")
    for name, (read, about) in OUTPUTS.items():
        text = read(instance)
        assert about in text, name
        looked_for = ELSEWHERE if name.endswith("environment") else CANARIES
        assert [where for where, canary in looked_for.items() if canary in text] == [], name
    arun.write("shop.py", WORKS)
    instance.wait_for("going back to the first start")  # it names the first command line
    all_clear = in_folder("all-clear")(instance)
    assert "app-import-failed" in all_clear
    assert [where for where, canary in CANARIES.items() if canary in all_clear] == []
    assert "--ssl-keyfile-password=***" in instance.logged
    assert [where for where, canary in CANARIES.items() if canary in instance.logged] == []
    assert instance.stop() == 0


def test_requests_that_fail_tell_no_secret(arun: Any) -> None:
    """Neither the log nor the page that debug shows to this machine."""
    serving = "def app(environ, start_response):\n    raise ConnectionError(os.environ['DATABASE_URL'])\n"
    arun.write("shop.py", "import os\n" + serving)
    instance = arun("shop.py", "--bind", "{address}", "--debug", env=ENVIRONMENT).ready()
    shown = instance.get().text
    instance.wait_for("ConnectionError: postgresql://shop:***@db.example:5432/shop")
    assert "ConnectionError: postgresql://shop:***@db.example:5432/shop" in shown
    assert CANARIES["url"] not in instance.logged + shown
