"""Parsers of what strangers send, under any bytes and any split: what comes out is a value or the one named failure."""

from __future__ import annotations

import asyncio
import socket
import string
from ipaddress import ip_address
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.engines.test_proxy_protocol import HEADERS, IPV4, LOCAL, tlv, version2
from tests.engines.test_websocket_wire import BINARY, CLOSE, PING, TEXT, masked

from arun.http.forwarded import TrustedPeers, scheme
from arun.http.websocket.frames import FrameInvalid, FrameReader
from arun.server.proxy_protocol import HeaderInvalid, Proxied, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLLOWS = b"\x16\r\n\0PROXY"

# ---- the PROXY protocol


class Pieces:
    """A socket of which the pieces come one by one, each when a reader waits for more."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.pieces = [piece for piece in pieces if piece]

    async def readable(self, _connection: socket.socket) -> None:
        if self.pieces:
            self.theirs.sendall(self.pieces.pop(0))
        else:
            self.theirs.shutdown(socket.SHUT_WR)

    def read(self) -> tuple[Proxied | None, bytes]:
        """Read a header, None where there is no valid one; and return what was left behind it."""
        with self.ours, self.theirs:
            try:
                proxied = asyncio.run(read_header(self.ours, self.readable))
            except HeaderInvalid:
                return None, b""
            self.theirs.sendall(b"".join(self.pieces) + b"!")
            return proxied, self.ours.recv(65_536)[:-1]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(ends)]


def words() -> st.SearchStrategy[bytes]:
    """Lines that look like version 1."""
    address = st.sampled_from(["1.2.3.4", "::1", "01.2.3.4", "fe80::1%eth0", "::ffff:1.2.3.4", "", "\0", "é", "1"])
    port = st.sampled_from(["0", "65535", "65536", "-1", "080", "1_0", "²", "", "9" * 30])
    family = st.sampled_from(["TCP4", "TCP6", "UNKNOWN", "tcp4", ""])
    line = st.tuples(st.just("PROXY"), family, address, address, port, port).map(" ".join)
    return st.tuples(line, st.sampled_from(["\r\n", "\n", "\r", " \r\n", ""])).map(lambda it: "".join(it).encode())


def binaries() -> st.SearchStrategy[bytes]:
    """Headers of version 2 with any command, family and rest."""
    rest = st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(lambda more: IPV4 + more + tlv(0x20, more)))
    return st.builds(version2, st.integers(0, 15), st.integers(0, 255), rest)


@settings(max_examples=60, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), words(), binaries()), places=st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_are_a_proxy_header_or_none_and_a_split_changes_nothing(data: bytes, places: list[int]) -> None:
    whole = Pieces([data + FOLLOWS]).read()
    assert Pieces(cut(data + FOLLOWS, places)).read() == whole
    proxied, left = whole
    if proxied is not None:
        assert (data + FOLLOWS).endswith(left)
        if proxied.client is not None:
            ip_address(proxied.client[0])
            assert 0 <= proxied.client[1] <= 65_535


def test_a_proxy_header_byte_by_byte_is_the_same_and_nothing_behind_it_is_taken() -> None:
    for header in (*(header for header, _ in HEADERS.values()), *LOCAL.values()):
        data = header + FOLLOWS
        whole = Pieces([data]).read()
        assert whole[1] == FOLLOWS
        assert Pieces([data[place : place + 1] for place in range(len(data))]).read() == whole


# ---- Forwarded and X-Forwarded

PEERS = (TrustedPeers("*"), TrustedPeers(("10.0.0.0/8", "::1", "fe80::/10")))
FIELD = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=string.printable + "é\0\x80", max_size=60),
    st.lists(
        st.sampled_from(
            [
                "for=",
                "proto=",
                "FOR",
                "=",
                '"',
                "\\",
                ",",
                ";",
                " ",
                "\t",
                "10.0.0.1",
                "[::1]",
                ":80",
                "https",
                "_x",
                "1.1.1.1",
            ]
        ),
        max_size=20,
    ).map("".join),
)


@settings(max_examples=150, deadline=None)
@given(value=FIELD, peers=st.sampled_from(PEERS))
@example(value='for="' * 1000, peers=PEERS[0])
@example(value="," * 60_000, peers=PEERS[0])
@example(value='for="' + "\\" * 60_000, peers=PEERS[0])
def test_any_text_gives_an_address_and_a_scheme_or_nothing(value: str, peers: TrustedPeers) -> None:
    client, said = peers.forwarded(value)
    assert said in {"http", "https", None}
    assert scheme(value) in {"http", "https", None}
    for one in (client, peers.client(value)):
        if one is not None:
            ip_address(one)
    peers.trusts(value)


# ---- frames of a websocket

PAYLOADS = st.one_of(st.binary(max_size=300), st.just(b"x" * 66_000))
KEYS = st.binary(min_size=4, max_size=4)


def message(opcode: int, parts: list[bytes], key: bytes, pings: list[bytes]) -> bytes:
    """A message in fragments, with pings between them."""
    raw = b""
    for place, part in enumerate(parts):
        raw += masked(0 if place else opcode, part, fin=place == len(parts) - 1, key=key)
        raw += b"".join(masked(PING, ping, key=key) for ping in pings[place : place + 1])
    return raw


MESSAGES = st.builds(
    message,
    st.sampled_from([TEXT, BINARY]),
    st.lists(st.one_of(PAYLOADS, st.just("grüße".encode())), min_size=1, max_size=4),
    KEYS,
    st.lists(st.binary(max_size=125), max_size=3),
)


def read_all(pieces: Sequence[bytes], most: int = 200_000) -> list[Any]:
    """What comes out of the pieces; an invalid frame is the last of it, by its code."""
    reader = FrameReader(most, None)
    found: list[Any] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (one := reader.read()) is not None:
                found.append(one)
    except FrameInvalid as invalid:
        found.append(invalid.code)
    return found


def splits() -> st.SearchStrategy[Callable[[bytes], list[bytes]]]:
    def by_places(places: list[int]) -> Callable[[bytes], list[bytes]]:
        return lambda data: cut(data, places)

    def by_size(size: int) -> Callable[[bytes], list[bytes]]:
        return lambda data: [data[start : start + size] for start in range(0, len(data), size)]

    return st.one_of(
        st.lists(st.integers(0, 2**20), max_size=12).map(by_places), st.sampled_from((1, 3, 1000)).map(by_size)
    )


@settings(max_examples=60, deadline=None)
@given(
    raw=st.one_of(st.lists(MESSAGES, max_size=4).map(b"".join), st.binary(max_size=80)),
    tail=st.one_of(st.just(b""), st.just(masked(CLOSE, b"\x03\xe8")), st.binary(max_size=30)),
    split=splits(),
)
def test_frames_are_the_same_messages_however_they_are_split(
    raw: bytes, tail: bytes, split: Callable[[bytes], list[bytes]]
) -> None:
    data = raw + tail
    assert read_all(split(data)) == read_all([data])
