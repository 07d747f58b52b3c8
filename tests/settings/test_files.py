"""Config files as files: what is missing, unreadable or empty, and what they include."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.settings.conftest import Folder


@pytest.mark.parametrize(
    "name", ["none.ini", "none.toml", "none.yaml", "none.json", "folder/none.ini", "site.ini/x.ini"]
)
def test_a_missing_config_is_told_with_its_name(folder: Folder, name: str) -> None:
    folder.write("site.ini", "[arun]\n")
    problem = folder.problem(name)
    assert (problem.cause.identifier, problem.origin) == ("config-missing", "command line")
    assert name in problem.sentence


def test_a_directory_is_unreadable(folder: Folder) -> None:
    os.mkdir(f"{folder.path}/site.ini")
    problem = folder.problem("site.ini")
    assert problem.cause.identifier == "config-unreadable"
    assert "directory" in problem.sentence


def test_a_file_of_somebody_else_is_unreadable(folder: Folder) -> None:
    """Read by a process without the rights of root, also where root runs the tests."""
    os.chmod(folder.write("site.ini", "[arun]\n"), 0)
    program = (
        "import os\n"
        "from arun.settings import read\n"
        "os.geteuid() == 0 and os.seteuid(65534)\n"
        f"layers = read(['site.ini'], {{}}, directory={folder.path!r}, factory_reset=False)\n"
        "print(*(one.cause.identifier for one in layers.problems))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "config-unreadable\n"


def test_a_name_that_no_file_can_have_is_unreadable(folder: Folder) -> None:
    assert folder.rejected("a\0b.ini").problems[0].cause.identifier == "config-unreadable"


@pytest.mark.parametrize("name", ["site.ini", "site.toml", "site.yaml", "site.json"])
@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_config_is_told_so(folder: Folder, name: str, text: str) -> None:
    folder.write(name, text)
    problem = folder.problem(name)
    assert problem.cause.identifier == "config-malformed"
    assert "empty" in problem.sentence


@pytest.mark.parametrize("name", ["site.ini", "site.toml", "site.yaml"])
def test_a_config_that_is_not_utf8_is_told_with_its_line(folder: Folder, name: str) -> None:
    folder.write(name, b"# one\n# two \xff\n[arun]\nport = 1\n" if name != "site.yaml" else b"# one\n# \xff\nport: 1\n")
    problem = folder.problem(name)
    assert (problem.cause.identifier, problem.origin) == ("config-malformed", f"{name}:2")
    assert "UTF-8" in problem.sentence


def test_a_huge_file_is_refused_and_not_read_whole(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\n" + "#" * 2_000_000)
    assert folder.problem("site.ini").cause.identifier == "config-unreadable"


def test_includes_count_from_the_folder_of_the_file_that_names_them(folder: Folder) -> None:
    folder.write("conf/site.ini", "[arun]\nini = parts/a.ini:web\ninclude = %dparts/b.toml\nini = :local\n")
    folder.write("conf/parts/a.ini", "[web]\nport = 1\n")
    folder.write("conf/parts/b.toml", "threads = 2\n")
    with open(f"{folder.path}/conf/site.ini", "a", encoding="utf-8") as stream:
        stream.write("[local]\nbacklog = 3\n")
    settings = folder.settings("conf/site.ini")
    assert (settings.port, settings.threads, settings.backlog) == (1, 2, 3)
    assert settings.origin("port") == "conf/parts/a.ini:2"


def test_what_is_said_later_wins_across_includes(folder: Folder) -> None:
    folder.write("a.ini", "[arun]\nport = 1\nini = b.ini\nthreads = 1\n")
    folder.write("b.ini", "[arun]\nport = 2\nthreads = 2\n")
    settings = folder.settings("a.ini")
    assert (settings.port, settings.threads) == (2, 1)


@pytest.mark.parametrize("inner", ["a.ini", "./a.ini", "sub/../a.ini", ":arun2"])
def test_an_include_loop_is_told_with_its_way(folder: Folder, inner: str) -> None:
    os.mkdir(f"{folder.path}/sub")
    folder.write("a.ini", f"[arun]\nini = b.ini\n[arun2]\nini = {inner}\n")
    folder.write("b.ini", f"[arun]\nini = {'a.ini:arun2' if inner == ':arun2' else inner}\n")
    problem = folder.problem("a.ini")
    assert problem.cause.identifier == "config-include-loop"
    assert "a.ini -> " in problem.sentence


def test_a_file_may_be_included_twice_without_a_loop(folder: Folder) -> None:
    folder.write("a.ini", "[arun]\nini = b.ini\nini = c.ini\n")
    folder.write("b.ini", "[arun]\nini = c.ini\n")
    folder.write("c.ini", "[arun]\nport = 1\n")
    assert folder.settings("a.ini").port == 1


def test_files_that_multiply_come_to_an_end(folder: Folder) -> None:
    for number in range(8):
        folder.write(f"{number}.ini", f"[arun]\nini = {number + 1}.ini\n" * 4)
    folder.write("8.ini", "[arun]\nport = 1\n")
    problems = folder.rejected("0.ini").problems
    assert {one.cause.identifier for one in problems} == {"config-include-loop"}


@pytest.mark.parametrize("text", ["include = 3", "include = [1]", "include = ''"])
def test_what_is_no_path_cannot_be_included(folder: Folder, text: str) -> None:
    folder.write("site.toml", f"{text}\n")
    problem = folder.problem("site.toml")
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", "site.toml:1")


def test_several_configs_are_read_in_order(folder: Folder) -> None:
    folder.write("a.ini", "[arun]\nport = 1\nthreads = 1\n")
    folder.write("b.json", '{"port": 2}')
    settings = folder.settings("a.ini", "--json", "b.json")
    assert (settings.port, settings.threads) == (2, 1)


def test_a_config_of_the_command_line_replaces_that_of_the_environment(folder: Folder) -> None:
    folder.write("a.ini", "[arun]\nport = 1\n")
    assert folder.settings("a.ini", environ={"ARUN_CONFIG": "none.ini"}).port == 1
    assert folder.settings(environ={"ARUN_CONFIG": "a.ini"}).port == 1


def test_the_option_settles_the_format_where_the_name_does_not(folder: Folder) -> None:
    folder.write("site.conf", "port = 1\n")
    assert folder.settings("--toml", "site.conf").port == 1
    assert folder.problem("--ini", "site.conf").cause.identifier == "config-section-missing"


@pytest.mark.parametrize(
    ("word", "is_app"), [("app.py", True), ("shop.web:app", True), ("a.ini", False), ("a.YML:s", False)]
)
def test_an_argument_is_a_config_by_its_end(folder: Folder, word: str, is_app: bool) -> None:  # noqa: FBT001 - the value under test
    (entry,) = folder.layers(word).entries[0]
    assert entry.key == ("app" if is_app else "config")


def test_a_config_may_be_a_pipe_that_comes_to_its_end(folder: Folder) -> None:
    """As a shell writes it: ``--config <(command)``, or ``--config /dev/stdin``."""
    reading, writing = os.pipe()
    with open(writing, "wb") as stream:
        threading.Timer(0.1, stream.write, (b"[arun]\nbacklog = 5\n",)).start()
        threading.Timer(0.2, stream.close).start()
        assert folder.settings("--config", f"/dev/fd/{reading}").backlog == 5
    os.close(reading)


@pytest.mark.parametrize("has_writer", [True, False])
@pytest.mark.parametrize("place", ["config", "included value"])
def test_a_pipe_without_an_end_is_not_waited_for_without_end(
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    has_writer: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr("arun.settings.reading.PIPE_TIMEOUT", 0.2)
    path = f"{folder.path}/pipe.ini"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR) if has_writer else -1
    named = "pipe.ini" if place == "config" else folder.write("site.ini", "[arun]\nprint = @(pipe.ini)\n")
    problem = folder.problem(named)
    assert problem.cause.identifier == ("config-unreadable" if place == "config" else "option-invalid")
    assert "did not come to its end in 0.2 s" in problem.sentence
    if has_writer:
        os.close(writer)


@pytest.mark.parametrize("place", ["config", "included value"])
def test_a_fallback_takes_regular_files_alone(folder: Folder, place: str) -> None:
    """Clients wait for it, and a pipe has been read before, or never will be."""
    path = f"{folder.path}/pipe.ini"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    named = path if place == "config" else folder.write("site.ini", "[arun]\nprint = @(pipe.ini)\n")
    (problem,) = folder.layers(named, factory_reset=True).problems
    assert "is no regular file" in problem.sentence
    os.close(writer)


def test_of_a_file_of_noise_the_first_mistakes_are_told(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\n" + "x x\n" * 150 + "bogus = 1\n" * 50)
    problems = folder.rejected("site.ini").problems
    assert len(problems) == 101
    assert problems[-1].sentence == "there are 100 more mistakes like these"


@pytest.mark.parametrize("words", [["uwsgi.xml"], ["--config", "uwsgi.xml"], ["uwsgi.sqlite"], ["site.ini"]])
def test_a_config_in_a_format_that_arun_has_no_reader_for_is_told_with_those_that_it_has(
    folder: Folder, words: list[str]
) -> None:
    folder.write("uwsgi.xml", "<uwsgi><http>:1</http></uwsgi>")
    folder.write("site.ini", "[arun]\ninclude = uwsgi.xml\n")
    problem = folder.problem(*words)
    assert problem.cause.identifier == "config-format-unavailable"
    assert problem.sentence.endswith("is no config that arun can read: it reads ini, toml, json and yaml")
