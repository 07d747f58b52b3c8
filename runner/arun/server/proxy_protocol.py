"""The PROXY protocol, versions 1 and 2: what a proxy sends before the first byte of a connection.

Source: "The PROXY protocol", versions 1 & 2, haproxy.org/download/2.9/doc/proxy-protocol.txt. A receiver never guesses:
where a header is expected, a connection without a whole and valid one is closed.
"""

from __future__ import annotations

import socket

from arun.core.addresses import of_unix
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    #: Waits until the socket has something to read.
    Readable = Callable[[socket.socket], Awaitable[None]]

__all__ = ("HeaderInvalid", "Proxied", "read_header")

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16
#: The longest line of version 1 with its end (section 2.1), and what version 2 may add; senders add less than 1 KiB.
_LONGEST_LINE = 107
_LONGEST_REST = 4096
_PROXY = 0x21
_LOCAL = 0x20
_STREAMS = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}
_UNIX_STREAM = 0x31
_UNIX_PATH = 108
#: The TLV of TLS and its bit for a client that speaks it (section 2.2.6).
_TLV_SSL = 0x20
_CLIENT_SSL = 0x01
_LARGEST_PORT = 65_535


class HeaderInvalid(Exception):  # noqa: N818 - what is wrong, not where
    """What comes first is no PROXY header, or not the whole of one."""


class Proxied(Value):
    """What a header says: both ends, None for each that the proxy does not know, and whether the client speaks TLS to it."""

    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    tls: bool = False
    #: The header is of a connection of the proxy's own, or of one that it cannot describe: the socket's ends count.
    is_local: bool = False


async def read_header(connection: socket.socket, readable: Readable) -> Proxied:
    """Take exactly one header from the socket, which does not block.

    Raises:
        HeaderInvalid: what came is no valid header.
        OSError: the connection broke.
    """
    first = await _take(connection, readable, 1)
    if first == b"P":
        return _line(first + await _rest_of_line(connection, readable))
    if first == _SIGNATURE[:1]:
        fixed = first + await _take(connection, readable, _FIXED - 1)
        length = int.from_bytes(fixed[14:16])
        if not fixed.startswith(_SIGNATURE) or length > _LONGEST_REST:
            raise HeaderInvalid("no signature of version 2, or too long")
        return _binary(fixed, await _take(connection, readable, length))
    raise HeaderInvalid("neither version 1 nor version 2")


async def _take(connection: socket.socket, readable: Readable, size: int) -> bytes:
    """Take so many bytes and not one more: what follows is TLS or HTTP."""
    taken = b""
    while len(taken) < size:
        try:
            piece = connection.recv(size - len(taken))
        except (BlockingIOError, InterruptedError):
            await readable(connection)
            continue
        if not piece:
            raise HeaderInvalid("the connection ends within it")
        taken += piece
    return taken


async def _rest_of_line(connection: socket.socket, readable: Readable) -> bytes:
    """Take what is left of a line; only what is known to belong to it is taken from the socket."""
    taken = b""
    while not taken.endswith(b"\r\n"):
        room = _LONGEST_LINE - 1 - len(taken)
        if room <= 0:
            raise HeaderInvalid("the line is too long")
        try:
            seen = connection.recv(room, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            await readable(connection)
            continue
        if not seen:
            raise HeaderInvalid("the connection ends within it")
        end = seen.find(b"\n")
        taken += await _take(connection, readable, len(seen) if end < 0 else end + 1)
        if end >= 0 and not taken.endswith(b"\r\n"):
            raise HeaderInvalid("the line ends without CR")
    return taken


def _line(line: bytes) -> Proxied:
    """Read ``PROXY TCP4 client server client-port server-port`` (section 2.1)."""
    try:
        words = line[:-2].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise HeaderInvalid("not in ASCII") from None
    if words[:2] == ["PROXY", "UNKNOWN"]:
        return Proxied(is_local=True)
    family = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}.get(words[1] if len(words) == 6 else "")  # noqa: PLR2004
    if family is None or words[0] != "PROXY":
        raise HeaderInvalid("not the words of version 1")
    client, server = (_address(family, word) for word in words[2:4])
    client_port, server_port = (_port(word) for word in words[4:])
    return Proxied((client, client_port), (server, server_port))


def _address(family: socket.AddressFamily, text: str) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text))
    except (OSError, ValueError):  # ValueError: a NUL
        raise HeaderInvalid("not an address of its family") from None


def _port(text: str) -> int:
    if not text.isdigit() or len(text) > 5 or int(text) > _LARGEST_PORT:  # noqa: PLR2004 - digits of 65535
        raise HeaderInvalid("not a port")
    return int(text)


def _binary(fixed: bytes, rest: bytes) -> Proxied:
    """Read version 2 (section 2.2): version and command, family, length, addresses, and TLVs behind them."""
    if fixed[12] == _LOCAL:
        return Proxied(is_local=True)
    if fixed[12] != _PROXY:
        raise HeaderInvalid("neither PROXY nor LOCAL of version 2")
    kind = fixed[13]
    if kind in _STREAMS:
        family, size = _STREAMS[kind]
        used = 2 * size + 4
        if len(rest) < used:
            raise HeaderInvalid("shorter than its addresses")
        hosts = socket.inet_ntop(family, rest[:size]), socket.inet_ntop(family, rest[size : 2 * size])
        ports = int.from_bytes(rest[used - 4 : used - 2]), int.from_bytes(rest[used - 2 : used])
        return Proxied((hosts[0], ports[0]), (hosts[1], ports[1]), tls=_speaks_tls(rest[used:]))
    if kind == _UNIX_STREAM:
        if len(rest) < 2 * _UNIX_PATH:
            raise HeaderInvalid("shorter than its addresses")
        name = rest[_UNIX_PATH : 2 * _UNIX_PATH].rstrip(b"\0")
        path = of_unix(name if name[:1] == b"\0" else name.partition(b"\0")[0]).path
        return Proxied(None, (path, None), tls=_speaks_tls(rest[2 * _UNIX_PATH :]))
    return Proxied(is_local=True)  # UNSPEC, or what is no stream: the rest is to be skipped


def _speaks_tls(tlvs: bytes) -> bool:
    """Whether one of the type-length-values says that the client speaks TLS."""
    while tlvs:
        size = int.from_bytes(tlvs[1:3])
        value, rest = tlvs[3 : 3 + size], tlvs[3 + size :]
        if len(tlvs) < 3 or len(value) < size:  # noqa: PLR2004 - type and length
            raise HeaderInvalid("a value is cut off")
        if tlvs[0] == _TLV_SSL:
            return bool(value) and bool(value[0] & _CLIENT_SSL)
        tlvs = rest
    return False
