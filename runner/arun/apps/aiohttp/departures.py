"""Exceptions raised in an aiohttp handler whose client has gone, of the kinds that aiohttp's own server raises."""

from __future__ import annotations

from aiohttp.client_exceptions import ClientConnectionResetError
from aiohttp.web_protocol import RequestPayloadError

from arun.http.errors import ClientDisconnected

__all__ = ("BodyRefused", "ConnectionLost")


class ConnectionLost(ClientDisconnected, ClientConnectionResetError):  # noqa: N818 - the event's name
    """The client has gone: nothing can be read from it or written to it any more."""


class BodyRefused(ClientDisconnected, RequestPayloadError):  # noqa: N818 - the event's name
    """The rest of the request body is refused; the client has its response already."""
