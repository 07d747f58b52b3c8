"""What stands inside values of config files: placeholders, magic variables, the environment, files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.settings.conftest import Folder


def said(folder: Folder, text: str, **environ: str) -> str:
    """Return what a value becomes in conf/site.ini."""
    folder.write("conf/site.ini", f"[arun]\n{text}\n")
    settings = folder.settings("conf/site.ini", environ=environ)
    assert settings.chdir is not None
    return settings.chdir


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("%d", "{folder}/conf/"),
        ("%dapp", "{folder}/conf/app"),
        ("%n", "site"),
        ("%p", "{folder}/conf/site.ini"),
        ("%v", "{folder}"),
        ("%h", os.uname().nodename),
        ("%s", "site.ini"),
        ("%e", "ini"),
        ("%c", "conf"),
        ("%k", str(os.cpu_count())),
        ("100%%", "100%"),
        ("%%n", "%n"),
    ],
)
def test_magic_variables_have_the_meaning_they_have_to_uwsgi(folder: Folder, text: str, wanted: str) -> None:
    assert said(folder, f"chdir = {text}") == wanted.format(folder=folder.path)


@pytest.mark.parametrize(("name", "content"), [("binary", b"\xff"), ("long", b"x" * 70_000)])
def test_a_file_that_is_no_short_text_is_refused(folder: Folder, name: str, content: bytes) -> None:
    folder.write(name, content)
    folder.write("site.ini", f"[arun]\nchdir = @({name})\n")
    assert name in folder.problem("site.ini").sentence


def test_a_placeholder_for_a_native_value_is_its_text(folder: Folder) -> None:
    folder.write("site.yaml", "debug: true\nset-placeholder: {stage: live}\nchdir: /%(debug)/%(stage)\n")
    assert folder.settings("site.yaml").chdir == "/true/live"


@pytest.mark.parametrize("text", ["%q", "100% sure", "100%", "%(nope)", "$(NOPE)", "%(open", "@(none.txt)", "@(.)"])
def test_nothing_is_swallowed(folder: Folder, text: str) -> None:
    folder.write("site.ini", f"[arun]\nchdir = /x/{text}\n")
    problem = folder.problem("site.ini")
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", "site.ini:2")
    assert problem.sentence.startswith("chdir: ")


def test_a_placeholder_is_set_or_an_own_key_or_any_other_key_and_may_come_later(folder: Folder) -> None:
    text = "chdir = %(root)/%(name)/%(port)/%(my_own)\nset-placeholder = root=/srv\nname = shop\nport = 8\nmy-own = %n"
    assert said(folder, text) == "/srv/shop/8/site"


def test_an_own_key_that_no_placeholder_names_is_unknown(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nnickname = shop\n")
    assert folder.problem("site.ini").cause.identifier == "option-unknown"


def test_the_first_value_of_a_key_is_its_placeholder_as_in_uwsgi(folder: Folder) -> None:
    assert said(folder, "set-ph = a=1\nset = a=2\nchdir = %(a)") == "1"


def test_placeholders_reach_through_includes(folder: Folder) -> None:
    folder.write("conf/base.ini", "[arun]\nset-placeholder = root=/srv/%n\nchdir = %(root)/%(name)\n")
    assert said(folder, "ini = %(which).ini\nname = shop\nwhich = base") == "/srv/base/shop"


def test_placeholders_that_name_each_other_are_told(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nset-placeholder = a=%(b)\nset-placeholder = b=%(a)\nchdir = %(a)\n")
    assert "refers to itself" in folder.problem("site.ini").sentence


def test_the_environment_is_read_with_and_without_a_default(folder: Folder) -> None:
    text = "chdir = $(ROOT)/$(NAME:-shop)/$(EMPTY:-filled)$(EMPTY)"
    assert said(folder, text, ROOT="/srv", EMPTY="") == "/srv/shop/filled"


def test_what_comes_from_outside_is_not_expanded_again(folder: Folder) -> None:
    folder.write("conf/text", "%n$(ROOT)\n")
    assert said(folder, "chdir = $(ROOT)@(text)", ROOT="%n") == "%n%n$(ROOT)"


def test_values_of_the_command_line_and_the_environment_are_left_alone(folder: Folder) -> None:
    settings = folder.settings("--chdir", "%n$(X)", environ={"ARUN_PIDFILE": "%n"})
    assert (settings.chdir, settings.pidfile) == ("%n$(X)", "%n")


def test_the_other_formats_expand_their_texts_too(folder: Folder) -> None:
    folder.write("site.toml", 'chdir = "%d$(X)/%(port)"\nbind = ["unix:%n.sock"]\nport = 80\n[env]\nA = "%n"\n')
    settings = folder.settings("site.toml", environ={"X": "y"})
    assert settings.chdir == f"{folder.path}/y/80"
    assert str(settings.bind[0]) == "unix:site.sock"
    assert settings.env == (("A", "site"),)
