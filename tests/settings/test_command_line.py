"""The command line: what its words become, and that every mistake in it is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from arun.core.addresses import Inherited, Tcp, Unix

if TYPE_CHECKING:
    from tests.settings.conftest import Folder


def test_an_app_is_the_bare_argument(folder: Folder) -> None:
    settings = folder.settings("shop.web:make_app")
    assert settings.app == "shop.web:make_app"
    assert settings.origin("app") == "command line"


def test_the_spelling_of_uwsgis_users_works(folder: Folder) -> None:
    settings = folder.settings("--http-socket", ":8080", "--wsgi-file", "hello.py", "--need-app")
    assert settings.addresses == ((Tcp("0.0.0.0", 8080), "--http-socket"),)
    assert (settings.wsgi_file, settings.need_app) == ("hello.py", True)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--need-app"], True),
        (["--need-app=false"], False),
        (["--need-app=1"], True),
        (["--no-need-app"], False),
        ([], None),
        (["--need-app", "--no-need-app"], False),
    ],
)
def test_a_flag_is_said_bare_with_a_value_or_with_no(folder: Folder, words: list[str], wanted: bool | None) -> None:  # noqa: FBT001 - the value under test
    assert folder.settings(*words).need_app is wanted


def test_a_flag_does_not_take_the_app_for_its_value(folder: Folder) -> None:
    settings = folder.settings("--need-app", "app.py")
    assert (settings.need_app, settings.app) == (True, "app.py")


def test_chmod_socket_takes_the_next_word_only_when_it_is_a_mode(folder: Folder) -> None:
    assert folder.settings("--chmod-socket", "app.py").chmod_socket == 0o666
    assert folder.settings("--chmod-socket", "660").chmod_socket == 0o660
    assert folder.settings("--uds-mode=600").chmod_socket == 0o600


@pytest.mark.parametrize("words", [["-b", ":80"], ["-b:80"], ["-b=:80"], ["--bind=:80"], ["--bind", ":80"]])
def test_a_value_stands_behind_its_option_or_in_the_same_word(folder: Folder, words: list[str]) -> None:
    assert folder.settings(*words).bind == (Tcp("0.0.0.0", 80),)


def test_repeatable_options_add_up_and_others_are_replaced(folder: Folder) -> None:
    settings = folder.settings("-b", ":1", "--http-socket", ":2,unix:x", "--backlog", "5", "--backlog", "6")
    assert settings.bind == (Tcp("0.0.0.0", 1), Tcp("0.0.0.0", 2), Unix("x"))
    assert settings.backlog == 6


def test_host_and_port_make_one_address_beside_bind_uds_and_fd(folder: Folder) -> None:
    settings = folder.settings("--port", "81", "--host", "::1", "--uds", "run/x", "--fd", "3", "--bind", ":1")
    assert [address for address, _ in settings.addresses] == [
        Tcp("0.0.0.0", 1),
        Tcp("::1", 81),
        Unix(f"{folder.path}/run/x"),
        Inherited(3),
    ]
    assert settings.addresses[1][1] == "--host, --port"


def test_nothing_said_is_no_address_at_all(folder: Folder) -> None:
    assert folder.settings("app.py").addresses == ()


def test_what_follows_two_dashes_is_an_argument(folder: Folder) -> None:
    assert folder.settings("--", "--odd").app == "--odd"


def test_a_value_that_starts_with_a_dash_is_written_with_an_equals_sign(folder: Folder) -> None:
    assert folder.settings("--app-dir=-x").app_dir == "-x"
    problem = folder.problem("--app-dir", "--debug")
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", "--app-dir")
    assert "--debug" in problem.sentence


def test_an_unknown_option_names_the_one_that_was_meant(folder: Folder) -> None:
    problem = folder.problem("--bakclog", "5", "app.py")
    assert problem.cause.identifier == "option-unknown"
    assert "--bakclog" in problem.sentence
    assert "--backlog" in problem.hint


@pytest.mark.parametrize(
    "word", ["--back", "--fallback", "--need", "-x", "--no-bind", "--no-help", "--fallback_config"]
)
def test_abbreviations_and_inventions_are_unknown(folder: Folder, word: str) -> None:
    assert folder.problem(word).cause.identifier == "option-unknown"


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["-w", "shop:app"], "--module"), (["-p", "4"], "--workers"), (["--listen", "100"], "--backlog")],
)
def test_a_short_flag_in_uwsgis_sense_is_told_what_it_means_here(folder: Folder, words: list[str], hint: str) -> None:
    problem = folder.problem(*words)
    assert problem.cause.identifier == "option-invalid"
    assert hint in problem.hint


def test_a_second_app_is_one_too_many(folder: Folder) -> None:
    problem = folder.problem("app.py", "other.py")
    assert "other.py" in problem.sentence
    assert "app.py" in problem.sentence


def test_all_problems_are_told_at_once_and_the_rest_is_read(folder: Folder) -> None:
    rejected = folder.rejected("--bogus=1", "--port", "abc", "--host", "999.1.2.3", "--threads", "3", "none.ini")
    assert [one.cause.identifier for one in rejected.problems] == [
        "option-unknown",
        "config-missing",
        "option-invalid",
        "option-invalid",
    ]
    assert rejected.partial.threads == 3
    assert rejected.partial.port is None


def test_a_config_behind_an_unknown_option_is_still_read(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nfallback-config = safe.ini\n")
    assert folder.layers("--bogus", "site.ini").fallback == f"{folder.path}/safe.ini"


def test_settings_are_frozen(folder: Folder) -> None:
    settings = folder.settings()
    with pytest.raises(AttributeError, match="frozen"):
        settings.backlog = 3  # type: ignore[misc] # the type checker refuses it too
