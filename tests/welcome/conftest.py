"""How the tests of the welcome app ask it: one ASGI call, and the answer as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from arun.core.failures import FailureRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FAILURE = FailureRecord(
    identifier="app-import-failed",
    stage="load",
    sentence="shop/web.py raised KeyError",
    origin="line 3 of site.ini",
    hint="look at the traceback",
    detail='Traceback (most recent call last):\n  File "/srv/shop/web.py", line 14\nKeyError: DATABASE_URL',
    config="/srv/site.ini",
    when=1_785_016_539.0,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the names of the headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@pytest.fixture
def failure() -> FailureRecord:
    """One failure as a start leaves it."""
    return FAILURE


@pytest.fixture
def ask() -> Callable[..., Awaitable[Answer]]:
    """Ask an app once over HTTP, without letting it read a body."""

    async def ask(app: Any, path: str = "/", **parts: Any) -> Answer:
        messages: list[dict[str, Any]] = []

        async def receive() -> None:
            raise AssertionError("the welcome app needs no body")

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        headers = parts.pop("headers", {})
        pairs = headers.items() if isinstance(headers, dict) else headers
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "client": ("203.0.113.9", 50_000),
            "headers": [(name.encode(), value.encode()) for name, value in pairs],
        }
        await app(scope | parts, receive, send)
        start, body = messages
        assert [start["type"], body["type"]] == ["http.response.start", "http.response.body"]
        names = [name.decode() for name, _ in start["headers"]]
        assert len(names) == len(set(names))
        return Answer(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, body["body"])

    return ask
