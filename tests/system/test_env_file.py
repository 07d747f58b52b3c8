"""Env files: as python-dotenv reads them, which is what most of them were written for."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings, strategies

from arun.core.failures import FILE_UNUSABLE, StartupFailure
from arun.system import env_file

if TYPE_CHECKING:
    from pathlib import Path

ROWS = {
    "A=1": {"A": "1"},
    "\ufeffA=1\n": {"A": "1"},
    "export\tA=1\nexport  B = 2\n": {"A": "1", "B": "2"},
    "exported=1": {"exported": "1"},
    "A=1\r\nB=2\rC=3": {"A": "1", "B": "2", "C": "3"},
    "# A=1\n  # B=2\n\n\tC=3": {"C": "3"},
    "A=a b # comment\nB=a#b\nC=a\t#b": {"A": "a b", "B": "a#b", "C": "a"},
    "A='a # b' # comment\nB=\"a # b\"# comment": {"A": "a # b", "B": "a # b"},
    r"A='it\'s \n' " + "\n" + r'B="a\tb\n\"c\" \\ \x"': {"A": r"it's \n", "B": 'a\tb\n"c" \\ \\x'},
    "A=\"first\nsecond\"\nB='first\n\nthird'\n": {"A": "first\nsecond", "B": "first\n\nthird"},
    "A=\nB=''\nC=": {"A": "", "B": "", "C": ""},
    "A=it's\nB=a\"b": {"A": "it's", "B": 'a"b'},
    "'A'=1": {"A": "1"},
    "A=1\nA=2": {"A": "2"},
    "A=${HOME}$HOME": {"A": "${HOME}$HOME"},
    "A= # nothing\nB=#b\nC= c #": {"A": "", "B": "#b", "C": "c"},
    "A=a=b": {"A": "a=b"},
    "": {},
}


def read(text: str) -> dict[str, str]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        return env_file.read(file.name, origin="--env-file")


@pytest.mark.parametrize("text", ROWS)
def test_a_file_means_what_its_author_meant(text: str) -> None:
    assert read(text) == ROWS[text]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\n\nsecret\n", 3),
        ("A='first\nsecond'\nB=\"open\n", 3),
        ("A='a'b\n", 1),
        ("=1", 1),
        ("A=1\nexport B\nC=1", 2),
        ("A=a\0b", 1),
        ("'A=B'=1", 1),
    ],
)
def test_what_is_no_assignment_is_named_by_its_line_and_not_shown(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "env"
    path.write_text(text)
    with pytest.raises(StartupFailure, check=lambda error: error.cause is FILE_UNUSABLE) as caught:
        env_file.read(str(path), origin="--env-file")
    assert f"{path}:{line} " in caught.value.sentence
    assert "secret" not in caught.value.sentence


def test_a_long_quotation_takes_no_longer_than_its_length(tmp_path: Path) -> None:
    """A pattern that tries everything twice would be at it for years."""
    path = tmp_path / "env"
    path.write_text("A='" + "\\'" * 200_000 + "x")
    with pytest.raises(StartupFailure, check=lambda error: error.cause is FILE_UNUSABLE):
        env_file.read(str(path), origin="--env-file")


PIECES = ["A", "B", "=", " ", "\t", "\n", "'", '"', "#", "\\", "n", "export", "export ", "=1\n", "C='", 'D="', "x", "ä"]


def is_no_assignment(binding: Any) -> bool:
    """Whether it is a mere name; nor is it a blank line or a comment."""
    written = binding.original.string.strip()
    return binding.value is None and bool(written) and not written.startswith("#")


@settings(max_examples=500, deadline=None)
@given(strategies.lists(strategies.sampled_from(PIECES), max_size=12).map("".join))
@example("A= # c")
@example("A='a'#c\nB=1")
@example("export=1")
def test_what_arun_takes_python_dotenv_reads_as_the_same(text: str) -> None:
    parser = pytest.importorskip("dotenv.parser")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(text)
        file.seek(0)
        bindings = list(parser.parse_stream(file))
    found = {one.key: one.value for one in bindings if one.key is not None}
    try:
        ours = read(text)
    except StartupFailure:
        assert any(one.error or "=" in (one.key or "") or is_no_assignment(one) for one in bindings), text
    else:
        assert not any(one.error for one in bindings), text
        assert ours == found


def test_the_current_directory_is_where_a_relative_name_counts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("A=1")
    assert env_file.read(".env", origin="--env-file") == {"A": "1"}
    assert "A" not in os.environ or os.environ["A"] != "1"
