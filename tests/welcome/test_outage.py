"""The page of an outage: when it is over, what a visitor can quote, that it reloads itself, and a page of one's own."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from arun.core.outlook import Outlook
from arun_welcome import make_app
from arun_welcome.rendering import wait

if TYPE_CHECKING:
    from arun.core.failures import FailureRecord

HTML = {"accept": "text/html"}
OWN = "<!doctype html><title>Shop</title><p>{{text}}</p><p>{{id}} {{other}} {% no %}</p>"
FORMS = ("text/html", "text/plain", "application/problem+json")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("offline", [None, "Back at 14:00."])
async def test_a_visitor_does_not_learn_what_serves(
    ask: Any, failure: FailureRecord, form: str, language: str, offline: str | None
) -> None:
    app = make_app(outlook=lambda: Outlook((failure,), offline=offline))
    answer = await ask(app, headers={"accept": form, "accept-language": language})
    assert answer.headers.pop("x-arun-state") in {"fallback", "offline"}  # for monitoring, which the page does not show
    assert "arun" not in f"{answer.headers}{answer.text}".lower()


#: Seconds until the next try, and what is said of them.
WAITS = {
    None: "It comes back as soon as the cause is mended.",
    -3.0: "We try again by ourselves in a few seconds.",
    7.0: "We try again by ourselves in a few seconds.",
    8.0: "We try again by ourselves in about 10 seconds.",
    22.0: "We try again by ourselves in about 20 seconds.",
    54.0: "We try again by ourselves in about 50 seconds.",
    60.0: "We try again by ourselves in about a minute.",
    600.0: "We try again by ourselves in about 10 minutes.",
    4000.0: "We try again by ourselves, though not within the hour.",
}


@pytest.mark.parametrize(("seconds", "words"), WAITS.items(), ids=map(str, WAITS))
async def test_words_and_retry_after_follow_the_next_try(
    ask: Any, failure: FailureRecord, seconds: float | None, words: str
) -> None:
    until = None if seconds is None else time.time() + seconds
    app = make_app(outlook=lambda: Outlook((failure,), until))
    answer = await ask(app)
    assert words in answer.text
    after = int(answer.headers["retry-after"])
    assert after == 30 if seconds is None else max(1.0, seconds - 1) <= after <= max(1.0, seconds + 1)


def test_few_bodies_have_to_be_made() -> None:
    assert len({wait(seconds / 10) for seconds in range(36_000)}) < 70


@pytest.mark.parametrize("seconds", [None, 1.0, 20.0, 3600.0])
async def test_the_page_reloads_itself_when_the_next_try_is_over(
    ask: Any, failure: FailureRecord, seconds: float | None
) -> None:
    """Not all visitors at once, and never later than after a good half minute."""
    until = None if seconds is None else time.time() + seconds
    app = make_app(outlook=lambda: Outlook((failure,), until))
    least, most = {None: (15, 19), 1.0: (3, 7), 20.0: (20, 26), 3600.0: (30, 34)}[seconds]
    clients = [(f"203.0.113.{number}", 50_000) for number in range(20)]
    after = {int((await ask(app, headers=HTML, client=client)).headers["refresh"]) for client in clients}
    assert least <= min(after) <= max(after) <= most
    assert len(after) > 1
    assert "This page reloads by itself." in (await ask(app, headers=HTML)).text


async def test_only_a_page_that_was_read_reloads_itself(ask: Any, failure: FailureRecord) -> None:
    """What a form has sent would be lost by it, and a program reads Retry-After."""
    pause = make_app(outlook=lambda: Outlook((failure,)))
    answers = [await ask(pause, headers=HTML, method="POST"), await ask(pause), await ask(make_app(), headers=HTML)]
    for answer in answers:
        assert "refresh" not in answer.headers
        assert "reloads" not in answer.text


async def test_the_id_of_the_failed_start_can_be_quoted(ask: Any, failure: FailureRecord) -> None:
    app = make_app(outlook=lambda: Outlook((failure._replace(id="K7M2QX"), failure._replace(id="OTHER"))))
    assert "<span>Reference K7M2QX</span>" in (await ask(app, headers=HTML)).text
    assert (await ask(app)).text.endswith("\nReference K7M2QX\n")
    assert json.loads((await ask(app, headers={"accept": "application/json"})).text)["id"] == "K7M2QX"


async def test_a_page_of_ones_own_is_for_browsers(ask: Any, failure: FailureRecord) -> None:
    app = make_app(outlook=lambda: Outlook((failure._replace(id="K7M2QX"),), time.time() + 20), own_page=OWN)
    answer = await ask(app, headers=HTML)
    text = (
        "This service is temporarily unavailable. Nothing is wrong at your end. We try again by ourselves in about 20 "
        "seconds. This page reloads by itself."
    )
    assert answer.text == f"<!doctype html><title>Shop</title><p>{text}</p><p>K7M2QX {{{{other}}}} {{% no %}}</p>"
    assert answer.status == 503
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert {"retry-after", "refresh", "cache-control"} <= answer.headers.keys()
    assert "content-language" not in answer.headers
    assert (await ask(app)).text.startswith("We’ll be right back.")  # noqa: RUF001 - typographic


async def test_a_page_of_ones_own_is_also_the_first_one(ask: Any) -> None:
    app = make_app(own_page="<p>soon</p>")
    assert (await ask(app, headers=HTML)).text == "<p>soon</p>"
    assert (await ask(app, path="/other", headers=HTML)).status == 404


@pytest.mark.parametrize(("page", "is_own"), [(OWN, True), ("<p>soon</p>", False)])
async def test_the_text_of_an_operator_is_never_left_out(ask: Any, page: str, is_own: bool) -> None:  # noqa: FBT001
    app = make_app(outlook=lambda: Outlook(offline="Back at <14:00>."), own_page=page)
    answer = await ask(app, headers=HTML)
    assert "Back at &lt;14:00&gt;." in answer.text
    assert ("<title>Shop</title>" in answer.text) == is_own


async def test_the_operator_is_shown_the_causes_in_place_of_the_own_page(ask: Any, failure: FailureRecord) -> None:
    app = make_app(outlook=lambda: Outlook((failure,)), own_page=OWN, debug=True)
    here = {"client": ("127.0.0.1", 1)}
    assert "KeyError: DATABASE_URL" in (await ask(app, headers=HTML, **here)).text
    assert "DATABASE_URL" not in (await ask(app, headers=HTML)).text
