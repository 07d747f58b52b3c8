"""The built-in app: it responds where no app was named, and in place of an app that could not be started.

It is plain ASGI. From the package arun it imports only the failure record, what holds now, and the rule by which a client may
see a failure. The page is read at the first request for it, so that making the app costs a start next to nothing. Where it
cannot be read (no descriptor is left, the dropped user may not open the file), the response is plain text, which needs no file.
"""

from __future__ import annotations

import math
import time

from arun.core.loopback import asked_from_this_machine
from arun.core.outlook import Outlook
from arun_welcome.negotiation import choose_format, choose_language
from arun_welcome.rendering import Shown, fill_own, render, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from arun.core.failures import FailureRecord
    from arun_welcome.texts import Voice

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]
    Headers = list[tuple[bytes, bytes]]

__all__ = ("RETRY_AFTER", "STYLE_HASH", "make_app")

#: Seconds after which a client may ask again where no time is known (RFC 9110, section 10.2.3).
RETRY_AFTER = 30
#: Bodies that are kept: forms, languages, statuses, times and who is told, for one list of failures.
_KEPT = 64

#: The style element of page.html as the policy names it; a test shows the new value when the style has changed.
STYLE_HASH = "sha256-+cLMse1DdrFQGBAoRcXgMW5ZBI5U7urxoAMjNxbWsuU="

_FIXED: Headers = [
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept, Accept-Language"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_POLICY = (
    b"default-src 'none'; style-src '" + STYLE_HASH.encode() + b"'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: What a page that stands in an app's place says of the instance, for monitoring that looks at responses.
_STATES: dict[Voice, bytes] = {"pause": b"fallback", "offline": b"offline"}
#: Seconds after which such a page reloads itself, at least and at most; and over how many more the visitors are spread.
_RELOAD_LEAST, _RELOAD_MOST, _SPREAD = 3, 30, 5
#: Where a page of the user's own wants the text that the built-in one would show.
_TEXT = "{{text}}"
_WITHOUT_BODY = frozenset({204, 205, 304})


def make_app(
    *, status: int | None = None, outlook: Callable[[], Outlook] = Outlook, debug: bool = False, own_page: str = ""
) -> App:
    """Make the ASGI 3 app that welcomes; ``outlook`` returns what holds at the time of a request.

    Without failures it is shown because nothing was configured: ``/`` responds with 200, any other path with 404, any method but
    GET and HEAD with 405. With failures it is shown because a start failed, with an offline text because an operator says so:
    every path and method responds with 503 and ``Retry-After``. A status that is given stands in for the 200 or the 503. A
    visitor sees nothing internal, and such a page reloads itself (by the header field Refresh, which needs no script). ``own_page``
    is HTML that browsers get in place of the built-in page, without its policy for contents: it may have one of its own. With
    ``debug``, a peer on this machine, with no proxy in between, sees the failures with their
    tracebacks.

    Raises:
        ValueError: the status is none that a page can have (200 to 599, with a body).
    """
    if status is not None and (status in _WITHOUT_BODY or not 200 <= status <= 599):  # noqa: PLR2004 - final statuses
        raise ValueError(
            f"{status} is not a status for a page: it takes a number from 200 to 599 other than 204, 205, 304"
        )
    kept: dict[Shown, bytes] = {}
    kept_for: tuple[FailureRecord, ...] = ()

    def body_of(shown: Shown, failures: tuple[FailureRecord, ...]) -> bytes:
        nonlocal kept_for
        if kept_for is not failures:
            kept.clear()
            kept_for = failures
        if shown not in kept:
            if len(kept) >= _KEPT:
                kept.clear()
            kept[shown] = fill_own(own_page, shown) if _is_own(shown, own_page) else render(shown, failures)
        return kept[shown]

    async def welcome(scope: Scope, receive: Receive, send: Send) -> None:
        answer = "http.response" if scope["type"] == "http" else "websocket.http.response"
        if scope["type"] != "http" and answer not in (scope.get("extensions") or ()):
            await _other_than_http(scope, receive, send)
            return
        now = outlook()
        seconds = None if now.next_try is None else now.next_try - time.time()
        voice, code = _voice(scope, status, now)
        peer = (scope.get("client") or ("",))[0]
        form = choose_format(_header(scope, b"accept"))
        shown = Shown(
            voice,
            choose_language(_header(scope, b"accept-language")),
            form,
            code,
            wait(seconds) if voice == "pause" else ("unknown", 0),
            now.offline,
            now.failures[0].id if now.failures else "",
            # A page that came in place of the response to a form is not to lose what was filled in.
            form == "text/html" and voice in _STATES and _method(scope) in {"GET", "HEAD"},
            debug and asked_from_this_machine(peer, scope["headers"]),
        )
        try:
            body = body_of(shown, now.failures)
        except (OSError, ImportError):
            shown = shown._replace(format="text/plain", reloads=False, told=False)
            body = render(shown)
        headers = _headers(shown, len(body), seconds, _spread(scope, peer), is_own=_is_own(shown, own_page))
        await send({"type": f"{answer}.start", "status": code, "headers": headers})
        await send({"type": f"{answer}.body", "body": b"" if _method(scope) == "HEAD" else body})

    return welcome


def _is_own(shown: Shown, own_page: str) -> bool:
    """Return whether the user's own page is shown: not to who is told the causes, nor without a place for an operator's text."""
    if not own_page or shown.format != "text/html" or shown.voice not in {"welcome", "pause", "offline"}:
        return False
    return not (shown.told and shown.voice == "pause") and (shown.voice != "offline" or _TEXT in own_page)


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


def _headers(shown: Shown, length: int, seconds: float | None, spread: int, *, is_own: bool) -> Headers:
    charset = "; charset=utf-8" if shown.format.startswith("text/") else ""
    headers = [
        (b"content-type", f"{shown.format}{charset}".encode()),
        (b"content-length", str(length).encode()),
        *_FIXED,
    ]
    if is_own:
        headers.append((b"content-security-policy", b"frame-ancestors 'none'"))
    else:
        headers += [(b"content-language", shown.language.encode()), (b"content-security-policy", _POLICY)]
    if shown.voice in _STATES:
        headers.append((b"x-arun-state", _STATES[shown.voice]))
    if shown.voice == "refused":
        headers.append((b"allow", b"GET, HEAD"))
    if shown.reloads:
        headers.append((b"refresh", str(_reload_after(seconds) + spread).encode()))
    if shown.status == 503:  # noqa: PLR2004 - Service Unavailable, the status that the header belongs to
        after = RETRY_AFTER if seconds is None else max(1, math.ceil(seconds))
        headers.append((b"retry-after", str(after).encode()))
    return headers


def _reload_after(seconds: float | None) -> int:
    """Return after how many seconds a page reloads itself: when the next try is over."""
    if seconds is None:
        return _RELOAD_MOST // 2
    return min(max(math.ceil(seconds) + 1, _RELOAD_LEAST), _RELOAD_MOST)


def _spread(scope: Scope, peer: str) -> int:
    """Return how many seconds later this client's page reloads itself: always as many, and not for all clients as many."""
    return (sum(peer.encode()) + sum(len(value) for _, value in scope["headers"])) % _SPREAD


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
