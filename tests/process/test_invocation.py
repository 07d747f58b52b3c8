"""How arun is called: each form lives on in its successor, and a question is answered without a start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SAFE = "[arun]\nbind = {address}\n"
PYTHON = sys.executable
HOME = str(Path(__file__).parents[2])

#: The command, and the successor's without its config; ARUN stands for the installed command.
FORMS = {
    "python -m arun": ([PYTHON, "-m", "arun"],) * 2,
    "python -X dev -m arun": ([PYTHON, "-X", "dev", "-m", "arun"],) * 2,
    "python -I arun": ([PYTHON, "-I", "ARUN"],) * 2,
    "python with flags, arun": ([PYTHON, "-O", "-W", "error::UserWarning", "ARUN"],) * 2,
    "python -Wflag -marun": ([PYTHON, "-Werror::UserWarning", "-Xutf8", "-marun"],) * 2,
    "python -um arun": ([PYTHON, "-um", "arun"],) * 2,
    "python -c": ([PYTHON, "-c", "from arun.__main__ import main; main()"],) * 2,
}


@pytest.mark.parametrize(("command", "successor"), FORMS.values(), ids=FORMS)
def test_successor_is_started_in_the_same_form_with_the_same_flags(
    arun: Any, assert_welcomes: Any, command: list[str], successor: list[str]
) -> None:
    arun.write("safe.ini", SAFE)
    command = [str(arun.command) if word == "ARUN" else word for word in command]
    successor = [str(arun.command) if word == "ARUN" else word for word in successor]
    options = ["gone.py", "--bind", "{address}", "--fallback-config", "safe.ini"]
    instance = arun(*options, command=command, env={"PYTHONPATH": HOME})
    assert_welcomes(instance, program=successor)


@pytest.mark.parametrize("form", ["arun", "./arun", "sub/arun", "absolute"])
def test_successor_is_the_same_script(arun: Any, assert_welcomes: Any, healthy: Any, form: str) -> None:
    """Found on the PATH, by an absolute path or a relative one, also by a link: its path is absolute from then on."""
    arun.write("safe.ini", SAFE)
    path = arun.folder / form if form.startswith((".", "sub")) else arun.command
    if path != arun.command:
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(arun.command)
    command = [{"absolute": str(arun.command)}.get(form, form)]
    search = f"{Path(arun.command).parent}:{os.environ['PATH']}"
    broken = arun.write("broken.py", "import os\nos.chdir('/')\n1 / 0\n").name
    options = [broken, "--bind", "{address}", "--fallback-config", "safe.ini"]
    instance = arun(*options, command=command, env={"PATH": search})
    assert_welcomes(instance, program=[healthy.program[0], os.path.abspath(path)])


def test_flags_of_the_interpreter_act_in_the_successor(arun: Any) -> None:
    """-X, -W and -O are not only carried on in words."""
    arun.write("own.py", FLAGS)
    arun.write("safe.ini", SAFE + "app = own.py\n")
    command = [PYTHON, "-O", "-W", "error::UserWarning", "-X", "dev", str(arun.command)]
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "safe.ini", command=command).ready()
    assert instance.get().text == "1 True ['error::UserWarning']"


FLAGS = """
import sys
def app(environ, start_response):
    start_response("200 OK", [])
    warned = [option for option in sys.warnoptions if option != "default"]
    return [f"{sys.flags.optimize} {sys.flags.dev_mode} {warned}".encode()]
"""

QUESTIONS = ["--help", "-h", "--version", "-V", "--show-config", "--schema"]
#: What else may stand on the command line, wrong as it is: a question is still a question.
BESIDE = {
    "nothing": [],
    "a fallback": ["--fallback-config", "welcome"],
    "a broken app": ["gone.py", "--fallback-config", "welcome"],
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("question", QUESTIONS)
def test_question_is_answered_with_status_0(arun: Any, question: str, beside: list[str]) -> None:
    """On standard output, without a start, and without a fallback."""
    instance = arun(*beside, question, stdout=subprocess.PIPE)
    answer = instance.process.stdout.read()
    assert instance.wait() == 0
    assert answer
    assert instance.said == ""


def test_help_fits_a_terminal_of_80_columns(arun: Any) -> None:
    text = asked(arun, "--help")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "--fallback-config" in text


def test_version_is_one_line(arun: Any) -> None:
    answer = asked(arun, "--version")
    assert re.fullmatch(r"arun \d\S+ \((compiled|pure Python)\)\n", answer)


def test_schema_is_json(arun: Any) -> None:
    assert "fallback-config" in json.loads(asked(arun, "--schema"))["properties"]


def test_show_config_shows_value_and_origin_and_no_secret(arun: Any) -> None:
    arun.write("site.ini", "[arun]\nthreads = 3\nenv = TOKEN=s3cret\n")
    text = asked(arun, "site.ini", "--show-config")
    line = next(line for line in text.splitlines() if "threads" in line)
    assert "3" in line
    assert "site.ini:2" in line
    assert "s3cret" not in text


def test_show_config_with_a_fault_shows_the_fault_and_does_not_fall_back(arun: Any) -> None:
    instance = arun("--show-config", "--port", "banana", "--fallback-config", "welcome")
    assert instance.wait() == 1
    assert instance.failures() == ["option-invalid"]
    assert instance.fallbacks() == []


def asked(arun: Any, *arguments: str) -> str:
    instance = arun(*arguments, stdout=subprocess.PIPE)
    text = instance.process.stdout.read().decode()
    assert instance.wait() == 0
    return str(text)


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_plain_start_imports_nothing_that_it_was_not_asked_for(arun: Any, kind: str) -> None:
    """The promise of a quick start, as the interpreter itself tells it; the app imports nothing."""
    arun.write(
        "app.py",
        {
            "asgi": "async def app(scope, receive, send):\n    pass\n",
            "wsgi": "def app(environ, start_response):\n    return []\n",
        }[kind],
    )
    command = (sys.executable, "-X", "importtime", "-m", "arun")
    instance = arun("app.py", "--bind", "{address}", command=command, measured=False).ready()
    assert instance.stop() == 0
    imported = set(re.findall(r"^import time: .*\| +(\S+)$", instance.said, re.MULTILINE))
    assert "arun.server.server" in imported, instance.said
    unasked = {
        "aiohttp",
        "websockets",
        "arun.http.access.log",
        "arun.apps.aiohttp",
        "arun.apps.asgi.tls",
        "arun.http.websocket.connection",
        "arun.server.gate",
        "arun.server.proxy_protocol",
        "arun.listen.renewal",
        "arun.listen.certificates",
        "arun.system.line_file",
        "arun.apps." + ("wsgi" if kind == "asgi" else "asgi"),
    }
    assert not unasked & imported
