"""Arm first: the fallback is known whatever else is wrong, and it is absolute at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from arun.settings import scan_fallback

if TYPE_CHECKING:
    from tests.settings.conftest import Folder

BROKEN = [
    ("site.ini", "[arun]\nfallback-config = safe.ini\nthis is no line\n"),
    ("site.ini", "[arun]\nthis is no line\nfallback-config = safe.ini\n"),
    ("site.ini", "[arun\nfallback-config = safe.ini\n"),
    ("site.ini", "fallback-config = safe.ini\n"),
    ("site.ini", "[other]\nfallback_config=safe.ini\n"),
    ("site.ini", "[arun]\nini = none.ini\nbogus = 1\nport = abc\nfallback-config = safe.ini\n"),
    ("site.ini", "[arun]\nif-env = HOME\nfallback-config = safe.ini\n[arun]\nfallback-config = safe.ini"),
    ("site.ini", b"[arun]\nchdir = \xff\nfallback-config = safe.ini\n"),
    ("site.toml", 'bind = [\nfallback-config = "safe.ini"\n'),
    ("site.toml", 'fallback_config = "safe.ini" # here\nbind = = 3\n'),
    ("site.toml", '[arun]\nfallback-config = "safe.ini"\nfallback-config = "safe.ini"\n'),
    ("site.toml", '[other]\nfallback-config = "safe.ini"\n[arun'),
    ("site.json", '{"bind": ":80", "fallback-config": "safe.ini", }'),
    ("site.json", '{\n"fallback-config": "safe.ini"\n'),
    ("site.json", '["fallback-config"]\n{\n"fallback-config": "safe.ini"}'),
    ("site.yaml", "fallback-config: safe.ini\n bind: [\n"),
    ("site.yaml", "app: x\n  'fallback-config': 'safe.ini'\n"),
]


@pytest.mark.parametrize(("name", "text"), BROKEN)
def test_a_broken_config_still_names_its_fallback(folder: Folder, name: str, text: str | bytes) -> None:
    folder.write(name, text)
    assert folder.rejected(name).problems
    assert folder.layers(name).fallback == f"{folder.path}/safe.ini"


def test_the_fallback_of_a_file_counts_from_its_folder(folder: Folder) -> None:
    folder.write("conf/site.ini", "[arun]\nini = more/extra.ini\n")
    folder.write("conf/more/extra.ini", "[arun]\nfallback-config = %n-$(WHERE).ini:safe\n")
    layers = folder.layers("conf/site.ini", environ={"WHERE": "here"})
    assert layers.fallback == f"{folder.path}/conf/more/extra-here.ini:safe"


def test_the_fallback_may_be_a_section_of_the_same_file(folder: Folder) -> None:
    path = folder.write("conf/site.ini", "[arun]\nfallback-config = :safe\n")
    assert folder.layers("conf/site.ini").fallback == f"{path}:safe"


@pytest.mark.parametrize(
    ("argv", "environ", "wanted"),
    [
        (["--bogus", "--fallback-config", "safe.ini", "--port=x"], {}, "/start/safe.ini"),
        (["--fallback-config=/etc/safe.ini:a"], {"ARUN_FALLBACK_CONFIG": "b.ini"}, "/etc/safe.ini:a"),
        (["--fallback-config", "a.ini", "--fallback-config", "../b.ini"], {}, "/b.ini"),
        ([], {"ARUN_FALLBACK_CONFIG": "welcome"}, "welcome"),
        ([], {"ARUN_CMD_ARGS": "--fallback-config 'a b.ini'", "ARUN_FALLBACK_CONFIG": "c.ini"}, "/start/a b.ini"),
        (["--fallback-config", ""], {"ARUN_FALLBACK_CONFIG": "b.ini"}, None),
        (["--fallback-config=none"], {}, None),
        (["--", "--fallback-config", "a.ini"], {}, None),
        (["--fallback-config"], {}, None),
        (["--fallback-config", "--port"], {}, None),
    ],
)
def test_the_first_look_and_the_full_reading_agree(
    folder: Folder, argv: list[str], environ: dict[str, str], wanted: str | None
) -> None:
    assert scan_fallback(argv, environ, "/start") == wanted
    expected = wanted.replace("/start", folder.path) if wanted else wanted
    if wanted == "/b.ini":
        expected = folder.path.rpartition("/")[0] + wanted
    assert folder.layers(*argv, environ=environ).fallback == expected


def test_no_fallback_on_the_command_line_outdoes_that_of_a_file(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nfallback-config = safe.ini\n")
    layers = folder.layers("--fallback-config", "none", "site.ini")
    assert layers.fallback is None
    assert folder.settings("--fallback-config", "none", "site.ini").fallback_config is None


def test_the_settings_hold_the_absolute_fallback(folder: Folder) -> None:
    assert folder.settings("--fallback-config", "safe.ini").fallback_config == f"{folder.path}/safe.ini"


def test_a_fallback_that_cannot_be_expanded_is_a_problem_and_none(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nfallback-config = $(NOWHERE).ini\n")
    assert folder.layers("site.ini").fallback is None
    assert folder.problem("site.ini").origin == "site.ini:2"
