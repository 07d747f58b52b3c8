"""What kind of app an object is: found by looking at it, never by calling it."""

from __future__ import annotations

import inspect
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ("AIOHTTP", "AMBIGUOUS", "ASGI", "FACTORY", "WSGI", "is_certain", "kind_of")

AIOHTTP = "aiohttp"
ASGI = "asgi"
WSGI = "wsgi"
#: Called without arguments it makes an app.
FACTORY = "factory"
#: It could be called as ASGI and as WSGI.
AMBIGUOUS = "ambiguous"

_ASGI_ARGUMENTS = 3  # scope, receive, send
_WSGI_ARGUMENTS = 2  # environ, start_response


def kind_of(candidate: Any) -> str | None:
    """Return the kind of the object, or None when it is no app.

    An aiohttp app is known by its type. A coroutine function of three arguments is ASGI 3, a function of two is WSGI
    (PEP 3333); classes and instances are looked at through what calling them would call.
    """
    web = sys.modules.get("aiohttp.web_app")
    if web is not None and isinstance(candidate, web.Application):
        return AIOHTTP
    if not callable(candidate):
        return None
    least, most = _arguments(candidate)
    if least == most == -1:
        return AMBIGUOUS
    if _is_async(candidate):
        if least <= _ASGI_ARGUMENTS <= most:
            return FACTORY if least == 0 and most > _ASGI_ARGUMENTS else ASGI
        return FACTORY if least == 0 else None
    if least == 0 and most <= _ASGI_ARGUMENTS:
        return FACTORY
    takes_asgi, takes_wsgi = least <= _ASGI_ARGUMENTS <= most, least <= _WSGI_ARGUMENTS <= most
    if takes_asgi and takes_wsgi:
        return WSGI if least == _WSGI_ARGUMENTS else AMBIGUOUS
    if takes_wsgi:
        return WSGI
    return ASGI if takes_asgi else None


def is_certain(candidate: Any) -> bool:
    """Return whether an object is an app and nothing else: an instance, for functions of such arguments may be anything."""
    if inspect.isroutine(candidate) or inspect.isclass(candidate):
        return False
    try:
        return kind_of(candidate) in {AIOHTTP, ASGI, WSGI}
    except Exception:  # noqa: BLE001 - a proxy of the app's, which stands for nothing yet
        return False


def _is_async(candidate: Any) -> bool:
    if inspect.iscoroutinefunction(candidate):
        return True
    return not inspect.isclass(candidate) and inspect.iscoroutinefunction(getattr(candidate, "__call__", None))  # noqa: B004 - what the call would run is asked, not whether there is one


def _arguments(candidate: Any) -> tuple[int, int]:
    """The least and the most positional arguments; (-1, -1) when the object does not tell."""
    try:
        parameters = inspect.signature(candidate).parameters.values()
    except (TypeError, ValueError):
        return -1, -1
    least = most = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            most += 1_000
        elif parameter.kind is parameter.KEYWORD_ONLY:
            least += 1_000 * (parameter.default is parameter.empty)  # cannot be called by position at all
        elif parameter.kind is not parameter.VAR_KEYWORD:
            most += 1
            least += parameter.default is parameter.empty
    return least, most
