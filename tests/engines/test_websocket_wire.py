"""What a websocket makes of the bytes a client sends, right and wrong ones (RFC 6455, RFC 7692)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import zlib
from typing import Any

import pytest

Serve = Any
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = b"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
HEAD = (
    b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


class Record:
    """An app that echoes, and remembers its scopes and events."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.got: list[Any] = []
        self.ended = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] in {"http", "websocket"}
        self.paths.append(scope["path"])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            self.got.append(event.get("text", event.get("bytes")))
            with contextlib.suppress(OSError):
                await send({**event, "type": "websocket.send"})
        self.got.append(event["code"])
        self.ended.set()


def masked(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes = b"\x01\x02\x03\x04"
) -> bytes:
    first, size = (0x80 if fin else 0) | rsv | opcode, len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65_536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    pad = key * (size // 4 + 1)
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(pad[:size], "big")).to_bytes(size, "big")


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frames(raw: bytes) -> list[tuple[int, bytes]]:
    """The first byte and the payload of each of the server's frames."""
    found = []
    while raw:
        size, start = raw[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(raw[2:start], "big")
        found.append((raw[0], raw[start : start + size]))
        raw = raw[start + size :]
    return found


async def next_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, size = await reader.readexactly(2)
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return first, await reader.readexactly(size)


def closing(code: int, reason: bytes = b"") -> bytes:
    return masked(CLOSE, code.to_bytes(2, "big") + reason)


async def spoken(served: Any, *pieces: bytes, head: bytes = HEAD, first: int = 0) -> list[tuple[int, bytes]]:
    """Open a websocket, send the pieces, and return the frames that come until the server closes.

    The last piece is sent when as many frames as ``first`` have come.
    """
    reader, writer = await served.connect()
    with contextlib.closing(writer):
        writer.write(head + b"\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 101 ")
        for piece in pieces[:-1]:
            writer.write(piece)
            await asyncio.sleep(0)
        came = [await asyncio.wait_for(next_frame(reader), 10) for _ in range(first)]
        writer.write(pieces[-1])
        return came + frames(await asyncio.wait_for(reader.read(), 10))


def close_code(found: list[tuple[int, bytes]]) -> int:
    first, payload = found[-1]
    assert first == 0x80 | CLOSE
    return int.from_bytes(payload[:2], "big")


async def test_handshake_is_answered_as_the_rfc_shows_it(serve: Serve) -> None:
    served = await serve(Record())
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert raw.startswith(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    )
    assert b"extensions" not in raw
    writer.close()


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
        (b"permessage-deflate; client_no_context_takeover", b"; client_no_context_takeover"),
        (b"permessage-deflate; client_max_window_bits", b"; client_max_window_bits=12"),
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", b"server_max_window_bits=12"),
        (b"permessage-deflate; nonsense", b""),
        (b"x-other", b""),
    ],
)
async def test_compression_is_what_the_client_can_do(serve: Serve, offer: bytes, answer: bytes) -> None:
    for enabled in (True, False):
        served = await serve(Record(), ws_per_message_deflate=enabled)
        reader, writer = await served.connect()
        writer.write(HEAD + b"Sec-WebSocket-Extensions: " + offer + b"\r\n\r\n")
        raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert raw.startswith(b"HTTP/1.1 101 ")
        assert (b"sec-websocket-extensions" in raw) == (enabled and bool(answer))
        assert not enabled or answer in raw
        writer.close()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Sec-WebSocket-Key: %b\r\n" % KEY, 400),
        (b"Sec-WebSocket-Version: 13\r\n", 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n", 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !!!\r\n", 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \xff\xfe\r\n", 400),
        (b"Sec-WebSocket-Version: 13\r\n" + b"Sec-WebSocket-Key: %b\r\n" % KEY * 2, 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\nSec-WebSocket-Extensions: ;;\r\n" % KEY, 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\nContent-Length: 5\r\n" % KEY, 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\nTransfer-Encoding: chunked\r\n" % KEY, 400),
        (b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: %b\r\n" % KEY, 426),
        (b"Sec-WebSocket-Version: 13, 8\r\nSec-WebSocket-Key: %b\r\n" % KEY, 426),
    ],
)
async def test_handshake_that_is_none_is_refused_and_what_follows_is_no_request(
    serve: Serve, fields: bytes, status: int
) -> None:
    app = Record()
    served = await serve(app)
    for follows in (NEXT, b"5\r\nhello\r\n0\r\n\r\n" + NEXT):
        raw = await served.talk(b"GET /ws HTTP/1.1\r\n" + UPGRADE + fields + b"\r\n" + follows)
        assert raw.startswith(b"HTTP/1.1 %d " % status)
        assert raw.count(b"HTTP/1.1") == 1
        assert b"connection: close\r\n" in raw
        assert (b"sec-websocket-version: 13\r\n" in raw) == (status == 426)
    assert app.paths == []
    assert served.errors == []


async def test_other_upgrades_are_plain_requests(serve: Serve) -> None:
    app = Record()
    served = await serve(app)
    for first in (
        b"GET /a HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        HEAD.replace(b"/ws", b"/a")
        .replace(b"Connection: Upgrade", b"Connection: keep-alive")
        .replace(b"Host: a\r\n", b""),
        HEAD.replace(b"GET /ws", b"PUT /a").replace(b"Host: a\r\n", b""),
        HEAD.replace(b"/ws", b"/a").replace(b"Upgrade: websocket", b"Upgrade: websockets").replace(b"Host: a\r\n", b""),
    ):
        raw = await served.talk(first + b"Host: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert [b"\r\n\r\n/a" in raw, raw.endswith(b"\r\n\r\n/b")] == [True, True]


async def test_upgrade_waits_for_the_answers_before_it(serve: Serve) -> None:
    app = Record()
    served = await serve(app)
    reader, writer = await served.connect()
    writer.write(NEXT.replace(b"smuggled", b"first") + HEAD + b"\r\n" + masked(TEXT, b"hi") + closing(1000))
    raw = await asyncio.wait_for(reader.read(), 10)
    answer, _, rest = raw.partition(b"/first")
    assert answer.startswith(b"HTTP/1.1 200 ")
    head, _, tail = rest.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames(tail)[-1] == (0x88, b"\x03\xe8")
    assert app.got == ["hi", 1000]
    writer.close()


async def test_bytes_right_behind_the_handshake_are_frames_however_late_it_is_accepted(serve: Serve) -> None:
    begun, gate, record = asyncio.Event(), asyncio.Event(), Record()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        begun.set()
        await gate.wait()
        await record(scope, receive, send)

    served = await serve(app)
    reader, writer = await served.connect()
    big = b"x" * 200_000
    writer.write(HEAD + b"\r\n" + masked(TEXT, b"1"))
    await asyncio.wait_for(begun.wait(), 10)
    (connection,) = served.engine.connections
    for piece in (masked(TEXT, b"2")[:3], masked(TEXT, b"2")[3:], masked(BINARY, big) + closing(1001)):
        size = len(connection.parser.held or b"")
        writer.write(piece)
        async with asyncio.timeout(10):
            while len(connection.parser.held or b"") == size:  # noqa: ASYNC110 - the intake has no event for it
                await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not connection.parser.paused:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    gate.set()
    raw = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")[2]
    assert frames(raw)[-1] == (0x88, b"\x03\xe9")
    await asyncio.wait_for(record.ended.wait(), 10)
    assert [len(one) if one == big else one for one in record.got] == ["1", "2", 200_000, 1001]
    writer.close()


@pytest.mark.parametrize("follows", [NEXT, masked(TEXT, b"hi") + NEXT, b"x" * 300_000])
async def test_bytes_behind_a_handshake_that_is_denied_are_dropped(serve: Serve, follows: bytes) -> None:
    paths = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        paths.append(scope["path"])
        await asyncio.sleep(0.02)
        await send({"type": "websocket.close"})

    served = await serve(app)
    raw = await served.talk(HEAD + b"\r\n" + follows, follows)
    assert raw.startswith(b"HTTP/1.1 403 ")
    assert raw.count(b"HTTP/1.1") == 1
    assert paths == ["/ws"]


async def test_client_that_goes_before_it_is_accepted_is_noticed(serve: Serve) -> None:
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        event = await receive()
        try:
            await send({"type": "websocket.accept"})
        except OSError as exc:
            told.set_result((event, exc))
            raise

    served = await serve(app)
    _, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    writer.close()
    event, _ = await asyncio.wait_for(told, 10)
    assert event == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    await served.stop()
    assert served.errors == []


async def test_non_ascii_subprotocols_are_no_choice_and_no_harm(serve: Serve) -> None:
    offered = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        offered.append((scope["subprotocols"], dict(scope["headers"])[b"sec-websocket-protocol"]))
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})

    served = await serve(app)
    field = "chat, zwölf, a b,, soap".encode()
    found = await spoken(served, closing(1000), head=HEAD + b"Sec-WebSocket-Protocol: " + field + b"\r\n")
    assert close_code(found) == 1000
    assert offered == [(["chat", "soap"], field)]
    assert served.errors == []


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (masked(TEXT, b"hi", rsv=0x40), 1002),
        (masked(TEXT, b"hi", rsv=0x20), 1002),
        (masked(TEXT, b"hi", rsv=0x10), 1002),
        (masked(3), 1002),
        (masked(11), 1002),
        (masked(0, b"x"), 1002),  # continues nothing
        (masked(TEXT, b"x", fin=False) + masked(TEXT, b"y"), 1002),
        (masked(TEXT, b"x", fin=False) + masked(BINARY, b"y", fin=False), 1002),
        (masked(PING, b"x", fin=False), 1002),
        (masked(PING, b"x" * 126), 1002),
        (masked(CLOSE, b"x"), 1002),
        (closing(1005), 1002),
        (closing(1006), 1002),
        (closing(999), 1002),
        (closing(5000), 1002),
        (closing(1000, b"\xff"), 1007),
        (masked(TEXT, b"\xff"), 1007),
        (masked(TEXT, b"\xc3", fin=False) + masked(0, b"("), 1007),
        (masked(TEXT, b"\xed\xa0\x80"), 1007),  # half of a surrogate pair
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009),
        (b"\x82\xfe\x03\xe9\x00\x00\x00\x00", 1009),  # 1001 bytes are announced
        (masked(BINARY, b"x" * 999, fin=False) + masked(0, b"xx"), 1009),
    ],
)
async def test_fault_closes_with_its_code(serve: Serve, sent: bytes, code: int) -> None:
    app = Record()
    served = await serve(app, ws_max_size=1000)
    found = await spoken(served, masked(TEXT, b"before"), sent + masked(TEXT, b"after"), first=1)
    assert found[0] == (0x81, b"before")
    assert close_code(found) == code
    assert len(found) == 2
    await served.stop()
    assert app.got == ["before", code]
    assert served.errors == []


async def test_fault_reaches_a_client_that_is_still_sending(serve: Serve) -> None:
    served = await serve(Record())
    found = await spoken(served, b"\x81\x02hi", *[b"x" * 100_000] * 50)
    assert close_code(found) == 1002


async def test_pings_are_answered_between_the_fragments_of_a_message(serve: Serve) -> None:
    served = await serve(Record())
    pieces = (
        masked(TEXT, "hä".encode()[:2], fin=False),
        masked(PING, b"?"),
        masked(PONG, b"!"),
        masked(0, "ä".encode()[1:]),
    )
    found = await spoken(served, *pieces, masked(CLOSE), first=2)
    assert found == [(0x8A, b"?"), (0x81, "hä".encode()), (0x88, b"")]


async def test_close_without_a_code_is_1005_to_the_app(serve: Serve) -> None:
    app = Record()
    served = await serve(app)
    assert await spoken(served, masked(CLOSE)) == [(0x88, b"")]
    await served.stop()
    assert app.got == [1005]


async def test_client_that_half_closes_has_gone(serve: Serve) -> None:
    app = Record()
    served = await serve(app)
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n" + masked(TEXT, b"last"))
    await reader.readuntil(b"last")
    writer.write_eof()
    await asyncio.wait_for(reader.read(), 10)
    await served.stop()
    assert app.got == ["last", 1006]
    writer.close()


async def test_compressed_messages_share_their_memory_or_not(serve: Serve) -> None:
    for extra in (b"", b"; client_no_context_takeover; server_no_context_takeover"):
        app = Record()
        served = await serve(app)
        packer, sent = zlib.compressobj(wbits=-15), []
        for text in (b"hello " * 50, b"hello " * 60):
            if extra:
                packer = zlib.compressobj(wbits=-15)
            data = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            sent += [masked(TEXT, data[:3], fin=False, rsv=0x40), masked(PING), masked(0, data[3:])]
        head = HEAD + DEFLATE.replace(b"\r\n", extra + b"\r\n")
        sent = [*sent, masked(TEXT, b"plain")]
        found = await spoken(served, *sent, masked(CLOSE), head=head, first=5)
        await served.stop()
        assert app.got[:3] == ["hello " * 50, "hello " * 60, "plain"]
        answers = [payload for first, payload in found if first == 0xC1]
        unpacker = zlib.decompressobj(wbits=-15)
        for answer, text in zip(answers, (b"hello " * 50, b"hello " * 60), strict=True):
            if extra:
                unpacker = zlib.decompressobj(wbits=-15)
            assert unpacker.decompress(answer + b"\0\0\xff\xff") == text


def finals(data: bytes, count: int) -> bytes:
    """Compress in so many parts, of which each ends with a final block (RFC 7692 section 7.2.3.4)."""
    size, parts = len(data) // count, []
    for number in range(count):
        packer = zlib.compressobj(wbits=-15)
        parts.append(packer.compress(data[number * size : (number + 1) * size]) + packer.flush(zlib.Z_FINISH))
    return b"".join(parts) + b"\x00"


async def test_message_of_several_final_blocks_is_read(serve: Serve) -> None:
    app = Record()
    served = await serve(app)
    large = os.urandom(400_000)
    sent = masked(BINARY, finals(b"twelve bytes", 12), rsv=0x40) + masked(BINARY, finals(large, 200), rsv=0x40)
    reader, writer = await served.connect()
    writer.write(HEAD + DEFLATE + b"\r\n" + sent + masked(CLOSE))
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert app.got == [b"twelve bytes", large, 1005]


@pytest.mark.parametrize("shape", ["one frame", "fragments"])
async def test_message_of_a_million_final_blocks_does_not_hold_the_loop(serve: Serve, shape: str) -> None:
    served = await serve(Record())
    message = b"\x03\x00" * 1_000_000
    if shape == "one frame":
        sent = masked(BINARY, message, rsv=0x40)
    else:
        half = len(message) // 2
        sent = masked(BINARY, message[:half], rsv=0x40, fin=False) + masked(0, message[half:])
    began = time.process_time()
    assert close_code(await spoken(served, sent, head=HEAD + DEFLATE)) == 1002
    assert time.process_time() - began < 5
    assert (await served.talk(NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).endswith(b"/smuggled")


async def test_message_compressed_with_a_final_block_is_read(serve: Serve) -> None:
    """RFC 7692 section 7.2.3.4."""
    app = Record()
    served = await serve(app)
    final = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
    sent = masked(TEXT, final, rsv=0x40) + masked(TEXT, deflated(b"next"), rsv=0x40) + masked(CLOSE)
    await spoken(served, sent, head=HEAD + DEFLATE)
    await served.stop()
    assert app.got == ["Hello", "next", 1005]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(BINARY, deflated(b"\0" * 50_000_000), rsv=0x40), 1009),
        (masked(BINARY, deflated(b"\0" * 1001), rsv=0x40), 1009),
        (masked(BINARY, b"x" * 1000, fin=False) + masked(0, b"x"), 1009),
        (masked(BINARY, deflated(b"\0" * 9999)[:9], rsv=0x40, fin=False) + masked(0, deflated(b"\0" * 9999)[9:]), 1009),
        (masked(BINARY, b"\xff\xff\xff", rsv=0x40), 1002),
        (masked(TEXT, b"x", fin=False) + masked(0, b"x", rsv=0x40), 1002),
        (masked(PING, b"x", rsv=0x40), 1002),
        (masked(TEXT, deflated(b"\xff"), rsv=0x40), 1007),
    ],
)
async def test_bombs_and_faults_in_compressed_messages(serve: Serve, sent: bytes, code: int) -> None:
    served = await serve(Record(), ws_max_size=1000)
    good = masked(BINARY, deflated(b"\0" * 1000), rsv=0x40)
    found = await spoken(served, good, sent, head=HEAD + DEFLATE, first=1)
    assert found[0][0] == 0xC2
    assert len(found) == 2
    assert close_code(found) == code


async def test_endless_empty_fragments_take_no_memory(serve: Serve) -> None:
    served = await serve(Record())
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n" + masked(BINARY, fin=False) + masked(0, fin=False) * 20_000 + masked(PING, b"done"))
    await asyncio.wait_for(reader.readuntil(b"\x8a\x04done"), 10)
    (connection,) = served.engine.connections
    assert len(connection._reader._parts) == 0
    writer.close()


async def test_client_that_pings_and_never_reads_is_not_read_from(serve: Serve) -> None:
    """Answers to pings would otherwise fill the memory."""
    app = Record()
    served = await serve(app, timeout_write=0.3)
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = served.engine.connections
    writer.transport.pause_reading()
    pings, stood_still, most = masked(PING, b"x" * 125) * 500, 0, 0
    while stood_still < 10 and not writer.transport.is_closing():
        if writer.transport.get_write_buffer_size() < 1_000_000:
            writer.write(pings)
            stood_still = 0
        else:
            stood_still += 1
        most = max(most, connection._transport.get_write_buffer_size())
        await asyncio.sleep(0.01)
    assert most < 1_000_000
    await asyncio.wait_for(app.ended.wait(), 10)
    assert app.got == [1006]
    writer.transport.abort()


async def test_client_that_answers_no_close_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arun.http.websocket.connection._CLOSING", 0.1)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    served = await serve(app)
    reader, writer = await served.connect()
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    assert frames(await asyncio.wait_for(reader.readexactly(4), 10)) == [(0x88, b"\x03\xe8")]
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert not served.engine.connections
    writer.close()


async def test_any_number_of_connections_is_stopped_at_once(serve: Serve) -> None:
    served = await serve(Record())
    writers = []
    for _ in range(50):
        reader, writer = await served.connect()
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writers.append((reader, writer))
    stopping = asyncio.create_task(served.stop(0.2))
    for reader, writer in writers:
        assert frames(await asyncio.wait_for(reader.readexactly(19), 10)) == [(0x88, b"\x03\xf4service restart")]
        writer.close()
    await stopping
