"""WebSockets (RFC 6455) of the frameworks that have them, spoken to by two independent clients."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tests.conftest import PATIENCE
from tests.frameworks.conftest import client_of, each
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

if TYPE_CHECKING:
    from tests.conftest import Instance
    from tests.frameworks.conftest import Framework

LARGE = random.Random(8).randbytes(1_500_000)  # noqa: S311 - bytes that do not compress, the same each time


def websocket(shop: Instance, path: str = "/echo", **options: Any) -> Any:
    """Connect with the library ``websockets``; a message may be as large as the server likes."""
    return connect(f"ws://{shop.address}{path}", open_timeout=PATIENCE, max_size=None, proxy=None, **options)


@each("sockets")
@pytest.mark.parametrize("compression", ["deflate", None])
def test_text_comes_back(compression: str | None, shop: Instance) -> None:
    with websocket(shop, compression=compression) as socket:
        for text in ("hello", "", "Zoë & 王", "a" * 200_000):
            socket.send(text)
            assert socket.recv(PATIENCE) == text


@each("sockets")
@pytest.mark.parametrize("compression", ["deflate", None])
def test_bytes_come_back(compression: str | None, shop: Instance) -> None:
    with websocket(shop, "/echo/bytes", compression=compression) as socket:
        for data in (b"\0\xff", LARGE, b"after it"):
            socket.send(data)
            assert socket.recv(PATIENCE) == data


@each("sockets")
def test_a_message_in_fragments_is_one_message(shop: Instance) -> None:
    with websocket(shop) as socket:
        socket.send(["in ", "three ", "pieces"])
        assert socket.recv(PATIENCE) == "in three pieces"


@each("sockets")
def test_messages_keep_their_order_when_many_are_sent_at_once(shop: Instance) -> None:
    texts = [f"message {n}" for n in range(300)]
    with websocket(shop) as socket:
        for text in texts:
            socket.send(text)
        assert [socket.recv(PATIENCE) for _ in texts] == texts


@each("sockets")
def test_a_ping_is_answered_while_the_app_waits(shop: Instance) -> None:
    with websocket(shop) as socket:
        assert socket.ping().wait(PATIENCE)
        socket.send("still there")
        assert socket.recv(PATIENCE) == "still there"


@each("sockets")
def test_the_app_chooses_the_subprotocol(shop: Instance) -> None:
    with websocket(shop, subprotocols=["gossip", "chat"]) as socket:
        assert socket.subprotocol == "chat"
    with websocket(shop) as socket:
        assert socket.subprotocol is None


@each("sockets")
def test_the_client_is_told_why_the_app_closes(shop: Instance) -> None:
    with websocket(shop) as socket:
        socket.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "see you")


@each("sockets")
def test_a_client_that_closes_or_vanishes_disturbs_nobody(framework: Framework, shop: Instance) -> None:
    before = shop.said
    with websocket(shop) as socket:
        socket.send("hello")
        socket.recv(PATIENCE)
        socket.close(1001, "off")
        assert socket.close_code == (1000 if framework.name == "aiohttp" else 1001), (
            "aiohttp answers with a code of its own"
        )
    with websocket(shop) as socket:
        socket.socket.close()
    with websocket(shop) as socket:
        socket.send("next")
        assert socket.recv(PATIENCE) == "next"
    assert "Traceback" not in shop.said.removeprefix(before)


@each("sockets")
def test_a_socket_that_the_app_refuses_is_403(shop: Instance) -> None:
    with pytest.raises(InvalidStatus) as refused, websocket(shop, "/members"):
        pass
    assert refused.value.response.status_code == 403


@each("sockets")
def test_many_sockets_and_requests_at_once(shop: Instance) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(websocket(shop)) for _ in range(20)]
        client = stack.enter_context(client_of(shop))
        for n, socket in enumerate(sockets):
            socket.send(f"from {n}")
        assert client.get("/").text == "hello"
        assert [socket.recv(PATIENCE) for socket in sockets] == [f"from {n}" for n in range(20)]


@each("sockets")
async def test_the_client_of_aiohttp_is_understood(framework: Framework, shop: Instance) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{shop.address}/echo", protocols=["chat"], compress=15) as socket,
    ):
        assert socket.protocol == "chat"
        assert socket.compress, f"{framework.name} is served with permessage-deflate"
        await socket.send_str("Zoë & 王" * 1_000)
        assert await socket.receive_str(timeout=PATIENCE) == "Zoë & 王" * 1_000
        await socket.send_str("bye")
        end = await socket.receive(timeout=PATIENCE)
        assert (end.type, end.data, end.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "see you")
