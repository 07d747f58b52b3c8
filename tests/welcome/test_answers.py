"""Statuses, headers, methods and forms of the welcome app's answers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from arun.core.outlook import Outlook
from arun_welcome import RETRY_AFTER, make_app

if TYPE_CHECKING:
    from arun.core.failures import FailureRecord

HTML = {"accept": "text/html"}
FORMS = ["text/html", "text/plain", "application/json", "application/problem+json"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]


async def test_an_instance_without_an_app_welcomes_at_the_root_with_200(ask: Any) -> None:
    answer = await ask(make_app(), headers=HTML)
    assert answer.status == 200
    assert "It works." in answer.text
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("command", ["arun app.py", "arun package.module:app", "arun --fallback-config welcome app.py"])
@pytest.mark.parametrize("form", ["text/html", "text/plain"])
async def test_the_welcome_names_the_next_commands(ask: Any, form: str, command: str) -> None:
    assert command in (await ask(make_app(), headers={"accept": form})).text


async def test_an_instance_without_an_app_has_no_other_path(ask: Any) -> None:
    assert (await ask(make_app(), "/favicon.ico", headers=HTML)).status == 404


@pytest.mark.parametrize("path", ["/shop", "/shop/"])
async def test_the_root_counts_below_the_root_path(ask: Any, path: str) -> None:
    assert (await ask(make_app(), path, root_path="/shop")).status == 200


@pytest.mark.parametrize("method", METHODS[2:])
async def test_the_welcome_can_only_be_read(ask: Any, method: str) -> None:
    answer = await ask(make_app(), method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/", "/orders/7", "*", ""])
async def test_after_a_failed_start_every_path_and_method_answers_503(
    ask: Any, failure: FailureRecord, path: str, method: str
) -> None:
    answer = await ask(make_app(outlook=lambda: Outlook((failure,))), path, method=method)
    assert (answer.status, answer.headers["retry-after"]) == (503, str(RETRY_AFTER))


async def test_a_given_status_stands_in_for_the_503(ask: Any, failure: FailureRecord) -> None:
    answer = await ask(
        make_app(outlook=lambda: Outlook((failure,)), status=500), "/orders", headers={"accept": "application/json"}
    )
    assert (answer.status, json.loads(answer.body)["status"]) == (500, 500)
    assert "retry-after" not in answer.headers


async def test_a_given_status_stands_in_for_the_200_and_leaves_the_404(ask: Any) -> None:
    app = make_app(status=503)
    assert [(await ask(app)).status, (await ask(app, "/other")).status] == [503, 404]


@pytest.mark.parametrize("status", [0, 99, 100, 199, 204, 205, 304, 600])
def test_a_status_that_no_page_can_have_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=f"^{status} is not a status for a page"):
        make_app(status=status)


@pytest.mark.parametrize("failing", [True, False])
@pytest.mark.parametrize("form", FORMS)
async def test_head_answers_as_get_without_the_body(
    ask: Any, failure: FailureRecord, form: str, *, failing: bool
) -> None:
    app = make_app(outlook=lambda: Outlook((failure,) if failing else ()))
    got = await ask(app, headers={"accept": form})
    head = await ask(app, method="HEAD", headers={"accept": form})
    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("asked", "given"), [("en-GB", "en"), ("zh-CN", "zh-Hans")])
@pytest.mark.parametrize("path", ["/", "/missing"])
async def test_every_answer_carries_the_headers_that_keep_it_safe_and_fresh(
    ask: Any, form: str, asked: str, given: str, path: str
) -> None:
    answer = await ask(make_app(), path, headers={"accept": form, "accept-language": asked})
    headers = answer.headers
    assert headers["content-type"].split(";")[0] == form
    assert headers["content-length"] == str(len(answer.body))
    assert headers["content-language"] == given
    assert headers["vary"] == "Accept, Accept-Language"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    for rule in ("default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
        assert rule in headers["content-security-policy"].split("; ")


@pytest.mark.parametrize(("language", "title"), [("en", "Temporarily unavailable"), ("zh", "服务暂时不可用")])
async def test_a_program_is_told_the_problem_as_rfc_9457_has_it(
    ask: Any, failure: FailureRecord, language: str, title: str
) -> None:
    headers = {"accept": "application/problem+json", "accept-language": language}
    problem = json.loads((await ask(make_app(outlook=lambda: Outlook((failure,))), headers=headers)).body)
    assert problem.pop("detail")
    assert problem == {"type": "about:blank", "title": title, "status": 503}


@pytest.mark.parametrize("form", FORMS)
async def test_languages_differ_in_every_form(ask: Any, failure: FailureRecord, form: str) -> None:
    app = make_app(outlook=lambda: Outlook((failure,)))
    english, chinese = [
        (await ask(app, headers={"accept": form, "accept-language": language})).text for language in ("en", "zh")
    ]
    assert "马上回来" not in english
    assert "不是您这边的问题" in chinese
    assert "Nothing is wrong at your end" in english


async def test_repeated_headers_count_as_one_list(ask: Any) -> None:
    answer = await ask(make_app(), headers=[("accept", "image/png"), ("accept", "text/html")])
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_lifespan_is_answered_in_its_order() -> None:
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await make_app()({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_turned_away_before_its_handshake_where_it_cannot_be_answered() -> None:
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await make_app()({"type": "websocket", "path": "/"}, receive, send)
    assert sent == ["websocket.close"]


ASK = """
import asyncio, resource, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import arun.core.failures, arun.core.loopback, arun.core.outlook  # as every server has them
before = set(sys.modules)
from arun_welcome import make_app
app = make_app()
new = {name for name in set(sys.modules) - before if not name.startswith("arun_welcome")}

def ask(accept):
    sent = []
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"accept", accept)]}
    try:
        app(scope, None, send).send(None)
    except StopIteration:
        pass
    return dict(sent[0]["headers"])[b"content-type"].decode()

def pages():
    return sum(name.endswith("page.html") for name in opened)
"""


def _run(script: str) -> str:
    command = [sys.executable, "-c", ASK + script]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def test_making_the_app_costs_a_start_no_import_and_no_page() -> None:
    """Nothing but the app's own modules is imported, and the page is read by the first who wants it, once."""
    script = 'print(sorted(new), pages(), ask(b"*/*"), pages(), ask(b"text/html"), ask(b"text/html"), pages())'
    html = "text/html; charset=utf-8"
    assert _run(script) == f"[] 0 text/plain; charset=utf-8 0 {html} {html} 1"


@pytest.mark.parametrize("form", ["text/html", "application/json"])
def test_without_a_descriptor_left_the_answer_is_text_and_later_what_was_asked_for(form: str) -> None:
    """A process that cannot open its own page still answers, and does not keep the makeshift."""
    script = f"""
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
sys.modules.pop("json", None)
first = ask(b"{form}")
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(first, "then", ask(b"{form}").split(";")[0])
"""
    assert _run(script) == f"text/plain; charset=utf-8 then {form}"


@pytest.mark.parametrize("form", FORMS)
async def test_a_visitor_can_quote_the_id_of_the_failed_start(ask: Any, failure: FailureRecord, form: str) -> None:
    app = make_app(outlook=lambda: Outlook((failure._replace(id="K7Q2MX"),)))
    answer = await ask(app, headers={"accept": form})
    assert "K7Q2MX" in answer.text
    assert answer.headers["x-arun-state"] == "fallback"
    assert "x-arun-state" not in (await ask(make_app())).headers
