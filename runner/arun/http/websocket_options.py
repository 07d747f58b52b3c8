"""What a websocket may ask of an instance, and how it is kept alive; the defaults are those of the options."""

from __future__ import annotations

from arun.core.values import Value

__all__ = ("Websockets",)


class Websockets(Value):
    """Bounds for one websocket; seconds of 0 stand for no pings, and for no end of the patience with their answer."""

    #: Bytes of one message, decompressed; a longer one closes the websocket with 1009.
    max_size: int = 16_777_216
    #: Messages that wait for the app; then the client has to wait, as it has when ``max_size`` bytes do.
    max_queue: int = 32
    #: Seconds between two pings, and seconds in which something must come from the client after one, or it is 1011.
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    #: Whether messages are compressed when the client offers it (RFC 7692).
    per_message_deflate: bool = True
