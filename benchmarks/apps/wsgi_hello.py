"""The smallest WSGI app that answers: what is measured is the server."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def app(_: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer five bytes."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
