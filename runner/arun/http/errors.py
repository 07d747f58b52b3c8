"""What goes wrong with a response: its client has gone, or the app breaks HTTP."""

from __future__ import annotations

__all__ = ("ClientDisconnected", "ResponseInvalid")


class ClientDisconnected(ConnectionError):  # noqa: N818 - the event's name; ASGI asks for a subclass of OSError
    """The client went away before its response was complete."""


class ResponseInvalid(RuntimeError):  # noqa: N818 - describes a response, to the app that made it
    """The app's response breaks HTTP, or the protocol between server and app."""
