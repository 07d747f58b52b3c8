"""What a request is refused with: the reason as an exception of aiohttp's kinds, and the answer for it."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiohttp.http import RawRequestMessage

__all__ = ("BodyRefused", "RequestRefused", "answer", "status_of")


class RequestRefused(HttpProcessingError):  # noqa: N818 - what happens to it, not an error of ours
    """A client's request that no app sees: the status of the answer, and its head if that could be read."""

    def __init__(self, status: int, head: RawRequestMessage | None = None) -> None:
        super().__init__(code=status)
        self.head = head


class BodyRefused(RequestPayloadError):  # noqa: N818 - the kind is aiohttp's, and handlers may know that
    """A body of which no more is taken, told to the handler that reads it; ``status`` is that of the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the request's body is refused with status {status}")
        self.status = status


def status_of(exc: BaseException | None) -> int:
    """Return the status of a refusal; 0 for what is the app's own failure."""
    if isinstance(exc, RequestRefused):
        return exc.code
    if isinstance(exc, RequestPayloadError):  # aiohttp's own: a body that cannot be decoded
        return getattr(exc, "status", 400)
    return 0


def answer(status: int, *, last: bool = True) -> web.Response:
    """Return the answer of a refusal, with the reason phrase as its text; the last one ends the connection."""
    from arun.http.fields import status_line

    reason = status_line(status).decode().rstrip().partition(" ")[2].partition(" ")[2]
    response = web.Response(status=status, reason=reason, text=f"{reason}\n")
    if status == 503:  # noqa: PLR2004 - RFC 9110 section 10.2.3
        response.headers["Retry-After"] = "1"
    if last:
        response.force_close()
    return response
