"""ini files as uWSGI's users write them, and an error wherever uWSGI is silently lenient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from arun.core.addresses import Tcp

if TYPE_CHECKING:
    from tests.settings.conftest import Folder


def test_keys_repeat_stand_bare_or_with_underscores_between_comments(folder: Folder) -> None:
    folder.write(
        "site.ini",
        "\ufeff; a comment\n# another\n[other]\nbogus = 1\n[arun]\r\n  need_app\r\nbind=:1\n\tbind = :2  \nchmod-socket\n",
    )
    settings = folder.settings("site.ini")
    assert (settings.need_app, settings.chmod_socket) == (True, 0o666)
    assert settings.bind == (Tcp("0.0.0.0", 1), Tcp("0.0.0.0", 2))
    assert settings.origins("bind") == ("site.ini:7", "site.ini:8")


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("true", True),
        ("Yes", True),
        ("on", True),
        ("1", True),
        ("false", False),
        ("no", False),
        ("OFF", False),
        ("0", False),
    ],
)
def test_a_flag_is_one_of_eight_words(folder: Folder, word: str, wanted: bool) -> None:  # noqa: FBT001 - the value under test
    folder.write("site.ini", f"[arun]\nvacuum = {word}\n")
    assert folder.settings("site.ini").vacuum is wanted


@pytest.mark.parametrize(
    "line", ["need-app = banana", "need-app =", "port = abc", "port = 99999", "host = 999.1.2.3", "bind"]
)
def test_a_wrong_value_is_told_with_file_and_line(folder: Folder, line: str) -> None:
    folder.write("site.ini", f"[arun]\n\n{line}\n")
    problem = folder.problem("site.ini")
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", "site.ini:3")


@pytest.mark.parametrize(
    "line", ["this is no line", "= value", "two words = 1", '"port" = 1', "[arun", "[]", "endif", "if-env = A"]
)
def test_a_malformed_line_is_told_with_its_number(folder: Folder, line: str) -> None:
    folder.write("site.ini", f"[arun]\nport = 1\n{line}\n")
    problem = folder.problem("site.ini")
    assert (problem.cause.identifier, problem.origin) == ("config-malformed", "site.ini:3")


def test_a_line_before_any_section_is_malformed(folder: Folder) -> None:
    folder.write("site.ini", "port = 1\n[arun]\n")
    assert folder.problem("site.ini").cause.identifier == "config-malformed"


def test_an_empty_section_is_no_mistake(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\n")
    assert folder.settings("site.ini").addresses == ()


def test_a_comment_behind_a_value_belongs_to_it_as_in_uwsgi(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nchdir = /srv ; here\n")
    assert folder.settings("site.ini").chdir == "/srv ; here"


def test_an_unknown_key_names_the_one_that_was_meant(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nfalback-config = x.ini\n")
    problem = folder.problem("site.ini")
    assert (problem.cause.identifier, problem.origin) == ("option-unknown", "site.ini:2")
    assert problem.hint == "did you mean fallback-config?"


@pytest.mark.parametrize("line", ["help", "version", "show-config = true"])
def test_what_only_the_command_line_can_say_is_no_key(folder: Folder, line: str) -> None:
    folder.write("site.ini", f"[arun]\n{line}\n")
    assert folder.problem("site.ini").cause.identifier == "option-unknown"


def test_the_section_of_arun_goes_before_that_of_uwsgi(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nport = 1\nmaster = true\n[arun]\nport = 2\n")
    assert folder.settings("site.ini").port == 2
    assert folder.settings("site.ini:uwsgi").port == 1
    assert folder.layers("site.ini").warnings == ()


def test_a_wrong_value_in_the_section_of_uwsgi_is_still_an_error(folder: Folder) -> None:
    folder.write("site.ini", "[uwsgi]\nneed-app = banana\n")
    assert folder.problem("site.ini").cause.identifier == "option-invalid"


@pytest.mark.parametrize("reference", ["site.ini:nope", "site.ini"])
def test_a_missing_section_is_told_with_those_that_are_there(folder: Folder, reference: str) -> None:
    folder.write("site.ini", "[shop]\nport = 1\n")
    problem = folder.problem(reference)
    assert problem.cause.identifier == "config-section-missing"
    assert "[shop]" in problem.sentence


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("if-env = STAGE", True),
        ("if-env = STAGE=live", True),
        ("if-env STAGE", True),
        ("if-env = STAGE=test", False),
        ("if-env = NOWHERE", False),
        ("if-not-env = STAGE", False),
        ("if-not-env = NOWHERE", True),
    ],
)
def test_a_condition_decides_by_the_environment(folder: Folder, condition: str, holds: bool) -> None:  # noqa: FBT001 - the value under test
    folder.write("site.ini", f"[arun]\n{condition}\nport = 1\nendif =\nthreads = 2\n")
    settings = folder.settings("site.ini", environ={"STAGE": "live"})
    assert settings.port == (1 if holds else None)
    assert settings.threads == 2


def test_conditions_nest(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nif-env = A\nif-env = B\nport = 1\nendif\nthreads = 2\nendif\n")
    settings = folder.settings("site.ini", environ={"A": "1"})
    assert (settings.port, settings.threads) == (None, 2)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("if-file = more.txt", True),
        ("if-file = %dmore.txt", True),
        ("if-file = folder", False),
        ("if-not-file = folder", True),
        ("if-dir = folder", True),
        ("ifdir = folder", True),
        ("if-exists = folder", True),
        ("if-exists = nothing", False),
        ("if-not-exists = nothing", True),
        ("if-hostname = no.such.host", False),
        ("if-opt = vacuum", True),
        ("if-opt = vacuum=true", True),
        ("if-opt = vacuum=false", False),
        ("if-opt = backlog", False),
        ("if_not_opt = backlog", True),
        ("ifenv = STAGE", True),
    ],
)
def test_a_condition_looks_at_files_host_and_keys(folder: Folder, condition: str, holds: bool) -> None:  # noqa: FBT001 - the value under test
    folder.write("more.txt", "")
    folder.write("folder/x", "")
    folder.write("site.ini", f"[arun]\nvacuum = true\n{condition}\nport = 1\nend-if\n")
    assert folder.settings("site.ini", environ={"STAGE": "live"}).port == (1 if holds else None)


def test_a_condition_tells_its_lines_what_it_has_seen(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nif-env = STAGE\nroot-path = /%(_)\nendif\nif-exists = .\nchdir = %(_)/x\nendif\n")
    settings = folder.settings("site.ini", environ={"STAGE": "live"})
    assert (settings.root_path, settings.chdir) == ("/live", "./x")


@pytest.mark.parametrize(
    ("loop", "values"),
    [
        ("for = 1  2 3", ["1", "2", "3"]),
        ("for-times = 2", ["0", "1"]),
        ("for-readline = lines.txt", ["a b", "c"]),
        ("for-readline = %dlines.txt", ["a b", "c"]),
        ("for-glob = *.txt", ["lines.txt", "other.txt"]),
        ("for =", []),
    ],
)
def test_a_loop_repeats_each_of_its_lines(folder: Folder, loop: str, values: list[str]) -> None:
    folder.write("lines.txt", "a b\n\n  c\n")
    folder.write("other.txt", "")
    folder.write("site.ini", f"[arun]\n{loop}\nprint = one %(_)\nprint = two %(_)\nendfor\n")
    (config,) = folder.layers("site.ini").configs
    assert list(config.lines) == [f"{word} {value}" for word in ("one", "two") for value in values]


@pytest.mark.parametrize(
    ("lines", "identifier", "told"),
    [
        ("if-reload = x\nport = 1\nendif", "option-unknown", "if-reload"),
        ("for = 1 2\nfor = 3 4\nendfor\nendfor", "config-malformed", "another loop"),
        ("for = 1\nport = 1", "config-malformed", "never closed by endfor"),
        ("for = 1\nport = 1\nendif", "config-malformed", "endif stands without"),
        ("for-times = many\nendfor", "option-invalid", "'many'"),
        ("for-times = 1000000\nendfor", "option-invalid", "1000000"),
        ("for-readline = nothing\nendfor", "option-invalid", "no such file"),
        ("for-readline = /dev/zero\nendfor", "option-invalid", "not a regular file"),
        ("if-file = %q\nendif", "option-invalid", "%q"),
    ],
)
def test_logic_that_cannot_be_followed_is_told(folder: Folder, lines: str, identifier: str, told: str) -> None:
    folder.write("site.ini", f"[uwsgi]\n{lines}\n")
    problem = folder.problem("site.ini")
    assert problem.cause.identifier == identifier
    assert told in problem.sentence


def test_print_lines_belong_to_their_file_in_order(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nprint = Hello\nini = more.ini\nprint = from %n\n")
    folder.write("more.ini", "[arun]\nprint = more\n")
    configs = folder.layers("site.ini").configs
    assert [(one.name, one.format, one.lines) for one in configs] == [
        ("site.ini", "INI", ("Hello", "from site")),
        ("more.ini", "INI", ("more",)),
    ]


def test_all_problems_of_a_file_are_told_at_once(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nbogus = 1\nno line\nport = x\nchdir = %q\nini = none.ini\n")
    found = [(one.cause.identifier, one.origin) for one in folder.rejected("site.ini").problems]
    assert sorted(found) == [
        ("config-malformed", "site.ini:3"),
        ("config-missing", "site.ini:6"),
        ("option-invalid", "site.ini:4"),
        ("option-invalid", "site.ini:5"),
        ("option-unknown", "site.ini:2"),
    ]


@pytest.mark.parametrize("text", ["[arun", "x = 1\n[arun\nbind = :1\n", b"[arun]\nchdir = \xff\n", b"\0\xff\xfe"])
def test_a_config_that_cannot_be_read_as_text_or_sections_is_told_once(folder: Folder, text: str | bytes) -> None:
    """What it seems to lack may be in the line that is wrong."""
    folder.write("site.ini", text)
    assert folder.problem("site.ini").cause.identifier == "config-malformed"
