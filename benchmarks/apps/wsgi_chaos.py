"""The WSGI app of chaos.py."""

from __future__ import annotations

import time

from deployment import PAUSE, answer, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer at once, or in pieces."""
    body = answer(len(environ["wsgi.input"].read()), environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return slowly(body) if environ["PATH_INFO"] == "/slow" else [body]


def slowly(body: bytes) -> Iterator[bytes]:
    """Take some time before each piece."""
    for piece in pieces(body):
        time.sleep(PAUSE)
        yield piece
