"""The WSGI app of scaling.py: it says hello and counts."""

from __future__ import annotations

from counting import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def app(_: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer five bytes."""
    count()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
