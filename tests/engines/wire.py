"""What a client makes of the bytes that come back: responses of a conversation, and how it leaves."""

from __future__ import annotations

import re
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Response(NamedTuple):
    """A response; names of fields in lower case."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes


def responses(raw: bytes) -> list[Response]:
    """Read whole responses to the end of a conversation, none of them to a HEAD request (RFC 9112 section 6.3)."""
    found = []
    while raw:
        head, end, raw = raw.partition(b"\r\n\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n]+((?:\r\n[!-9;-~]+: [^\r\n]*)*)", head)
        assert match, head
        assert end
        lines = [line.partition(b": ") for line in match[2].split(b"\r\n")[1:]]
        fields = {name.lower(): value for name, _, value in lines}
        assert len(fields) == len(lines), head
        body, raw = _body(int(match[1]), fields, raw)
        found.append(Response(int(match[1]), fields, body))
    return found


def _body(status: int, fields: dict[bytes, bytes], raw: bytes) -> tuple[bytes, bytes]:
    """Split off the body."""
    if status < 200 or status in {204, 304}:
        return b"", raw
    if b"transfer-encoding" in fields:
        assert b"content-length" not in fields
        return _unchunked(raw)
    if b"content-length" not in fields:
        assert fields[b"connection"] == b"close"
        return raw, b""
    length = int(fields[b"content-length"])
    assert len(raw) >= length
    return raw[:length], raw[length:]


def _unchunked(raw: bytes) -> tuple[bytes, bytes]:
    body: list[bytes] = []
    place = 0
    while True:
        end = raw.index(b"\r\n", place)
        begin, size = end + 2, int(raw[place:end], 16)
        place = begin + size + 2
        assert raw[place - 2 : place] == b"\r\n"
        if not size:
            return b"".join(body), raw[place:]
        body.append(raw[begin : begin + size])


def statuses(raw: bytes) -> list[int]:
    """Status of each response."""
    return [response.status for response in responses(raw)]


def bodies(raw: bytes) -> list[bytes]:
    """Body of each response, all of them successful."""
    assert set(statuses(raw)) <= {200}, raw[:500]
    return [response.body for response in responses(raw)]


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
