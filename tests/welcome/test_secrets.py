"""Which clients see why a start failed, and which do not."""

from __future__ import annotations

import json
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from arun.core.outlook import Outlook
from arun_welcome import make_app

if TYPE_CHECKING:
    from arun.core.failures import FailureRecord

FORMS = ["text/html", "text/plain", "application/problem+json"]
HERE = ("127.0.0.1", 50_000)


def _telling(failure: FailureRecord, text: str) -> list[str]:
    """Return what of the failure stands in the text."""
    values = [failure.identifier, failure.sentence, failure.origin, failure.hint, failure.config, "2026-07-25 21:55:39"]
    return [value for value in [*values, *failure.detail.splitlines()] if value in text]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("debug", [True, False])
async def test_a_visitor_is_told_nothing_internal(
    ask: Any, failure: FailureRecord, form: str, language: str, *, debug: bool
) -> None:
    app = make_app(outlook=lambda: Outlook((failure,)), debug=debug)
    answer = await ask(app, headers={"accept": form, "accept-language": language})
    assert not _telling(failure, unescape(answer.text))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("failing", [True, False])
async def test_no_answer_repeats_what_was_asked(ask: Any, failure: FailureRecord, form: str, *, failing: bool) -> None:
    app = make_app(outlook=lambda: Outlook((failure,) if failing else ()), debug=True)
    headers = {"accept": form, "host": "canary.test", "referer": "canary", "user-agent": "canary"}
    answer = await ask(app, "/canary", query_string=b"canary", method="canary", headers=headers)
    assert "canary" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("client", [HERE, ("127.8.9.10", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)])
@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]", ""])
async def test_in_debug_mode_the_operator_at_this_machine_is_told_all(
    ask: Any, failure: FailureRecord, form: str, client: tuple[str, int], host: str
) -> None:
    app = make_app(outlook=lambda: Outlook((failure,)), debug=True)
    answer = await ask(app, client=client, headers={"accept": form, "host": host})
    text = unescape(answer.text)
    if form.endswith("json"):
        text = "\n".join(json.loads(text)["failures"][0].values())
    assert len(_telling(failure, text)) == 9


async def test_without_debug_mode_nobody_is_told_not_even_here(ask: Any, failure: FailureRecord) -> None:
    answer = await ask(make_app(outlook=lambda: Outlook((failure,))), client=HERE, headers={"host": "localhost"})
    assert not _telling(failure, answer.text)


async def test_the_operator_is_told_the_whole_chain_in_its_order(ask: Any, failure: FailureRecord) -> None:
    second = failure._replace(identifier="address-denied", detail="", origin="")
    app = make_app(outlook=lambda: Outlook((failure, second)), debug=True)
    text = (await ask(app, client=HERE)).text
    assert 0 < text.index("app-import-failed: ") < text.index("address-denied: ")
    assert text.count("From: ") == 1


@pytest.mark.parametrize(
    "client",
    [("203.0.113.9", 1), ("10.0.0.1", 1), ("::2", 1), ("127.evil.test.x", 1), ("128.0.0.1", 1), ("", 0), None],
    ids=str,
)
async def test_nobody_elsewhere_is_the_operator(ask: Any, failure: FailureRecord, client: Any) -> None:
    """A unix peer has no address; it is mostly a proxy."""
    answer = await ask(make_app(outlook=lambda: Outlook((failure,)), debug=True), client=client)
    assert not _telling(failure, answer.text)


@pytest.mark.parametrize(
    "headers",
    [
        {"forwarded": "for=203.0.113.9"},
        {"via": "1.1 edge"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-proto": "https"},
        {"x-real-ip": "127.0.0.1"},
        {"host": "rebound.test:8080"},
        {"host": "127.0.0.1.rebound.test"},
    ],
    ids=str,
)
async def test_a_request_from_a_proxy_or_for_another_host_is_no_operator(
    ask: Any, failure: FailureRecord, headers: dict[str, str]
) -> None:
    answer = await ask(make_app(outlook=lambda: Outlook((failure,)), debug=True), client=HERE, headers=headers)
    assert not _telling(failure, answer.text)


async def test_who_is_told_does_not_depend_on_who_asked_before(ask: Any, failure: FailureRecord) -> None:
    app = make_app(outlook=lambda: Outlook((failure,)), debug=True)
    told = [bool(_telling(failure, (await ask(app, client=client)).text)) for client in (HERE, None, HERE, None)]
    assert told == [True, False, True, False]


async def test_a_value_cannot_become_mark_up(ask: Any, failure: FailureRecord) -> None:
    evil = "<script>'\"&{{lead}}"
    app = make_app(
        outlook=lambda: Outlook((failure._replace(sentence=evil, detail=evil, identifier=evil, origin=evil),)),
        debug=True,
    )
    text = (await ask(app, client=HERE, headers={"accept": "text/html"})).text
    assert text.count("&lt;script&gt;&#39;&quot;&amp;{{lead}}") == 4
    assert "<script" not in text


async def test_a_value_cannot_steer_the_terminal_of_the_operator(ask: Any, failure: FailureRecord) -> None:
    evil = failure._replace(sentence="\x1b]0;x\x07\rforged\nline", detail="a\x1b[2J\n\tb")
    text = (await ask(make_app(outlook=lambda: Outlook((evil,)), debug=True), client=HERE)).text
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b[2J" in text


@pytest.mark.parametrize("form", FORMS)
async def test_bytes_of_a_file_name_that_are_no_utf_8_do_not_break_the_answer(
    ask: Any, failure: FailureRecord, form: str
) -> None:
    odd = failure._replace(config="/srv/\udcff.ini")
    answer = await ask(make_app(outlook=lambda: Outlook((odd,)), debug=True), client=HERE, headers={"accept": form})
    assert "udcff.ini" in answer.text
