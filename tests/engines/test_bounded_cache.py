"""What the engines remember of names and values that come again: bounded, and shared by all threads."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from arun.http.bounded_cache import BoundedCache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Serve = Any


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
async def test_answers_with_ever_new_names_and_values_are_all_good_under_threads(serve_threads: Serve) -> None:
    numbers = count()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        known = environ["HTTP_X_KNOWN"]
        start_response("200 OK", [(f"X-{next(numbers)}", known) for _ in range(40)] + [("Content-Length", "2")])
        return [b"ok"]

    served = await serve_threads(app)

    async def client(number: int) -> int:
        reader, writer = await served.connect()
        good = 0
        for turn in range(30):
            names = b"".join(b"X-%d-%d-%d: a\r\n" % (number, turn, field) for field in range(40))
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Known: b\r\n" + names + b"\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            good += head.startswith(b"HTTP/1.1 200 ") and head.lower().count(b": b\r\n") == 40
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(length)
        writer.close()
        return good

    assert await asyncio.gather(*(client(number) for number in range(16))) == [30] * 16
    assert served.errors == []


def test_cachery_is_bounded_and_a_value_is_returned_whatever_was_forgotten() -> None:
    cache: BoundedCache[str, int] = BoundedCache(len, entries=10, longest=4)
    for number in range(1000):
        assert cache[str(number)] == len(str(number))
        assert len(cache) <= 10
    cache.clear()
    assert cache["12345"] == 5  # too long to be kept
    assert not cache


def test_what_cannot_be_worked_out_is_not_remembered() -> None:
    cache: BoundedCache[str, int] = BoundedCache(int)
    for _ in range(2):
        with pytest.raises(ValueError, match="none"):
            cache["none"]
    assert not cache
