"""Options beside each other: all contradictions are reported together, and so are options without effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.settings.conftest import Folder


@pytest.mark.parametrize(
    ("words", "told", "origin"),
    [
        ("--workers 2 --no-supervise", "2 workers need a supervisor", "--no-supervise"),
        ("--ssl-certfile a --ssl-keyfile b --ssl-keyfile c", "2 for 1", "--ssl-keyfile"),
        ("--ssl-keyfile b", "1 for 0", "--ssl-keyfile"),
        ("--bind 127.0.0.1:80 --status 127.0.0.1:80", "the app listens at 127.0.0.1:80 itself", "--status"),
        ("--ssl-cert-reqs 1 --ssl-ca-certs a", "no certificate is named", "--ssl-cert-reqs"),
        ("--ssl-cert-reqs required --ssl-certfile a", "authorities", "--ssl-cert-reqs"),
        ("--ssl-cert-reqs required --https-socket :1,a,b", "authorities", "--ssl-cert-reqs"),
        ("--ssl-cert-reqs 2 --https-socket :1,a,b --https-socket :2,a,b,HIGH,ca", "authorities", "--ssl-cert-reqs"),
        ("--ssl-cert-reqs required", "and no certificate is named; it also needs the authorities", "--ssl-cert-reqs"),
        ("--ssl-certfile a --ssl-ciphers banana", "ssl-ciphers: 'banana' names no cipher", "--ssl-ciphers"),
        ("--https-socket :1,a,b,banana", "https-socket: 'banana' names no cipher", "--https-socket"),
        ("--wsgi-file shop.py cart.py", "two apps are named, 'cart.py' and 'shop.py'", "--wsgi-file"),
    ],
)
def test_options_that_contradict_each_other_are_refused(folder: Folder, words: str, told: str, origin: str) -> None:
    problem = folder.problem(*words.split())
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", origin)
    assert told in problem.sentence


def test_all_of_them_are_told_with_all_others(folder: Folder) -> None:
    words = "--workers 2 --no-supervise --ssl-cert-reqs required --port x --bogus"
    rejected = folder.rejected(*words.split())
    assert len(rejected.problems) == 4


def test_an_address_with_tls_needs_a_certificate_except_in_a_fallback(folder: Folder) -> None:
    """A fallback may take the certificate of the failed start at the same address."""
    problem = folder.problem("--https-socket", ":1")
    assert (problem.cause.identifier, problem.origin) == ("certificate-missing", "--https-socket")
    folder.write("site.ini", "[arun]\nhttps-socket = :1\n")
    assert folder.settings("site.ini", factory_reset=True).https_socket[0].certfile == ""


@pytest.mark.parametrize(
    "words",
    [
        "--workers many --no-supervise",
        "--workers 2 --supervise=maybe",
        "--ssl-certfile= --https-socket :1",
        "--ssl-cert-reqs required --ssl-ca-certs a --https-socket nowhere",
    ],
)
def test_a_value_that_is_wrong_by_itself_contradicts_nothing(folder: Folder, words: str) -> None:
    assert len(folder.rejected(*words.split()).problems) == 1


@pytest.mark.parametrize(
    "words",
    [
        "--workers 2 --supervise",
        "--ssl-cert-reqs none",
        "--ssl-cert-reqs required --ssl-certfile a --ssl-ca-certs b",
        "--ssl-cert-reqs required --https-socket :1,a,b,HIGH,!ca",
        "--ssl-certfile a --ssl-certfile b",
        "--wsgi-file shop.py --callable app",
    ],
)
def test_options_that_agree_are_taken(folder: Folder, words: str) -> None:
    assert folder.settings(*words.split()).idle == []


def test_an_app_of_a_higher_layer_replaces_another(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nwsgi-file = shop.py\n")
    assert folder.settings("site.ini", "cart.py").app == "cart.py"


@pytest.mark.parametrize(
    ("words", "names", "what"),
    [
        ("--no-supervise --max-requests 5 -t 3", ["worker-timeout", "max-requests"], "a supervisor"),
        ("--access-logformat json --access-log-quiet /x", ["access-logformat", "access-log-quiet"], "--access-log or"),
        ("--ssl-ciphers HIGH --ssl-version 1.3", ["ssl-ciphers", "ssl-version"], "a certificate"),
        ("--proxy-allow-from 10.0.0.1", ["proxy-allow-from"], "--proxy-protocol"),
        ("--max-requests-jitter 5", ["max-requests-jitter"], "--max-requests"),
    ],
)
def test_an_option_that_does_nothing_beside_the_others_is_told(
    folder: Folder, words: str, names: list[str], what: str
) -> None:
    told = folder.settings(*words.split()).idle
    assert {line.partition(" ")[0] for line in told} == set(names)
    assert all(f"does nothing without {what}" in line for line in told)


@pytest.mark.parametrize(
    "words",
    [
        "--access-logformat json --access-log",
        "--access-logformat json --no-access-log",
        "--access-logformat json --disable-logging",
        "--ssl-version 1.3 --ssl-certfile a",
        "--max-requests 5 --max-requests-jitter 5",
        "--proxy-protocol --proxy-allow-from ::1",
    ],
)
def test_an_option_that_does_something_or_is_switched_off_is_not(folder: Folder, words: str) -> None:
    assert folder.settings(*words.split()).idle == []
