"""Crowds: a thousand clients that send garbage, and two hundred that send next to nothing, leave the instance as it was."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING

import pytest
from tests.hostile import cases_conversation, cases_fields, cases_framing, cases_lines
from tests.hostile.conftest import KINDS
from tests.hostile.expectations import get, post
from tests.hostile.wire import PATIENCE, client

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Instance
    from tests.hostile.conftest import Target

GARBAGE = 1_000
SLOW = 200
#: KiB by which an instance may have grown after a crowd has gone.
GROWTH = 40_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_connections_of_garbage_leave_the_instance_as_it_was(
    start: Callable[..., Target], kind: str
) -> None:
    target = start(kind)
    _warm_up(target)
    before, memory = target.instance.holdings(), target.instance.rss()
    chance = random.Random(1_000)  # noqa: S311 - the same garbage in every run
    for _ in range(GARBAGE):
        with client(target.address) as connection:
            connection.send(_garbage(chance))
            if chance.random() < 0.5:
                connection.half_close()
            if chance.random() < 0.5:
                connection.readable(0.002)
    target.assert_well()
    _assert_as_before(target.instance, before, memory)


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_slow_clients_disturb_nobody_and_are_sent_away(start: Callable[..., Target], kind: str) -> None:
    target = start(kind, "--timeout-header", "2", "--timeout-body", "2", "--timeout-keep-alive", "2")
    _warm_up(target)
    before, memory = target.instance.holdings(), target.instance.rss()
    openings = (
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
        post(b"a", b"Content-Length: 9", target=b"/ignore"),
        get(),
    )
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(client(target.address)) for _ in range(SLOW)]
        for number, each in enumerate(crowd):
            each.send(openings[number % len(openings)])
        for number in range(20):
            target.assert_well()
            crowd[number].send(b"x")
        for each in crowd:
            each.read_to_end()
    target.assert_well()
    _assert_as_before(target.instance, before, memory)


def _warm_up(target: Target) -> None:
    """Let everything be there that is made for the first clients: threads, imported modules."""
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(client(target.address)) for _ in range(10)]
            for each in crowd:
                each.send(post(b"abc", b"Content-Length: 3") + b"\0")
            for each in crowd:
                each.read_to_end()
    target.assert_well()


def _assert_as_before(instance: Instance, before: Counter[str], memory: int) -> None:
    """Check that no descriptor is left over, as soon as the last connections are closed, and no memory."""
    deadline = time.monotonic() + PATIENCE
    while (more := instance.holdings() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not more
    assert instance.rss() < memory + GROWTH


_VALID = [
    data
    for table in (cases_lines, cases_fields, cases_framing, cases_conversation)
    for case in table.CASES
    if 0 < len(data := b"".join(piece for piece in case.pieces if isinstance(piece, bytes))) < 4_000
    and b"smuggled" not in data
]


def _garbage(chance: random.Random) -> bytes:
    """Make random bytes, or a request in which some are replaced, added, or left out."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(1, 3_000))
    data = bytearray(chance.choice(_VALID))
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(data) + 1)
        data[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(data * chance.randrange(1, 3))
