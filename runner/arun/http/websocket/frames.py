"""Frames of WebSocket (RFC 6455 section 5): bytes become messages, messages become bytes. Nothing is sent here.

Most messages are one small frame, so this is the hot path of every websocket. The unmasking is done in C.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled part for this platform
    from websockets.utils import apply_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from arun.http.websocket.deflate import Deflate

__all__ = (
    "ABNORMAL",
    "BINARY",
    "CLOSE",
    "INTERNAL",
    "INVALID_DATA",
    "NORMAL",
    "NO_STATUS",
    "PING",
    "PONG",
    "PROTOCOL",
    "RESTART",
    "TEXT",
    "TOO_BIG",
    "FrameInvalid",
    "FrameReader",
    "close_payload",
    "frame",
    "read_close",
)

_CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

#: Close codes (RFC 6455 section 7.4.1).
NORMAL: Final = 1000
PROTOCOL: Final = 1002
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009
INTERNAL: Final = 1011
RESTART: Final = 1012

_FIN: Final = 0x80
_COMPRESSED: Final = 0x40
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127
_CONTROL_SIZE: Final = 125
_TWO_BYTES_MOST: Final = 65_535
_MASK_SIZE: Final = 4
#: The buffer of a frame with more bytes is not kept for what has come behind it.
_LARGE: Final = 1_048_576
#: The longest head of a frame, without its mask.
_HEAD_SIZE: Final = 10
#: Heads of a message in one frame, by far the most common ones.
_WHOLE: Final = frozenset((_FIN | TEXT, _FIN | BINARY))
_OPCODES: Final = frozenset((_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
#: Close codes that may be sent (section 7.4, and IANA's registry).
_CLOSE_CODES: Final = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))


class FrameInvalid(Exception):  # noqa: N818 - describes what a client sends
    """The client breaks the protocol or a limit; the connection is closed with ``code`` (section 7.1.7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class FrameReader:
    """What a client has sent: whole messages and control frames come out one by one, when they are asked for.

    ``max_size`` bounds a message in bytes, after its decompression.
    """

    __slots__ = ("_at", "_compressed", "_data", "_deflate", "_max_size", "_message_opcode", "_parts")

    def __init__(self, max_size: int, deflate: Deflate | None) -> None:
        self._max_size = max_size
        self._deflate = deflate
        self._data: bytes | bytearray = b""
        self._at = 0
        #: The opcode of a message whose first frames have come, 0 without one.
        self._message_opcode = 0
        self._compressed = False
        self._parts = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        if self._at == len(self._data):
            self._data, self._at = data, 0
            return
        if isinstance(self._data, bytearray):
            del self._data[: self._at]
        else:
            self._data = bytearray(self._data[self._at :])
        self._at = 0
        self._data += data

    def drop(self) -> None:
        """Drop what is not read yet, a message that is incomplete among it."""
        self._data, self._at, self._parts = b"", 0, bytearray()

    def read(self) -> tuple[int, str | bytes] | None:
        """Return the opcode and payload of the next message or control frame; None: more has to come first.

        Raises:
            FrameInvalid: the connection has to be closed.
        """
        while True:
            data, at = self._data, self._at
            if len(data) < at + 2:
                return None
            head = bytes(data[at : at + _HEAD_SIZE])
            first, length, start = head[0], head[1] - _MASKED, at + 2
            whole = first in _WHOLE and not self._message_opcode
            if length < 0 or not whole:
                self._judge(first, length)
            if length > _CONTROL_SIZE:
                start += 2 if length == _TWO_BYTES else 8
                if len(data) < start:
                    return None
                length = int.from_bytes(head[2 : start - at], "big")
            if length > self._max_size - len(self._parts) and not first & CLOSE:
                raise FrameInvalid(TOO_BIG, "the message is too big")
            end = start + _MASK_SIZE + length
            if len(data) < end:
                return None
            payload = apply_mask(data[start + _MASK_SIZE : end], data[start : start + _MASK_SIZE])
            self._pass(end)
            if whole:
                return first & _OPCODE, _decoded(payload) if first & TEXT else payload
            message = self._gather(first, payload)
            if message is not None:
                return message

    def _pass(self, end: int) -> None:
        """Go on behind a frame; a large one is not kept until more comes."""
        if end - self._at > _LARGE:
            self._data, self._at = bytes(memoryview(self._data)[end:]), 0
        else:
            self._at = end

    def _judge(self, first: int, length: int) -> None:
        """Hold the head of a frame to the rules (section 5.1 to 5.5)."""
        opcode = first & _OPCODE
        if length < 0:
            raise FrameInvalid(PROTOCOL, "a frame is not masked")
        if opcode not in _OPCODES:
            raise FrameInvalid(PROTOCOL, "a frame has an unknown opcode")
        allowed = _COMPRESSED if self._deflate is not None and opcode in {TEXT, BINARY} else 0
        if first & _RESERVED & ~allowed:
            raise FrameInvalid(PROTOCOL, "a frame has a reserved bit set")
        if opcode & CLOSE:
            if not first & _FIN or length > _CONTROL_SIZE:
                raise FrameInvalid(PROTOCOL, "a control frame is fragmented or too long")
        elif (opcode == _CONTINUATION) != bool(self._message_opcode):
            raise FrameInvalid(
                PROTOCOL, "a frame continues nothing" if self._message_opcode == 0 else "a message is incomplete"
            )

    def _gather(self, first: int, payload: bytes) -> tuple[int, str | bytes] | None:
        """Return a control frame, or a message with its last frame."""
        if first & CLOSE:
            return first & _OPCODE, payload
        if not self._message_opcode:
            self._message_opcode, self._compressed = first & _OPCODE, bool(first & _COMPRESSED)
        parts = self._parts
        if self._compressed and self._deflate is not None:
            left = self._max_size - len(parts)
            try:
                payload = self._deflate.inflate(payload, left + 1, last=bool(first & _FIN))
            except ValueError:
                raise FrameInvalid(PROTOCOL, "a message cannot be decompressed") from None
            if len(payload) > left:
                raise FrameInvalid(TOO_BIG, "the message is too big")
        parts += payload
        if not first & _FIN:
            return None
        opcode, whole = self._message_opcode, bytes(parts)
        self._message_opcode, self._parts = 0, bytearray()
        return opcode, _decoded(whole) if opcode == TEXT else whole


def frame(opcode: int, payload: bytes, deflate: Deflate | None = None) -> bytes:
    """Return a message or control frame as a server sends it: whole, and unmasked."""
    first = _FIN | opcode
    if deflate is not None and deflate.pays(payload):
        first |= _COMPRESSED
        payload = deflate.deflate(payload)
    length = len(payload)
    if length <= _CONTROL_SIZE:
        return bytes((first, length)) + payload
    if length <= _TWO_BYTES_MOST:
        return bytes((first, _TWO_BYTES)) + length.to_bytes(2, "big") + payload
    return bytes((first, _EIGHT_BYTES)) + length.to_bytes(8, "big") + payload


def close_payload(code: int, reason: str) -> bytes:
    """Return the payload of a close frame; a reason that is too long is cut between two characters.

    Raises:
        ValueError: the code is none that may be sent (section 7.4).
    """
    if code not in _CLOSE_CODES:
        raise ValueError(f"{code!r} is not a close code that may be sent")
    text = reason.encode("utf-8", "replace")[: _CONTROL_SIZE - 2]
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode()


def read_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame; 1005 and nothing if it is empty.

    Raises:
        FrameInvalid: the code may not be sent, or the reason is no text.
    """
    if not payload:
        return NO_STATUS, ""
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES:
        raise FrameInvalid(PROTOCOL, "the close code is invalid")
    return code, _decoded(payload[2:])


def _decoded(payload: bytes) -> str:
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError:
        raise FrameInvalid(INVALID_DATA, "a text is not UTF-8") from None
