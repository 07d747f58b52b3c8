"""The WSGI app under load."""

from __future__ import annotations

from answers import ANSWERS, CHUNK, CHUNKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

HEADERS = {
    path: [("Content-Type", media), ("Content-Length", str(len(body)))] for path, (media, body) in ANSWERS.items()
}


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer by path."""
    path = environ["PATH_INFO"]
    if path in HEADERS:
        # A copy: a server may write into what it is given.
        start_response("200 OK", HEADERS[path].copy())
        return [ANSWERS[path][1]]
    if path == "/echo":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (CHUNK for _ in range(CHUNKS))
