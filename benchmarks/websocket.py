"""The frames of a websocket client that sends text and gets it back (RFC 6455 section 5.2), and the fields of its handshake."""

from __future__ import annotations

__all__ = ("UPGRADE", "echoed", "sent")

UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_MASK = b"\x12\x34\x56\x78"


def sent(size: int) -> bytes:
    """Return a masked text message of so many bytes, as one frame."""
    head = bytearray(_head(size))
    head[1] |= 0x80
    return bytes(head) + _MASK + bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(b"m" * size))


def echoed(size: int) -> bytes:
    """Return the frame that comes back."""
    return _head(size) + b"m" * size


def _head(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")
