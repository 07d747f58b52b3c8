"""The opening handshake of WebSocket (RFC 6455 section 4.2): a request is checked, its response rendered."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha1

from arun.core.values import Value
from arun.http.errors import ResponseInvalid
from arun.http.fields import missing_fields, read_fields
from arun.http.websocket.deflate import negotiated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from arun.http.request import Request
    from arun.http.websocket.deflate import Deflate

__all__ = ("Handshake", "HandshakeInvalid", "accepting_head", "read_handshake")

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_SIZE = 16
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
#: Fields of the response that are the server's alone.
_OWN = frozenset((b"upgrade", b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-version"))


class HandshakeInvalid(Exception):  # noqa: N818 - describes what a client sends
    """The request is no handshake; it is refused with ``status``."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Handshake(Value):
    """What a client asks for: its key, its subprotocols in the order of its preference, and what was negotiated."""

    key: bytes
    subprotocols: tuple[str, ...]
    extensions: str
    deflate: Deflate | None


def read_handshake(request: Request, *, per_message_deflate: bool) -> Handshake:
    """Read the request of an upgrade to websocket.

    Raises:
        HandshakeInvalid: 426 for another version than 13, 400 for anything else.
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        if name.startswith(b"sec-websocket-"):
            found.setdefault(name, []).append(value)
    if request.framing:
        raise HandshakeInvalid(400, "a handshake has no body")
    if found.get(b"sec-websocket-version") != [b"13"]:
        if b"sec-websocket-version" not in found:
            raise HandshakeInvalid(400, "Sec-WebSocket-Version is missing")
        raise HandshakeInvalid(426, "the version of WebSocket is 13")
    keys = found.get(b"sec-websocket-key", [])
    try:
        valid = len(keys) == 1 and len(b64decode(keys[0], validate=True)) == _KEY_SIZE
    except ValueError:
        valid = False
    if not valid:
        raise HandshakeInvalid(400, "Sec-WebSocket-Key is not the base64 of 16 bytes")
    extensions, deflate = "", None
    offers = found.get(b"sec-websocket-extensions")
    if offers:
        extensions, deflate = _negotiated(offers, per_message_deflate=per_message_deflate)
    return Handshake(keys[0], _subprotocols(found.get(b"sec-websocket-protocol", ())), extensions, deflate)


def accepting_head(
    handshake: Handshake, subprotocol: object, headers: Iterable[tuple[bytes, bytes]], own: bytes
) -> bytes:
    """Return the head that makes the connection a websocket; ``own`` are the header lines Server and Date.

    Raises:
        ResponseInvalid: the fields would break the head, or the subprotocol was not offered (section 4.2.2).
    """
    headers = [(bytes(name), bytes(value)) for name, value in headers]
    if any(name.lower() == b"sec-websocket-protocol" for name, _ in headers):
        raise ResponseInvalid("the subprotocol is not a header: websocket.accept takes it as subprotocol")
    block, _, flags = read_fields(field for field in headers if field[0].lower() not in _OWN)
    chosen = b""
    if subprotocol is not None:
        if subprotocol not in handshake.subprotocols:
            raise ResponseInvalid(f"the client did not offer the subprotocol {subprotocol!r}")
        chosen = b"sec-websocket-protocol: %b\r\n" % str(subprotocol).encode()
    extensions = handshake.extensions and b"sec-websocket-extensions: %b\r\n" % handshake.extensions.encode()
    from base64 import b64encode

    accept = b64encode(sha1(handshake.key + _GUID, usedforsecurity=False).digest())
    head = (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: %b\r\n"
    )
    return head % accept + chosen + (extensions or b"") + block + missing_fields(own, flags)


def _negotiated(values: list[bytes], *, per_message_deflate: bool) -> tuple[str, Deflate | None]:
    """Read the offers of extensions, and accept one at most."""
    from websockets.exceptions import InvalidHeader
    from websockets.headers import parse_extension

    try:
        offers = [offer for value in values for offer in parse_extension(value.decode("latin-1"))]
    except InvalidHeader:
        raise HandshakeInvalid(400, "Sec-WebSocket-Extensions cannot be read") from None
    return (per_message_deflate and negotiated(offers)) or ("", None)


def _subprotocols(values: Iterable[bytes]) -> tuple[str, ...]:
    """Return the names that are tokens; others cannot be agreed on; the app finds them among the headers."""
    names = (name.strip(" \t") for value in values for name in value.decode("latin-1").split(","))
    return tuple(name for name in names if name and _TOKEN.issuperset(name))
