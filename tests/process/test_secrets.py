"""Secrets are in no output of arun's: canaries in environment, command line, settings, URLs and locals of an app that fails.

What the user has put into the environment stays there, for the app and for what is executed; it is looked for in all else.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import ARUN, until

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
ssl-keyfile-password = {CANARIES["setting"]}
env-file = secrets.env
fallback-config = welcome
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
os.rename("told.part", "told")
"""


def page(kind: str) -> Callable[[Any], str]:
    return lambda instance: instance.get("/", headers={"Accept": kind}).text


def why(*arguments: str) -> Callable[[Any], str]:
    def run(instance: Any) -> str:
        folder = Path(f"/proc/{instance.pid}/cwd")
        command = [str(ARUN), "why", "--state-dir", str(folder.resolve() / "state"), *arguments]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return told.stdout

    return run


def of_process(name: str) -> Callable[[Any], str]:
    return lambda instance: Path(f"/proc/{instance.pid}/{name}").read_text().replace("\0", "\n")


def in_folder(name: str) -> Callable[[Any], str]:
    return lambda instance: until((Path(f"/proc/{instance.pid}/cwd") / name).read_text, FileNotFoundError)


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
        *("site.ini", "-e", f"DB_PASSWORD={CANARIES['--env']}", f"--ssl-keyfile-password={CANARIES['option']}"),
        *("--log-format", form, "--on-fallback", f"{sys.executable} tell.py", *processes),
        env=ENVIRONMENT,
    )
    instance.wait_for("serving the welcome page")
    for name, (read, about) in OUTPUTS.items():
        text = read(instance)
        assert about in text, name
        looked_for = ELSEWHERE if name == "the successor's environment" else CANARIES
        assert [where for where, canary in looked_for.items() if canary in text] == [], name
    instance.send(signal.SIGHUP)  # the way back names the first command line
    instance.wait_for("serving the welcome page", times=2)
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
