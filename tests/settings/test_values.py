"""Values: what each kind takes, what it refuses, and the sentence it refuses it with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from arun.settings.declaration import declared
from arun.settings.kinds import Number, Octal, Seconds, Size
from arun.settings.settings import Settings
from arun.settings.worker_kinds import Memory

if TYPE_CHECKING:
    from tests.settings.conftest import Folder

TAKEN = [
    ("port", "0", 0),
    ("port", "65535", 65_535),
    ("start-timeout", "30", 30.0),
    ("start-timeout", "1.5", 1.5),
    ("start-timeout", "30s", 30.0),
    ("start-timeout", "500ms", 0.5),
    ("start-timeout", "2m", 120.0),
    ("start-timeout", ".5h", 1800.0),
    ("timeout-graceful-shutdown", "0", 0.0),
    ("graceful-timeout", "3", 3.0),
    ("umask", "022", 0o022),
    ("chmod-socket", "0o660", 0o660),
    ("chown-socket", "www:www-data", ("www", "www-data")),
    ("chown-socket", "33", ("33", "")),
    ("env", "A=b=c", (("A", "b=c"),)),
    ("env", "A=", (("A", ""),)),
    ("fallback-on", "listen,app-not-found", ("listen", "app-not-found")),
    ("forwarded-allow-ips", "10.0.0.0/8, ::1,*", ("10.0.0.0/8", "::1", "*")),
    ("host", "*", "0.0.0.0"),
    ("host", "[::1]", "::1"),
    ("host", "localhost", "localhost"),
    ("welcome-status", "200", 200),
    ("pythonpath", "a:b", ("a", "b")),
    ("root-path", "", ""),
    ("root-path", "/", ""),
    ("root-path", "/api", "/api"),
    ("root-path", "/api/", "/api"),
    ("root-path", "/api/v1//", "/api/v1"),
    ("root-path", "/café", "/café"),
    ("root-path", "/caf%C3%A9/", "/café"),
    ("root-path", "/my app", "/my app"),
    ("root-path", "/my%20app", "/my app"),
    ("root-path", "/100%", "/100%"),
    ("root-path", "/a%3Fb", "/a?b"),
    ("user", "1000", "1000"),
]

REFUSED = [
    ("port", "abc"),
    ("port", "99999"),
    ("port", "-1"),
    ("port", "٣"),
    ("port", "9" * 40),
    ("backlog", "0"),
    ("workers", "1_0"),
    ("start-timeout", "0"),
    ("start-timeout", "nan"),
    ("start-timeout", "1e9"),
    ("start-timeout", "soon"),
    ("start-timeout", "1.2.3"),
    ("start-timeout", "3ss"),
    ("start-timeout", "99999999"),
    ("umask", "999"),
    ("chmod-socket", "1777"),
    ("chown-socket", "a:b:c"),
    ("chown-socket", "a:"),
    ("fallback-on", "lisen"),
    ("forwarded-allow-ips", "10.0.0.0/33"),
    ("forwarded-allow-ips", "10.0.0"),
    ("host", "999.1.2.3"),
    ("host", "a b"),
    ("bind", "host"),
    ("bind", "[::1:80"),
    ("need-app", "banana"),
    ("interface", "asgi2"),
    ("fallback-config", ""),
    ("bind", "http://127.0.0.1:80"),
    ("uds", "@"),
    ("uds", "unix:"),
    ("root-path", "api"),
    ("root-path", "api/v1/"),
    ("root-path", "https://shop.example/api"),
    ("root-path", "//api"),
    ("root-path", "/api//v1"),
    ("root-path", "/../api"),
    ("root-path", "/api/%2e"),
    ("root-path", "/api?x"),
    ("root-path", "/api#x"),
    ("root-path", "/a%0Ab"),
    ("root-path", "/%ff"),
    ("log-level", "loud"),
    ("welcome-status", "99"),
    ("uid", ""),
]


@pytest.mark.parametrize(("name", "text", "wanted"), TAKEN)
def test_a_value_is_taken(folder: Folder, name: str, text: str, wanted: object) -> None:
    settings = folder.settings(f"--{name}={text}")
    canonical = {"graceful-timeout": "timeout-graceful-shutdown", "user": "uid"}.get(name, name)
    assert settings.value(canonical) == wanted


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_a_value_is_refused_with_a_sentence_that_holds_it(folder: Folder, name: str, text: str) -> None:
    problem = folder.problem(f"--{name}={text}")
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", f"--{name}")
    assert problem.sentence.startswith(f"{name}: ")
    assert text in problem.sentence


def test_a_root_path_without_its_slash_is_told_what_was_meant(folder: Folder) -> None:
    assert "did you mean /api/v1?" in folder.problem("--root-path=api/v1/").sentence


def test_a_misspelt_cause_names_the_one_that_was_meant(folder: Folder) -> None:
    assert "did you mean address-in-use?" in folder.problem("--fallback-on=adress-in-use").sentence


def test_what_is_no_cause_at_all_is_told_the_stages(folder: Folder) -> None:
    assert "a stage: settings, identity, listen," in folder.problem("--fallback-on=banana").sentence


def test_format_of_the_access_log_in_a_file_is_told_that_percents_are_doubled_there(folder: Folder) -> None:
    folder.write("f.json", '{"access-logformat": "%(h)s"}')
    assert "%%(h)s" in folder.problem("f.json").hint


def test_a_secret_is_not_repeated_in_a_problem(folder: Folder) -> None:
    assert "hunter2" not in folder.problem("--env", "hunter2").sentence


def test_every_default_is_a_value_that_the_option_itself_would_take() -> None:
    for one in declared(Settings).values():
        if one.default is None or one.default == "":
            continue
        values = one.default if one.repeatable else (one.default,)
        assert tuple(one.kind(one.kind.shown(value)) for value in values) == tuple(values), one.name


def test_no_two_options_share_a_name_or_a_flag() -> None:
    options = list(declared(Settings).values())
    names = [spelling for one in options for spelling in one.spellings]
    shorts = [one.short for one in options if one.short]
    assert len(names) == len(set(names))
    assert len(shorts) == len(set(shorts))


@pytest.mark.parametrize("option", ["bind", "shared-socket", "https-socket"])
@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://127.0.0.1:80", "127.0.0.1:80"),
        ("https://[::1]:443/path", "[::1]:443"),
        ("tcp://:80", ":80"),
        ("http://", "HOST:PORT"),
    ],
)
def test_an_address_that_is_a_url_is_told_how_it_is_written(folder: Folder, option: str, url: str, meant: str) -> None:
    problem = folder.problem(f"--{option}", url)
    assert f"{url!r} is a URL: write {meant}, without {url.partition(':')[0]}://" in problem.sentence


@pytest.mark.parametrize("flag", ["--fallback-config", "--fallback-config=", "site.ini"])
def test_an_empty_fallback_is_a_mistake_that_names_the_word_for_none(folder: Folder, flag: str) -> None:
    """``--fallback-config "$FALLBACK"`` of a variable that is not set would be a start without a fallback."""
    folder.write("site.ini", "[arun]\nfallback-config =\n")
    words = [flag, ""] if flag == "--fallback-config" else [flag]
    assert folder.problem(*words).sentence.endswith("welcome for the built-in page, or none")


@pytest.mark.parametrize(
    ("words", "environ", "is_told"),
    [
        (["-w", "shop:app"], {}, True),
        (["-wshop:app"], {}, True),
        (["--workers", "x"], {}, False),
        ([], {"WEB_CONCURRENCY": "x"}, False),
        (["site.ini"], {}, False),
        ([], {"ARUN_CMD_ARGS": "-w x"}, True),
    ],
)
def test_what_a_short_flag_means_to_others_is_told_where_it_was_written(
    folder: Folder,
    words: list[str],
    environ: dict[str, str],
    is_told: bool,  # noqa: FBT001 - the value under test
) -> None:
    folder.write("site.ini", "[arun]\nworkers = x\n")
    assert ("-w" in folder.problem(*words, environ=environ).hint) is is_told


#: Every option that takes a number or a duration, and those of others that stand for one.
NUMERIC = [
    *(
        one.name
        for one in declared(Settings).values()
        if isinstance(one.kind, Number | Seconds | Size | Octal | Memory)
    ),
    *("harakiri", "http-timeout", "reload-mercy"),
]


@pytest.mark.parametrize("value", ["-1", "-0.5"])
@pytest.mark.parametrize("name", NUMERIC)
def test_a_negative_number_behind_an_option_is_one_mistake(folder: Folder, name: str, value: str) -> None:
    problem = folder.problem(f"--{name}", value, "shop:app")
    assert problem.sentence.startswith(f"{name}: {value!r} is ")
    assert problem.origin == f"--{name}"
