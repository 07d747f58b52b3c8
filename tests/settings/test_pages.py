"""What follows from the declaration: help, the shown config, the schema and the reference page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from arun.settings import help_text, reference, schema, show_config
from arun.settings.declaration import declared
from arun.settings.settings import Settings

if TYPE_CHECKING:
    from tests.settings.conftest import Folder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_the_help_names_every_option_and_fits_eighty_columns() -> None:
    text = help_text()
    assert max(map(len, text.splitlines())) <= 80
    for one in declared(Settings).values():
        assert all(f"--{spelling}" in text for spelling in one.spellings)


def test_the_shown_config_tells_value_and_origin_and_masks_secrets(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nenv = TOKEN=hunter2\nchmod-socket\n")
    shown = show_config(folder.settings("site.ini", "-b", ":1", "-b", "unix:x", environ={"ARUN_DEBUG": "1"}))
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "hunter2" not in shown
    for line in (
        "env = TOKEN=*** (site.ini:2)",
        "chmod-socket = 666 (site.ini:3)",
        "bind = :1 (-b)",
        "bind = unix:x (-b)",
        "debug = true (ARUN_DEBUG)",
        "uid = (default)",
        "forwarded-allow-ips = ::1 (default)",
    ):
        assert line in lines
    assert "port = (default)" in lines  # nothing needs it where addresses are named


def test_the_shown_config_tells_the_address_that_is_served_where_none_was_named(folder: Folder) -> None:
    lines = [" ".join(line.split()) for line in show_config(folder.settings("--host", "::1")).splitlines()]
    assert "host = ::1 (--host)" in lines
    assert "port = 8000 (default)" in lines


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "bind-retry = 5 (default)"),
        (["--fallback-config", "welcome"], "bind-retry = 0 (default)"),
        ([], "fallback-config = none (default)"),
        ([], "welcome-status = 200 (default)"),
        ([], "supervise = false (default)"),
        (["--workers", "2"], "supervise = true (default)"),
        (["--access-logfile", "x"], "access-log = true (default)"),
        (["--request-id-header", "X-Id"], "request-id = true (default)"),
        ([], "app-dir = . (default)"),
        ([], "limit-connections = 77 (default)"),
    ],
)
def test_the_shown_config_tells_what_holds_where_nothing_was_said(folder: Folder, words: list[str], line: str) -> None:
    lines = [" ".join(one.split()) for one in show_config(folder.settings(*words), 77).splitlines()]
    assert line in lines


def test_the_reference_lists_the_causes_that_a_fallback_can_be_bound_to() -> None:
    assert "| `listen` | `address-in-use` |" in reference()


def test_the_schema_knows_every_key_of_a_file_and_no_other() -> None:
    made = schema()
    properties = made["properties"]
    for one in declared(Settings).values():
        assert all((spelling in properties) != one.command_line_only for spelling in one.spellings)
    assert made["additionalProperties"] is False
    assert "need_app" in properties


@pytest.mark.parametrize("name", ["reference.md", "schema.json"])
def test_the_written_page_is_current(name: str) -> None:
    """If not: ``python -m arun.settings docs``."""
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as page:
        text = page.read()
    assert text == (reference() if name == "reference.md" else json.dumps(schema(), indent=2) + "\n")


def test_the_pages_are_written_to_the_folder_that_is_named(folder: Folder) -> None:
    subprocess.run([sys.executable, "-m", "arun.settings", folder.path], check=True, cwd=ROOT)
    assert sorted(os.listdir(folder.path)) == ["reference.md", "schema.json"]


def test_an_ordinary_start_imports_no_page_and_no_reader_of_other_formats() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from arun.settings import read, scan_fallback, validate\n"
        "validate(read(['app.py', '--bind', ':80', '--uid', '1'], {}, directory='/', factory_reset=False))\n"
        "heavy = {'argparse', 'difflib', 'json', 'logging', 'pathlib', 'shlex', 'socket', 'textwrap', 'tomllib', 'yaml',\n"
        "         *('arun.settings.' + name for name in 'pages ini structured logic elsewhere translation hints'.split())}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
