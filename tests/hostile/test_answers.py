"""Apps whose answers break HTTP: what a client gets is well-formed, and never becomes the next answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.hostile.wire import Answer, client, read_answers

if TYPE_CHECKING:
    from tests.hostile.conftest import Target


class Given(NamedTuple):
    """What may come of an answer; ``cut`` says that the connection may end in its middle, with nothing after it."""

    outcomes: tuple[tuple[int, bytes], ...]
    cut: bool = False


_FAILED = (500, b"")
_OK = (200, b"hello")
_ONLY_FAILED = Given((_FAILED,))
_WHOLE_OR_FAILED = Given((_OK, _FAILED))

#: By the name in tests/samples/mirror/answers.py; the body of a 500 does not matter.
ANSWERS = {
    "crlf-in-value": _ONLY_FAILED,  # CVE-2018-1000164, CVE-2020-7695
    "lf-in-value": _ONLY_FAILED,
    "cr-in-value": _ONLY_FAILED,
    "nul-in-value": _ONLY_FAILED,
    "crlf-in-name": _ONLY_FAILED,
    "colon-in-name": _ONLY_FAILED,
    "space-in-name": _ONLY_FAILED,
    "empty-name": _ONLY_FAILED,
    "folded-value": _ONLY_FAILED,
    "too-long": Given(((200, b"hel"), _FAILED)),  # RFC 9112 6.3: cut, or refused before a byte was sent
    "too-long-late": Given(((200, b"hel"),)),
    "too-short": Given((_FAILED,), cut=True),  # RFC 9112 8: the connection ends
    "nothing-of-ten": Given((_FAILED,), cut=True),
    "no-content": Given(((204, b""), _FAILED)),  # RFC 9110 15.3.5
    "no-content-with-length": Given(((204, b""), _FAILED)),
    "not-modified": Given(((304, b""), _FAILED)),  # RFC 9110 15.4.5
    "not-modified-with-length": Given(((304, b""), _FAILED)),
    "reset-content": Given(((205, b""),)),
    "status-100": _ONLY_FAILED,  # RFC 9110 15.2: no final answer
    "status-101": _ONLY_FAILED,
    "status-199": _ONLY_FAILED,
    "status-99": _ONLY_FAILED,
    "status-1000": _ONLY_FAILED,
    "length-twice-same": _WHOLE_OR_FAILED,
    "length-twice-different": _ONLY_FAILED,
    "length-list": _WHOLE_OR_FAILED,
    "length-negative": _ONLY_FAILED,
    "length-signed": _WHOLE_OR_FAILED,
    "length-text": _ONLY_FAILED,
    "length-empty": _WHOLE_OR_FAILED,
    "coding-set": _WHOLE_OR_FAILED,  # RFC 9112 6.1: the framing is the server's
    "coding-and-length": _WHOLE_OR_FAILED,
    "coding-strange": _WHOLE_OR_FAILED,
    "connection-keep-alive": Given((_OK,)),
    "connection-close": Given((_OK,)),
    "empty-pieces": Given((_OK,)),  # an empty chunk would be the last
    "streamed": Given((_OK,)),
    "streamed-with-length": Given((_OK,)),
    "nothing": Given(((200, b""),)),
    "raises-at-once": _ONLY_FAILED,
    "raises-in-body": Given((_FAILED,), cut=True),
    "raises-in-measured-body": Given((_FAILED,), cut=True),
    "raises-after-measured-body": Given((_OK,), cut=True),
    "latin-value": _WHOLE_OR_FAILED,  # RFC 9110 5.5: obs-text
}


def _request(method: str, path: str, version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode()


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_that_breaks_http_reaches_nobody(target: Target, name: str) -> None:
    given = ANSWERS[name]
    first, later = _ask(target, "GET", name)
    problem = f"{first.status} {first.body[:80]!r} {first.fields}"
    if first.complete:
        allowed = [(status, first.body if status == 500 else body) for status, body in given.outcomes]
        assert (first.status, first.body) in allowed, problem
    else:
        assert given.cut, problem
        assert b"hello".startswith(first.body[:5]), problem
        assert later == []
    assert "set-cookie" not in first.fields
    assert "stolen" not in str(first.fields)
    target.assert_well()


@pytest.mark.parametrize("name", [name for name, given in ANSWERS.items() if not given.cut])
def test_answer_to_head_has_no_body(target: Target, name: str) -> None:
    """RFC 9110 9.3.2."""
    first, _ = _ask(target, "HEAD", name)
    assert first.status in {status for status, _ in ANSWERS[name].outcomes} | {500}
    target.assert_well()


@pytest.mark.parametrize("name", ["streamed", "streamed-with-length", "raises-in-body", "coding-set", "empty-pieces"])
def test_answer_to_an_old_client_has_no_coding(target: Target, name: str) -> None:
    """RFC 9112 6.1; the end of the connection is the end of the body, so what fails must not end it quietly."""
    with client(target.address) as connection:
        connection.send(_request("GET", f"/answer/{name}", "1.0"))
        answers, rest = read_answers(connection.read_to_end(), ended=True)
    assert rest == b""
    assert "transfer-encoding" not in answers[0].fields
    if name == "raises-in-body":
        assert connection.reset or answers[0].status == 500
    else:
        assert answers[0].body == b"hello" or answers[0].status == 500
    target.assert_well()


def test_large_answer_to_a_client_that_goes_away_is_given_up(target: Target) -> None:
    for _ in range(5):
        with client(target.address) as connection:
            connection.send(_request("GET", "/big?2000"))
            connection.until_contains(b"xxxx")
    target.assert_well()


def _ask(target: Target, method: str, name: str) -> tuple[Answer, list[Answer]]:
    """Ask for an answer and, behind it, for an ordinary one; whatever comes must be one of the two."""
    with client(target.address) as connection:
        connection.send(
            _request(method, f"/answer/{name}") + b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        answers, rest = read_answers(connection.read_to_end(), ended=True, methods=[method])
    assert rest == b""
    assert 1 <= len(answers) <= 2
    for later in answers[1:]:
        assert later.status == 200
        assert b'"/next"' in later.body
    return answers[0], answers[1:]
