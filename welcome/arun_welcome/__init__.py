"""The built-in app: it responds where no app was named, and in place of an app that could not be started.

Plain ASGI, and of the runner it knows the failure record, what holds now, and the rule of who is told. The page is read when it is first asked for, so that
making the app costs a start next to nothing; and if it cannot be read (no descriptor left, files that the dropped
user may not open), the plain text answers, which needs no file.
"""

from __future__ import annotations

import math
import time

from arun.core.loopback import asked_from_this_machine
from arun.core.outlook import Outlook
from arun_welcome.negotiation import choose_format, choose_language
from arun_welcome.rendering import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from arun_welcome.negotiation import Format, Language
    from arun_welcome.texts import Voice

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]
    Headers = list[tuple[bytes, bytes]]

__all__ = ("RETRY_AFTER", "STYLE_HASH", "make_app")

#: Seconds after which a client may ask again where no time is known (RFC 9110, section 10.2.3).
RETRY_AFTER = 30
#: Bodies that are kept: forms, languages, statuses and who is told, of one outlook.
_KEPT = 64

#: The style element of page.html as the policy names it; a test shows the new value when the style has changed.
STYLE_HASH = "sha256-+cLMse1DdrFQGBAoRcXgMW5ZBI5U7urxoAMjNxbWsuU="

_FIXED: Headers = [
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept, Accept-Language"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src '" + STYLE_HASH.encode() + b"'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
]
_WITHOUT_BODY = frozenset({204, 205, 304})


def make_app(*, status: int | None = None, outlook: Callable[[], Outlook] = Outlook, debug: bool = False) -> App:
    """Make the ASGI 3 app that welcomes; ``outlook`` returns what holds at the time of a request.

    Without failures it is shown because nothing was configured: ``/`` responds with 200, any other path with 404, any method but
    GET and HEAD with 405. With failures it is shown because a start failed, with an offline text because an operator says so:
    every path and method responds with 503 and ``Retry-After``. A status that is given stands in for the 200 or the 503. A
    visitor sees nothing internal; with ``debug``, a peer on this machine, with no proxy in between, sees the failures with their
    tracebacks.

    Raises:
        ValueError: the status is none that a page can have (200 to 599, with a body).
    """
    if status is not None and (status in _WITHOUT_BODY or not 200 <= status <= 599):  # noqa: PLR2004 - final statuses
        raise ValueError(
            f"{status} is not a status for a page: it takes a number from 200 to 599 other than 204, 205, 304"
        )
    kept: dict[object, bytes] = {}
    kept_for: Outlook | None = None

    def body_of(  # noqa: PLR0913 - what a body depends on
        now: Outlook, voice: Voice, language: Language, format_: Format, code: int, *, shows_failures: bool
    ) -> bytes:
        nonlocal kept_for
        if kept_for is None or kept_for.failures is not now.failures or kept_for.offline != now.offline:
            kept.clear()
            kept_for = now
        key = voice, language, format_, code, shows_failures
        if key not in kept:
            shown = now if shows_failures else now._replace(failures=())
            made = render(voice, language, format_, status=code, outlook=shown)
            if len(kept) >= _KEPT:
                return made
            kept[key] = made
        return kept[key]

    async def welcome(scope: Scope, receive: Receive, send: Send) -> None:
        answer = "http.response" if scope["type"] == "http" else "websocket.http.response"
        if scope["type"] != "http" and answer not in (scope.get("extensions") or ()):
            await _other_than_http(scope, receive, send)
            return
        now = outlook()
        voice, code = _voice(scope, status, now)
        language = choose_language(_header(scope, b"accept-language"))
        format_ = choose_format(_header(scope, b"accept"))
        peer = (scope.get("client") or ("",))[0]
        told = debug and asked_from_this_machine(peer, scope["headers"])
        try:
            body = body_of(now, voice, language, format_, code, shows_failures=told)
        except (OSError, ImportError):
            plain = now._replace(failures=())
            format_, body = "text/plain", render(voice, language, "text/plain", status=code, outlook=plain)
        headers = _headers(voice, code, format_, language, len(body), now.next_try)
        await send({"type": f"{answer}.start", "status": code, "headers": headers})
        await send({"type": f"{answer}.body", "body": b"" if _method(scope) == "HEAD" else body})

    return welcome


def _voice(scope: Scope, status: int | None, now: Outlook) -> tuple[Voice, int]:
    if now.offline is not None:
        return "offline", status or 503
    if now.failures:
        return "pause", status or 503
    if scope["path"].removeprefix(scope.get("root_path", "")) not in {"", "/"}:
        return "absent", 404
    return ("welcome", status or 200) if _method(scope) in {"GET", "HEAD"} else ("refused", 405)


def _method(scope: Scope) -> str:
    method: str = scope.get("method", "GET")  # which every handshake of a websocket is
    return method


def _headers(  # noqa: PLR0913, PLR0917 - each is a field
    voice: Voice, code: int, format_: Format, language: Language, length: int, next_try: float | None
) -> Headers:
    charset = "; charset=utf-8" if format_.startswith("text/") else ""
    headers = [
        (b"content-type", f"{format_}{charset}".encode()),
        (b"content-length", str(length).encode()),
        (b"content-language", language.encode()),
        *_FIXED,
    ]
    if voice == "refused":
        headers.append((b"allow", b"GET, HEAD"))
    if code == 503:  # noqa: PLR2004 - Service Unavailable, the status that the header belongs to
        seconds = RETRY_AFTER if next_try is None else max(1, math.ceil(next_try - time.time()))
        headers.append((b"retry-after", str(seconds).encode()))
    return headers


async def _other_than_http(scope: Scope, receive: Receive, send: Send) -> None:
    """Go along with the lifespan; close a websocket before its handshake, where the server has no better response."""
    while (event := (await receive())["type"]).startswith("lifespan."):
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})


def _header(scope: Scope, name: bytes) -> str:
    # Repeated list headers are one list (RFC 9110, section 5.3).
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
