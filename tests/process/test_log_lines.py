"""The form of the log: what stands before each line, as text, JSON and in a journal, and what it tells whoever debugs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Instance, until

#: A line of the text form: time, process, level.
HEAD = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [+-]\d{4}\] \[(\d+)(?: worker (\d+))?\] \[([A-Z]+)\] \S")
WORKS = """
import os, sys, time
def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/slow":
        time.sleep(2)
    if environ["PATH_INFO"] == "/fails":
        1 / 0
    return [f"{os.environ['ARUN_WORKER']} {os.environ['ARUN_GENERATION']} {os.getpid()}".encode()]
"""
LOGS = """
import logging
logging.getLogger("shop").warning("no stock of %s", "soap")
def app(environ, start_response):
    logging.getLogger("shop").warning("no stock of %s", "tea", exc_info=ValueError("gone\\nand gone"))
    start_response("200 OK", [])
    return []
"""


def test_every_line_has_time_pid_and_level(arun: Any) -> None:
    arun.write("shop.py", "1 / 0\n")
    instance = arun("shop.py", "--bind", "{address}", "--fallback-config", "welcome").ready()
    instance.wait_for("serving the welcome page")
    assert instance.stop() == 0
    lines = instance.logged.splitlines()
    trace = lines.index(next(line for line in lines if line.endswith("Traceback (most recent call last):")))
    for number, line in enumerate(lines):
        if line[:1] == "[":
            assert HEAD.match(line), line
            assert HEAD.match(line)[1] == str(instance.pid)  # type: ignore[index]
        else:  # of the traceback
            assert trace < number <= trace + 4, line
    assert re.search(r"\[ERROR\] arun: app-import-failed: .* \[[2-9B-X]{6}\]$", instance.logged, re.MULTILINE)
    assert "[WARNING] arun: warning: this is a fallback" in instance.logged


def test_workers_are_named(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--bind", "{address}", "--workers", "2").ready()
    instance.wait_for("arun: wsgi on uvloop ")
    assert instance.get("/fails").status == 500
    instance.wait_for("ZeroDivisionError")
    failed = next(line for line in instance.logged.splitlines() if "/fails" in line)
    assert HEAD.match(failed)[2] in {"1", "2"}  # type: ignore[index]
    served = next(line for line in instance.logged.splitlines() if line.endswith("with 2 workers"))
    assert HEAD.match(served)[2] is None  # type: ignore[index]


def test_json_is_an_object_on_every_line(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    arun.write("broken.py", "1 / 0\n")
    broken = arun("broken.py", "--bind", "{address}", "--fallback-config", "welcome", "--log-format", "json")
    broken.wait_for('"event":"serving"')
    assert broken.stop() == 0
    entries = [json.loads(line) for line in broken.logged.splitlines()]
    assert all({"time", "level", "pid", "message"} <= entry.keys() for entry in entries)
    by_event = {entry["event"]: entry for entry in entries if "event" in entry}
    failed = by_event["failed"]
    assert (failed["identifier"], failed["stage"], failed["level"]) == ("app-import-failed", "load", "error")
    assert "ZeroDivisionError" in failed["traceback"]
    assert by_event["fallback"]["id"] == by_event["fallback-serving"]["id"] == failed["id"]
    assert [one["event"] for one in entries if "event" in one][-4:] == [
        "listening",
        "fallback-serving",
        "serving",
        "stopping",
    ]


def test_json_of_the_apps_own_logging_and_of_requests_that_fail(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    arun.write("tells.py", LOGS)
    told: list[dict[str, Any]] = []
    for name, path in (("shop.py", "/fails"), ("tells.py", "/")):
        instance = arun(name, "--bind", "{address}", "--log-format", "json")
        instance.wait_for('"event":"serving"')
        instance.get(path)
        assert instance.stop() == 0
        entries = [json.loads(line) for line in instance.logged.splitlines() if line[:1] == "{"]
        found = [one for one in entries if one.get("event") in {"app", "request-failed"}][-1]
        assert "ZeroDivisionError" in found["traceback"] or "gone" in found["traceback"]
        told.append(found)
    found = told[-1]
    assert (found["logger"], found["message"], found["level"]) == ("shop", "no stock of tea", "warning")


def test_plain_is_the_line_itself(arun: Any) -> None:
    instance = arun("gone.py", "--bind", "{address}", "--fallback-config", "welcome", env={"ARUN_LOG_FORMAT": "plain"})
    instance.ready()
    assert instance.logged.startswith("*** Starting arun")
    assert not re.search(r"^\[\d", instance.logged, re.MULTILINE)


def test_the_journal_gets_priorities_and_no_times(arun: Any) -> None:
    """As systemd starts a service: a stream socket, whose device and inode stand in JOURNAL_STREAM."""
    ours, theirs = socket.socketpair()
    status = os.fstat(theirs.fileno())
    arun.write("broken.py", "1 / 0\n")
    arun(
        *("broken.py", "--bind", "{address}", "--fallback-config", "welcome"),
        stderr=theirs,
        env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
    )
    theirs.close()
    said = ""
    with ours:
        while "serving the welcome page" not in said:
            said += ours.recv(65_536).decode()
    lines = said.splitlines()
    assert all(re.match(r"<[346]>", line) for line in lines), said
    assert "<3>Traceback (most recent call last):" in lines
    assert any(line.startswith("<4>arun: warning: this is a fallback") for line in lines)


def on_terminal(arun: Any, *arguments: str, **env: str) -> str:
    """What a terminal shows until the instance serves."""
    ours, theirs = pty.openpty()
    instance = arun(*arguments, stderr=theirs, env={"TERM": "xterm", **env})
    os.close(theirs)
    said = ""
    with contextlib.suppress(OSError):
        while "serving " not in said:
            said += os.read(ours, 65_536).decode()
    instance.stop()
    os.close(ours)
    return said


def test_colors_on_a_terminal_and_none_where_they_are_not_wanted(arun: Any) -> None:
    command = ("gone.py", "--bind", "{address}", "--fallback-config", "welcome")
    assert "\033[31marun: app-not-found" in on_terminal(arun, *command)
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        told = on_terminal(arun, *command, **env)
        assert "\033" not in told
        assert re.search(r"^\[\d\d:\d\d:\d\d\.\d{3}\] \[\d+\] \[ERROR\] arun: app-not-found", told, re.MULTILINE)
    full = on_terminal(arun, *command, "--log-format", "text")
    assert re.search(r"^\[\d{4}-\d\d-\d\d .*\] \[ERROR\] arun: app-not-found", full, re.MULTILINE)
    assert '{"time":' in on_terminal(arun, *command, "--log-format", "json")


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["", "preload"])
def test_workers_know_their_number_and_generation(arun: Any, arguments: tuple[str, ...]) -> None:
    """From 0; a replacement has the number of the one before it, and a reload counts the generation on."""
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--bind", "{address}", "--workers", "2", "--timeout-keep-alive", "0", *arguments).ready()

    def seen(*wanted: str) -> dict[str, str]:
        found: dict[str, str] = {}

        def ask() -> dict[str, str]:
            *name, pid = instance.get().text.split()
            found[" ".join(name)] = pid
            if not set(wanted) <= found.keys():
                raise BlockingIOError(found)
            return found

        return until(ask, BlockingIOError)

    pids = seen("0 1", "1 1")
    os.kill(int(pids["1 1"]), signal.SIGKILL)

    def replaced() -> None:
        if seen("0 1", "1 1")["1 1"] == pids["1 1"]:
            raise BlockingIOError

    until(replaced, BlockingIOError)
    instance.send(signal.SIGHUP)
    seen("0 2", "1 2")
    assert "no setting of arun" not in instance.said


def test_one_process_is_worker_0_and_its_child_knows_the_names(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--bind", "{address}", env={"ARUN_WORKER": "7", "ARUN_GENERATION": "9"}).ready()
    assert instance.get().text.split()[:2] == ["0", "1"]
    assert "no setting of arun" not in instance.said


REFUSED = {
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / from 127", "2 Host fields"),
    "no host": (b"GET /x HTTP/1.1\r\n\r\n", "GET /x from", "no Host field (RFC 9112 section 3.2)"),
    "bad host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /", "the Host field is not valid: 'a b'"),
    "fragment": (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /#x", "a request target has no fragment: '/#x'"),
    "spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "", "two spaces in a row in the request line"),
    "method": (b"\x16\x03\x01 / HTTP/1.1\r\nHost: a\r\n\r\n", "", "Invalid method encountered"),
    "cut off": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "POST /",
        "its body was cut off",
    ),
}


def test_debug_says_why_requests_were_refused(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--bind", "{address}", "--log-level", "debug").ready()
    for data, what, why in REFUSED.values():
        with instance.connect() as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65_536):
                pass
        instance.wait_for(why)
        line = next(line for line in instance.said.splitlines() if why in line)
        assert line.startswith("arun: debug: refused"), line
        assert what in line
        assert " with 400: " in line


def test_debug_says_what_a_stop_waits_for_and_what_it_cuts(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    command = ("shop.py", "--bind", "{address}", "--log-level", "debug", "--timeout-graceful-shutdown", "0.2")
    instance = arun(*command).ready()
    with instance.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        until_running(instance)
        instance.send(signal.SIGTERM)
        instance.wait_for("arun: debug: the stop waits up to 0.2 s for 1 request on 1 connection: GET /slow (")
        instance.wait_for("arun: debug: the stop cuts 1 request on 1 connection: GET /slow (")
    assert float(instance.said.rpartition("GET /slow (")[2].partition(" s)")[0]) >= 0.2  # for how long it has run
    assert instance.wait() == 0


def until_running(instance: Instance) -> None:
    """Wait until the app has a request: its thread sleeps."""

    def look() -> None:
        names = [task.joinpath("wchan").read_text() for task in Path(f"/proc/{instance.pid}/task").iterdir()]
        if len(names) < 2 or instance.process.poll() is not None:
            raise BlockingIOError

    until(look, BlockingIOError, FileNotFoundError)


def test_debug_says_what_a_reload_changes(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    arun.write("site.ini", "[arun]\napp = shop.py\nbind = {address}\nworkers = 1\nsupervise = yes\nlog-level = debug\n")
    instance = arun("site.ini").ready()
    arun.write("site.ini", (arun.folder / "site.ini").read_text() + "threads = 3\nuds = shop.sock\n")
    instance.send(signal.SIGHUP)
    instance.wait_for("arun: reloaded")
    assert f"arun: debug: the reload keeps {arun.address}\n" in instance.said
    assert f"arun: debug: the reload adds unix:{arun.folder / 'shop.sock'}\n" in instance.said
    assert "arun: debug: the reload changes uds, threads\n" in instance.said or "changes threads, uds" in instance.said


def test_a_start_says_what_it_runs_on(arun: Any) -> None:
    arun.write("shop.py", WORKS)
    instance = arun("shop.py", "--bind", "{address}").ready()
    version = ".".join(map(str, sys.version_info[:3]))
    assert re.search(rf"arun: (compiled|pure Python), cpython {re.escape(version)}, Linux ", instance.said)
    assert re.search(r"^arun: wsgi on uvloop \d+\.\d+", instance.said, re.MULTILINE)
