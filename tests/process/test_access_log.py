"""The access log of an installed instance: where it goes, and that nothing at its other end holds the instance up."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.conftest import Instance

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'own']\n"
LINE = re.compile(
    r'127\.\d+\.\d+\.\d+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:[0-9:]+ [+-]\d{4}\] "GET (\S+) HTTP/1\.1" (\d+) 3 .*'
)


@pytest.fixture
def start(arun: Any) -> Any:
    arun.write("own.py", APP)
    return lambda *arguments, **more: arun("own.py", "--bind", "{address}", *arguments, **more).ready()


@pytest.mark.parametrize(("more", "warned"), [((), True), (("--access-log",), False), (("--no-access-log",), False)])
def test_format_without_a_log_is_reported_to_do_nothing(start: Any, more: tuple[str, ...], *, warned: bool) -> None:
    instance = start("--access-logformat", "json", *more)
    assert ("access-logformat (from --access-logformat) does nothing without --access-log" in instance.said) is warned


def ask(instance: Instance, paths: list[str]) -> list[int]:
    """Ask for all paths on one connection and return the statuses."""
    host, _, port = instance.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    statuses = []
    with contextlib.closing(connection):
        for path in paths:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
    return statuses


@contextlib.contextmanager
def collected(pipe: int) -> Iterator[list[bytes]]:
    """Read a pipe to its end, in a thread of its own."""
    chunks: list[bytes] = []

    def read() -> None:
        while chunk := os.read(pipe, 65_536):
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    yield chunks
    reader.join(30)


def test_no_line_is_written_unless_it_is_asked_for(start: Any) -> None:
    instance = start(stdout=subprocess.PIPE)
    assert ask(instance, ["/"]) == [200]
    assert instance.stop() == 0
    assert instance.process.stdout.read() == b""


def test_lines_go_to_standard_output_and_are_all_there_at_the_end(start: Any) -> None:
    reading, writing = os.pipe()
    instance = start("--access-log", stdout=writing)
    os.close(writing)
    with collected(reading) as chunks:
        paths = [f"/{number}" for number in range(500)]
        assert ask(instance, paths) == [200] * 500
        assert instance.stop() == 0
    os.close(reading)
    found = [LINE.fullmatch(line) for line in b"".join(chunks).decode().splitlines()]
    assert [match and match.groups() for match in found] == [(path, "200") for path in paths]


def test_file_switches_the_log_on_is_found_from_the_starting_folder_and_added_to(start: Any, arun: Any) -> None:
    arun.write("access.log", '{"path": "/before"}\n')
    (arun.folder / "elsewhere").mkdir()
    arun.write("elsewhere/own.py", APP)
    instance = start("--access-logfile", "access.log", "--access-logformat", "json", "--chdir", "elsewhere")
    assert ask(instance, ["/a?b"]) == [200]
    assert instance.stop() == 0
    lines = [json.loads(line) for line in (arun.folder / "access.log").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["/before", "/a"]
    assert (lines[1]["query"], lines[1]["status"], lines[1]["bytes"]) == ("b", 200, 3)


@pytest.mark.parametrize("off", ["--no-access-log", "--disable-logging"])
def test_log_with_a_file_can_be_switched_off(start: Any, arun: Any, off: str) -> None:
    instance = start("--access-logfile", "access.log", off)
    assert ask(instance, ["/"]) == [200]
    assert instance.stop() == 0
    assert not (arun.folder / "access.log").exists()


def test_quiet_paths_leave_no_line(start: Any, arun: Any) -> None:
    options = ["--access-logfile", "log", "--access-logformat", "%U", "--access-log-quiet", "/health,/static/*"]
    instance = start(*options)
    ask(instance, ["/health", "/static/a/b", "/other", "/healthy"])
    assert instance.stop() == 0
    assert (arun.folder / "log").read_text() == "/other\n/healthy\n"


def test_request_id_is_in_answer_and_line(start: Any, arun: Any) -> None:
    instance = start("--access-logfile", "log", "--access-logformat", "%(request_id)s", "--request-id")
    told = [
        instance.get().headers["x-request-id"],
        instance.get(headers={"X-Request-ID": "mine"}).headers["x-request-id"],
    ]
    assert told[1] == "mine"
    assert instance.stop() == 0
    assert (arun.folder / "log").read_text().split() == told


@contextlib.contextmanager
def unread_pipe() -> Iterator[int]:
    """The writing end of a pipe that is never read."""
    reading, writing = os.pipe()
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


LONG = ["/" + "x" * 2000] * 2000


def test_pipe_without_a_reader_costs_lines_and_no_request(start: Any) -> None:
    with unread_pipe() as pipe:
        instance = start("--access-log", stdout=pipe)
        assert ask(instance, LONG) == [200] * 2000
        assert instance.said.count("takes no more: lines are dropped") == 1
        assert os.get_blocking(pipe), "the pipe is shared: it stays as it was for the others"
        assert instance.stop() == 0
        assert re.search(r"the access log on standard output lost \d+ lines", instance.said)


def test_number_of_dropped_lines_is_reported_when_it_goes_on(start: Any) -> None:
    reading, writing = os.pipe()
    instance = start("--access-log", "--access-logformat", "%U", stdout=writing)
    os.close(writing)
    assert ask(instance, LONG) == [200] * 2000
    instance.wait_for("takes no more")
    with collected(reading) as chunks:
        while "goes on" not in instance.said:
            ask(instance, ["/again"])
        assert instance.stop() == 0
    os.close(reading)
    told = re.search(r"goes on: (\d+) lines were dropped", instance.said)
    assert told is not None
    lines = b"".join(chunks).decode().splitlines()
    assert set(lines) == {LONG[0], "/again"}, "no line is torn"
    assert lines.count(LONG[0]) < 2000


def test_pipe_whose_reader_is_gone_holds_nothing_up(start: Any) -> None:
    reading, writing = os.pipe()
    instance = start("--access-log", stdout=writing)
    os.close(writing)
    os.close(reading)
    assert ask(instance, LONG) == [200] * 2000
    assert instance.stop() == 0
    assert re.search(r"the access log on standard output lost \d+ lines", instance.said)


def test_full_device_holds_nothing_up(start: Any) -> None:
    instance = start("--access-logfile", "/dev/full")
    assert ask(instance, ["/"] * 50) == [200] * 50
    assert instance.stop() == 0
    assert "the access log /dev/full lost 50 lines" in instance.said


def test_closed_standard_output_takes_lines_to_nowhere(arun: Any) -> None:
    arun.write("own.py", APP)
    command = ["sh", "-c", 'exec "$@" >&-', "sh", str(arun.command)]
    instance = arun("own.py", "--bind", "{address}", "--access-log", command=command).ready()
    assert ask(instance, ["/"] * 5) == [200] * 5
    assert instance.stop() == 0


def test_start_that_becomes_its_fallback_leaves_the_file_to_it(arun: Any) -> None:
    arun.write("broken.py", "async def app(scope, receive, send):\n    1 / 0\n")
    arun.write("safe.ini", "[arun]\nbind = {address}\naccess-logfile = log\naccess-logformat = %%U\n")
    arguments = [
        "--bind",
        "{address}",
        "--interface",
        "asgi",
        "--access-logfile",
        "log",
        "--fallback-config",
        "safe.ini",
    ]
    arun.write("broken.py", "1 / 0\n")
    instance = arun("broken.py", *arguments).ready()
    assert ask(instance, ["/page"]) == [503]
    assert instance.stop() == 0
    assert (arun.folder / "log").read_text() == "/page\n"


def test_named_pipe_without_a_reader_is_a_failed_start_and_no_wait(failing_start: Any) -> None:
    failing_start.arun.write("own.py", APP)
    os.mkfifo(failing_start.arun.folder / "log")
    said = failing_start("own.py", "--bind", "{address}", "--access-logfile", "log", fails=["file-unusable"])
    assert "cannot write the access log" in said
    assert "(from --access-logfile)" in said


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--access-logformat", "%(h)s %(nonsense)s", "'%(nonsense)s' is no atom of an access log"),
        ("--access-log-quiet", "health", "'health' is not a path such as /health or /static/*"),
        ("--request-id-header", "Content-Length", "'Content-Length' is a header field that the server itself sets"),
        ("--request-id-header", "a b", "'a b' is not the name of a header field"),
    ],
)
def test_wrong_values_are_reported_with_a_hint(failing_start: Any, option: str, value: str, sentence: str) -> None:
    failing_start.arun.write("own.py", APP)
    said = failing_start.alone("own.py", "--bind", "{address}", option, value, fails=["option-invalid"])
    assert sentence in said
