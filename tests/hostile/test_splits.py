"""However a conversation is cut into pieces, it is the same conversation; and what is sent is what the app is given."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engines.conftest import asgi_server
from tests.hostile.memory import converse
from tests.hostile.wire import Answer, read_answers

from arun.http.options import HttpOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Nothing here depends on time, and a machine may be slow.
THOROUGH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_TCHAR = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Names that say something to the server itself, or may be sent once only.
_MEANT = {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "proxy-connection", "te"}
_names = st.text(_TCHAR, min_size=1, max_size=20).filter(lambda name: name.lower() not in _MEANT)
_visible = st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E)
_values = st.text(st.one_of(_visible, st.sampled_from(" \t")), max_size=40).map(lambda text: text.strip(" \t"))
_paths = st.text("abz019-._~!$&'()*+,;=:@/", max_size=30).map("/".__add__)
_queries = st.text("abz019-._~!$&'()*+,;=:@/?", max_size=20)
_bodies = st.one_of(st.none(), st.binary(max_size=300), st.lists(st.binary(min_size=1, max_size=100), max_size=4))


class Request:
    """A request, and the bytes that a client makes of it."""

    def __init__(self, method: str, path: str, query: str, fields: list[tuple[str, str]], body: Any) -> None:
        self.method, self.path, self.query, self.fields, self.body = method, path, query, fields, body

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else b"".join(self.body or ())

    def raw(self) -> bytes:
        target = f"{self.path}?{self.query}" if self.query else self.path
        head = [f"{self.method} {target} HTTP/1.1", "Host: a", *(f"{name}: {value}" for name, value in self.fields)]
        body = self.content
        if isinstance(self.body, bytes):
            head.append(f"Content-Length: {len(body)}")
        elif self.body is not None:
            head.append("Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.body) + b"0\r\n\r\n"
        return "\r\n".join((*head, "", "")).encode("ascii") + body

    def __repr__(self) -> str:
        return repr(self.raw())


_requests = st.builds(
    Request,
    st.sampled_from(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")),
    _paths,
    _queries,
    st.lists(st.tuples(_names, _values), max_size=8),
    _bodies,
)


class Mirror:
    """An engine whose app notes what it is given and answers with the body."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.given: list[tuple[Any, ...]] = []
        self._factory = self.runner.run(asgi_server(self._app, HttpOptions()).start())

    async def _app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("nothing but requests")
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body, more = body + event["body"], event["more_body"]
        self.given.append(
            (scope["method"], scope["raw_path"], scope["query_string"], [tuple(one) for one in scope["headers"]], body)
        )
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": body[5:]})

    def hold(self, pieces: list[bytes]) -> list[Answer]:
        """Hold a conversation in these pieces."""
        self.given.clear()
        raw = self.runner.run(converse(self._factory, pieces))
        raw = re.sub(rb"date: [^\r]*\r\n", b"", raw)
        answers, rest = read_answers(raw, ended=True, methods=[one[0] for one in self.given])
        assert rest == b""
        return answers


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    made = Mirror()
    with contextlib.closing(made.runner):
        yield made


@THOROUGH
@given(requests=st.lists(_requests, min_size=1, max_size=4))
def test_app_is_given_exactly_what_was_sent(mirror: Mirror, requests: list[Request]) -> None:
    answers = mirror.hold([b"".join(request.raw() for request in requests)])
    assert [answer.status for answer in answers] == [200] * len(requests)
    for request, answer, (method, path, query, fields, body) in zip(requests, answers, mirror.given, strict=True):
        assert (method, path, query) == (request.method, request.path.encode(), request.query.encode())
        assert body == request.content
        assert answer.body == (b"" if method == "HEAD" else body)
        sent = [(name.lower().encode(), value.encode()) for name, value in request.fields]
        assert [one for one in fields if one[0].decode() not in _MEANT] == sent


@THOROUGH
@given(data=st.data(), requests=st.lists(_requests, min_size=1, max_size=4))
def test_pieces_make_no_difference(mirror: Mirror, data: st.DataObject, requests: list[Request]) -> None:
    raw = b"".join(request.raw() for request in requests)
    whole, seen = mirror.hold([raw]), list(mirror.given)
    places = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=12)))
    pieces = [raw[begin:end] for begin, end in zip([0, *places], [*places, len(raw)], strict=True)]
    assert mirror.hold(pieces) == whole
    assert mirror.given == seen


@THOROUGH
@given(data=st.data(), requests=st.lists(_requests, min_size=1, max_size=3), noise=st.binary(min_size=1, max_size=5))
def test_pieces_make_no_difference_to_what_is_broken(
    mirror: Mirror, data: st.DataObject, requests: list[Request], noise: bytes
) -> None:
    """Bytes that stand anywhere in a conversation are judged alike, whether or not they come with their neighbours."""
    raw = b"".join(request.raw() for request in requests)
    place = data.draw(st.integers(0, len(raw)))
    raw = raw[:place] + noise + raw[place:]
    statuses = [answer.status for answer in mirror.hold([raw])]
    again = [answer.status for answer in mirror.hold([raw[number : number + 1] for number in range(len(raw))])]
    assert again == statuses
