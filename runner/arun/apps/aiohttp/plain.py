"""Which apps have plain responses: those between whose handlers and clients nobody looks at a response."""

from __future__ import annotations

from types import FunctionType

from aiohttp import web, web_request, web_response

__all__ = ("may_be_plain",)

#: What aiohttp calls on the way from a response to its bytes.
_CALLED = (
    (web_response, "Response", ("prepare", "_start", "_prepare_headers", "_write_headers", "write_eof")),
    (web_response, "StreamResponse", ("_start", "write_eof")),
    (web_request, "Request", ("_prepare_hook",)),
)


def may_be_plain(app: web.Application) -> bool:
    """Return whether a ``web.Response`` of an app that has started may go out without aiohttp's ``prepare`` and ``write_eof``.

    Handlers of on_response_prepare look at each, and so do tools that have put functions of their own into aiohttp's classes.
    """
    for module, name, methods in _CALLED:
        for method in methods:
            function = getattr(getattr(module, name), method)
            if type(function) is not FunctionType or function.__globals__ is not vars(module):
                return False
    return _has_no_hooks(app)


def _has_no_hooks(app: web.Application) -> bool:
    return not app.on_response_prepare and all(map(_has_no_hooks, app._subapps))  # noqa: SLF001 - see names
