"""Every limit of what a client may ask, set small and attacked (the section _Limits of the options)."""

from __future__ import annotations

import contextlib
import select
import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.hostile.conftest import KINDS
from tests.hostile.expectations import get, post
from tests.hostile.wire import PATIENCE, Client, client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Answer as HttpAnswer
    from tests.hostile.conftest import Target

SMALL = (
    *("--limit-request-line", "200", "--limit-request-fields", "10", "--limit-request-field-size", "300"),
    *("--limit-request-head", "1024", "--limit-request-body", "1000", "--keep-alive-requests", "5"),
)
IMPATIENT = ("--timeout-header", "1", "--timeout-body", "1", "--timeout-write", "1", "--timeout-keep-alive", "1")
FEW = ("--limit-connections", "6", "--limit-concurrency", "2")
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(params=KINDS)
def small(request: pytest.FixtureRequest, shared: Callable[..., Target]) -> Target:
    """An instance that takes small requests only."""
    return shared(request.param, *SMALL)


@pytest.fixture(params=KINDS)
def impatient(request: pytest.FixtureRequest, shared: Callable[..., Target]) -> Target:
    """An instance that waits for nobody longer than a second."""
    return shared(request.param, *IMPATIENT)


@pytest.fixture(params=KINDS)
def narrow(request: pytest.FixtureRequest, start: Callable[..., Target]) -> Target:
    """An instance that takes few connections and fewer requests at the same time."""
    return start(request.param, *FEW)


#: What is just small enough, and what is too large and the status that it gets.
SIZES = {
    "request line": (get(b"/" + b"x" * 180), get(b"/" + b"x" * 200), 414),
    "query": (get(b"/?" + b"x" * 180), get(b"/?" + b"x" * 200), 414),
    "number of fields": (
        get(b"/", *(b"X-%d: b" % n for n in range(9))),
        get(b"/", *(b"X-%d: b" % n for n in range(10))),
        431,
    ),
    "field": (get(b"/", b"X: " + b"x" * 280), get(b"/", b"X: " + b"x" * 310), 431),
    "name of a field": (get(b"/", b"x" * 280 + b": x"), get(b"/", b"x" * 310 + b": x"), 431),
    "head": (
        get(b"/", *(b"X-%d: %s" % (n, b"x" * 200) for n in range(4))),
        get(b"/", *(b"X-%d: %s" % (n, b"x" * 200) for n in range(6))),
        431,
    ),
    "body": (post(b"x" * 1000, b"Content-Length: 1000"), post(b"x" * 1001, b"Content-Length: 1001"), 413),
    "body in chunks": (
        post(b"1f4\r\n" + b"x" * 500 + b"\r\n1f4\r\n" + b"x" * 500 + b"\r\n0\r\n\r\n", CHUNKED),
        post(b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501 + b"\r\n0\r\n\r\n", CHUNKED),
        413,
    ),
    "announced chunk": (post(b"1\r\nx\r\n0\r\n\r\n", CHUNKED), post(b"fffffff\r\n" + b"x" * 1001, CHUNKED), 413),
}


@pytest.mark.parametrize("what", SIZES)
def test_what_is_larger_than_its_limit_is_refused_with_its_status(small: Target, what: str) -> None:
    fits, exceeds, status = SIZES[what]
    for raw, wanted in ((fits, 200), (exceeds, status)):
        with client(small.address) as connection:
            connection.send(raw)
            (answer,) = connection.answers(1)
            assert answer.status == wanted, (what, len(raw))
            if wanted != 200:
                assert answer.closes
                connection.read_to_end()
    small.assert_well()


@pytest.mark.parametrize(
    "framing",
    [
        b"1;x=" + b"y" * 3_000,
        b"1\r\na\r\n0\r\nX: " + b"y" * 3_000,
        b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 600,
        b"0" * 3_000,
    ],
    ids=["extension", "trailer", "trailers", "size"],
)
def test_framing_of_chunks_is_bounded_like_a_head(small: Target, framing: bytes) -> None:
    with client(small.address) as connection:
        connection.send(post(framing, CHUNKED))
        (answer,) = connection.answers(1)
        assert answer.status in {400, 413, 431}
        connection.read_to_end()
    small.assert_well()


def test_connection_is_closed_after_as_many_requests_as_it_may_send(small: Target) -> None:
    with client(small.address) as connection:
        connection.send(b"".join(get(b"/%d" % number) for number in range(8)))
        connection.read_to_end()
        answers = connection.answers(8)
    assert [answer.status for answer in answers] == [200] * 5
    assert [answer.closes for answer in answers] == [False] * 4 + [True]


@pytest.mark.parametrize("start_of_head", [b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_head_that_does_not_come_is_answered_with_408(impatient: Target, start_of_head: bytes) -> None:
    with client(impatient.address) as connection:
        connection.send(start_of_head)
        connection.read_to_end()
        statuses = [answer.status for answer in connection.answers(1)]
    assert statuses == [408] or (statuses == [] and b" " not in start_of_head)
    impatient.assert_well()


def test_head_that_comes_byte_by_byte_is_answered_with_408_all_the_same(impatient: Target) -> None:
    """CVE-2007-6750, slowloris: the time counts from the first byte of a head to its last."""
    with client(impatient.address) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        deadline = time.monotonic() + PATIENCE
        while not connection.readable(0.1) and time.monotonic() < deadline:
            connection.send(b"X: b\r\n")
        connection.read_to_end()
        assert [answer.status for answer in connection.answers(1)] == [408]


def test_connection_that_says_nothing_is_closed(impatient: Target) -> None:
    with client(impatient.address) as connection:
        assert connection.read_to_end() == b""


def test_connection_that_says_nothing_more_is_closed(impatient: Target) -> None:
    with client(impatient.address) as connection:
        connection.send(get())
        connection.read_to_end()
        (answer,) = connection.answers(1)
        assert answer.status == 200
        assert not answer.closes


@pytest.mark.parametrize(
    "stalled", [post(b"abc", b"Content-Length: 10"), post(b"a\r\nabc", CHUNKED)], ids=["length", "chunks"]
)
def test_body_that_stalls_is_answered_with_408(impatient: Target, stalled: bytes) -> None:
    with client(impatient.address) as connection:
        connection.send(stalled)
        connection.read_to_end()
        assert [answer.status for answer in connection.answers(1)] == [408]
    impatient.assert_well()


def test_body_that_stalls_behind_its_answer_ends_the_connection(impatient: Target) -> None:
    with client(impatient.address) as connection:
        connection.send(post(b"abc", b"Content-Length: 10", target=b"/ignore"))
        connection.read_to_end()
        (answer,) = connection.answers(1)
    if impatient.kind in {"wsgi", "inline"}:  # the app is called when the whole body is here
        assert answer.status == 408
    else:
        assert answer.body == b"ignored"


def test_client_that_takes_nothing_of_its_answer_is_cut_off(impatient: Target) -> None:
    with client(impatient.address) as connection:
        connection.send(get(b"/big?4000"))
        assert connection.is_reset_within(PATIENCE)
    impatient.assert_well()


def test_connection_beyond_their_number_is_answered_with_503(narrow: Target) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(client(narrow.address)) for _ in range(6)]
        for each in held:
            each.send(get())
            assert each.answers(1)[0].status == 200
        with client(narrow.address) as surplus:
            surplus.send(get())
            surplus.read_to_end()
            (answer,) = surplus.answers(1)
        assert answer.status == 503
        assert answer.fields["retry-after"][0].isdigit()
        assert answer.closes
        held[0].send(get())
        assert [answer.status for answer in held[0].answers(2)] == [200, 200]
    _asked_until(narrow, 200)
    narrow.assert_well()


def test_request_beyond_their_number_is_answered_with_503(narrow: Target) -> None:
    if narrow.kind == "inline":
        pytest.skip("an app in the loop itself runs one request at a time")
    with client(narrow.address) as first, client(narrow.address) as second:
        for each in (first, second):
            each.send(post(b"abc", b"Content-Length: 6"))
        answer = _asked_until(narrow, 503)
        assert int(answer.headers["retry-after"]) > 0
        for each in (first, second):
            each.send(b"def")
            assert [answer.status for answer in each.answers(1)] == [200]
    _asked_until(narrow, 200)


def test_request_that_would_wait_for_a_thread_in_too_long_a_queue_is_answered_with_503(
    start: Callable[..., Target],
) -> None:
    target = start("wsgi", "--threads", "1", "--limit-queue", "1", "--limit-response-buffer", "0")
    with contextlib.ExitStack() as stack:
        slow, *asking = [stack.enter_context(client(target.address)) for _ in range(3)]
        slow.send(get(b"/big?200"))  # its client has the only thread wait
        _first_readable([slow])
        for each in asking:
            each.send(get())
        declined = _first_readable(asking)
        (answer,) = declined.answers(1)
        assert answer.status == 503
        assert answer.fields["retry-after"][0].isdigit()
        asking.remove(declined)
        for each in (slow, *asking):
            assert [answer.status for answer in each.answers(1)] == [200]
    target.assert_well()


def test_more_clients_than_threads_that_send_or_take_little_hold_up_nobody(start: Callable[..., Target]) -> None:
    target = start("wsgi")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(client(target.address)) for _ in range(24)]
        for each in slow[:12]:
            each.send(post(b"a", b"Content-Length: 2"))
        for each in slow[12:]:
            each.send(get(b"/big?100"))
            _first_readable([each])
        for _ in range(3):
            begin = time.monotonic()
            target.assert_well()
            assert time.monotonic() - begin < 5
        for each in slow[:12]:
            each.send(b"b")
        for each in slow:
            assert [answer.complete for answer in each.answers(1)] == [True]
    target.assert_well()


@pytest.fixture(params=KINDS)
def demanding(request: pytest.FixtureRequest, start: Callable[..., Target]) -> Target:
    """An instance that asks more of its clients than they give."""
    return start(request.param, "--min-body-rate", "1000", "--min-response-rate", "100M", "--rate-grace", "0.5")


def test_client_that_sends_or_takes_too_little_is_cut(demanding: Target) -> None:
    with client(demanding.address) as sends, client(demanding.address) as takes:
        takes.send(get(b"/big?400"))
        sends.send(post(b"", b"Content-Length: 100000"))
        deadline = time.monotonic() + PATIENCE
        while not select.select([sends], [], [], 0.05)[0]:
            sends.send(b"x")
            assert time.monotonic() < deadline
        assert [answer.status for answer in sends.answers(1)] == [408]
        assert takes.is_reset_while_it_reads(10_000)
    demanding.assert_well()


@pytest.mark.parametrize("kind", KINDS)
def test_request_that_outlives_the_grace_of_a_stop_is_cut(start: Callable[..., Target], kind: str) -> None:
    target = start(kind, "--timeout-graceful-shutdown", "0.5")
    with client(target.address) as connection:
        connection.send(post(b"", b"Content-Length: 6", b"Expect: 100-continue"))
        if kind != "inline":
            connection.until_contains(b"100 Continue")
        target.instance.send(signal.SIGTERM)
        connection.read_to_end()
        assert [answer.status for answer in connection.answers(1) if answer.status == 200] == []
    assert target.instance.wait() == 0


@pytest.mark.parametrize("kind", ["asgi", "wsgi", "aiohttp"])
def test_clients_are_served_and_asked_to_go_until_the_drain_delay_is_over(
    start: Callable[..., Target], kind: str
) -> None:
    target = start(kind, "--drain-delay", "3")
    with client(target.address) as kept:
        kept.send(get())
        assert not kept.answers(1)[0].closes
        target.instance.send(signal.SIGTERM)
        answer = _until_it_closes(target)
        assert answer
        kept.send(get())
        assert [answer.closes for answer in kept.answers(2)] == [False, True]
    assert target.instance.wait() == 0


def _asked_until(target: Target, status: int) -> HttpAnswer:
    """Ask until the answer has a status."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = target.instance.get("/ignore")
        if answer.status == status:
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.01)


def _until_it_closes(target: Target) -> bool:
    """Connect and ask until an answer says that its connection closes; False when nobody accepts any more."""
    while True:
        with client(target.address) as connection:
            connection.send(get())
            if connection.answers(1)[0].closes:
                return True


def _first_readable(clients: list[Client]) -> Client:
    readable, _, _ = select.select(clients, [], [], PATIENCE)
    assert len(readable) == 1
    return next(each for each in clients if each is readable[0])
