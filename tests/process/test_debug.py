"""Who is shown causes with --debug, and what a client's text may do to the log: nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.process.test_untold import KINDS

if TYPE_CHECKING:
    from tests.process.conftest import Starter

BIND = ("--bind", "{address}")
WAYS = (*KINDS, "wsgi inline")
FAIL = 'def fail():\n    raise ValueError("secret")\n'
#: Header fields of one who does not sit at this machine, though the peer does.
FROM_ELSEWHERE = (
    {"Host": "shop.example"},
    {"Host": "127.0.0.1.rebound.example"},
    {"Via": "1.1 proxy"},
    {"X-Real-IP": "203.0.113.9"},
    {"X-Forwarded-Host": "shop.example"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1"},
    {"CF-Connecting-IP": "203.0.113.9"},
)


def options(way: str) -> tuple[str, ...]:
    return (*BIND, *(("--threads", "0") if "inline" in way else ()))


@pytest.mark.parametrize("way", WAYS)
def test_debug_shows_a_traceback_to_the_one_at_this_machine_alone(arun: Starter, way: str) -> None:
    arun.write("shop.py", FAIL + KINDS[way.partition(" ")[0]])
    instance = arun("shop.py", *options(way), "--debug").ready()
    for headers in ({}, {"Host": "localhost:1"}, {"Host": "[::1]"}):
        assert "ValueError: secret" in instance.get(headers=headers).text
    for headers in FROM_ELSEWHERE:
        answer = instance.get(headers=headers)
        assert (headers, answer.status, "secret" in answer.text) == (headers, 500, False)


#: What an exception says of a client's value: lines of arun's, of a request, of a traceback's end, and a terminal's title.
FORGED = "x\narun: internal-error: forged\n\x1b]0;forged\x07\rGET /forged failed (client 203.0.113.9)\x85\u2028*** Starting\n\narun running on"


@pytest.mark.parametrize(
    "raised",
    [
        "ValueError(text)",
        "KeyError(text)",
        "noted(text)",
        "ExceptionGroup(text, [OSError(text)])",
        "SyntaxError(text, (text, 1, 1, text))",
    ],
)
def test_the_text_of_an_exception_forges_no_line_of_the_log(arun: Starter, raised: str) -> None:
    fail = f"""
text = {FORGED!r}
def noted(text):
    error = ValueError("x")
    error.add_note(text)
    return error
def fail():
    raise {raised}
"""
    for way in WAYS:
        arun.write(f"shop_{way[:2]}.py", fail + KINDS[way.partition(" ")[0]])
        instance = arun(f"shop_{way[:2]}.py", *options(way)).ready()
        assert instance.get().status == 500
        instance.wait_for("GET / failed (client 127.")
        instance.stop()
        assert_not_forged(instance.said)
    arun.write("broken.py", f"{fail}\nfail()\n")
    instance = arun("broken.py", *BIND)
    assert instance.wait() == 1
    assert_not_forged(instance.said)


def assert_not_forged(said: str) -> None:
    """Control characters are escaped, and only what Python's own traceback has at the margin is there."""
    assert re.findall(r"[^\n\t -~]", said) == []
    assert (
        re.findall(
            r"^(?:arun: internal-error: forged|GET /forged|\*\*\* Starting$|arun running on$).*", said, re.MULTILINE
        )
        == []
    )


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_what_a_lifespan_reports_of_its_failure_forges_no_line_of_the_log(arun: Starter, phase: str) -> None:
    arun.write(
        "shop.py",
        f"""
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        if kind == "lifespan.{phase}":
            return await send({{"type": kind + ".failed", "message": {FORGED!r} + " y"}})
        await send({{"type": kind + ".complete"}})
""",
    )
    instance = arun("shop.py", *BIND)
    if phase == "shutdown":
        instance.ready().stop()
    instance.wait()
    assert "forged" in instance.said
    assert_not_forged(instance.said)


def test_a_log_record_without_a_handler_forges_no_line_of_the_log(arun: Starter) -> None:
    arun.write(
        "shop.py",
        f"""
import logging
def app(environ, start_response):
    logging.getLogger("shop").error({FORGED!r})
    logging.getLogger("shop").error("%d", "no number")
    start_response("200 OK", [])
    return []
""",
    )
    instance = arun("shop.py", *BIND).ready()
    assert instance.get().status == 200
    instance.wait_for("shop: ERROR: x\n    arun: internal-error: forged")
    assert instance.stop() == 0
    assert_not_forged(instance.said)
