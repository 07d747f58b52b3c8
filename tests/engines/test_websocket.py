"""What a websocket of an ASGI app does: the app's view of it, asked by the client library ``websockets``."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines.conftest import wsgi_server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Serve = Any


class Echo:
    """An app that sends back what it gets, and remembers its scope and how the websocket ended."""

    def __init__(self, **accept: Any) -> None:
        self.accept = accept
        self.ended = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        self.scope = scope
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", **self.accept})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        self.end = event
        self.ended.set()


def app_that(does: Callable[[Any, Any], Awaitable[None]], *, accepts: bool = True) -> Callable[..., Any]:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        if accepts:
            await send({"type": "websocket.accept"})
        await does(receive, send)

    return app


def client(served: Any, path: str = "/", **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{served.port}{path}", proxy=None, **options)


async def end_of(websocket: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.wait_for(websocket.recv(), 10)
    assert websocket.close_code is not None
    return websocket.close_code, websocket.close_reason or ""


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_of_every_size_come_and_go(serve: Serve, compression: str | None) -> None:
    served = await serve(Echo())
    async with client(served, compression=compression, max_size=None) as websocket:
        for message in (
            "",
            b"",
            "x",
            "é" * 100,
            b"\0" * 125,
            "a" * 126,
            b"\xff" * 65_535,
            "b" * 65_536,
            b"c" * 3_000_000,
        ):
            await websocket.send(message)
            assert await websocket.recv() == message
    assert served.errors == []


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_fragments_are_one_message(serve: Serve, compression: str | None) -> None:
    served = await serve(Echo())
    async with client(served, compression=compression) as websocket:
        await websocket.send(["hä", "", "l" * 500, "lo"])
        assert await websocket.recv() == "hä" + "l" * 500 + "lo"
        await websocket.send([b"\xff", b"\xfe"])
        assert await websocket.recv() == b"\xff\xfe"


async def test_scope_is_complete(serve: Serve) -> None:
    app = Echo()
    served = await serve(app)
    async with client(served, "/a%20b?q=1", additional_headers={"X-One": "1"}, user_agent_header=None):
        pass
    scope = app.scope
    names = [name for name, _ in scope.pop("headers")]
    assert names[:3] == [b"host", b"upgrade", b"connection"]
    assert {b"x-one", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"} <= set(names)
    peer, own = scope.pop("client"), scope.pop("server")
    assert (peer[0], own[0], own[1]) == ("127.0.0.1", "127.0.0.1", served.port)
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"q=1",
        "root_path": "",
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


async def test_scheme_is_wss_behind_a_trusted_proxy_that_states_https(serve: Serve) -> None:
    app = Echo()
    served = await serve(app, forwarded_allow_ips=("127.0.0.1",))
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    async with client(served, additional_headers=headers):
        pass
    assert (app.scope["scheme"], app.scope["client"]) == ("wss", ("192.0.2.1", 0))


async def test_state_of_the_lifespan_is_in_the_scope(serve: Serve) -> None:
    echo = Echo()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await echo(scope, receive, send)
            return
        await receive()
        scope["state"]["pool"] = 7
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    served = await serve(app)
    async with client(served):
        pass
    assert echo.scope["state"] == {"pool": 7}


async def test_app_chooses_among_the_subprotocols_and_adds_headers(serve: Serve) -> None:
    app = Echo(subprotocol="two", headers=[(b"x-app", b"yes"), (b"Sec-WebSocket-Accept", b"forged")])
    served = await serve(app)
    async with client(served, subprotocols=["one", "two"]) as websocket:
        assert websocket.subprotocol == "two"
        assert websocket.response is not None
        headers = websocket.response.headers
        assert (headers["x-app"], headers["server"]) == ("yes", "arun")
        assert "date" in headers
    assert app.scope["subprotocols"] == ["one", "two"]


@pytest.mark.parametrize(
    ("accept", "told"),
    [
        ({"subprotocol": "three"}, "did not offer the subprotocol 'three'"),
        ({"subprotocol": "zwö"}, "did not offer the subprotocol 'zwö'"),
        ({"subprotocol": b"one"}, "did not offer"),
        ({"headers": [(b"sec-websocket-protocol", b"one")]}, "takes it as subprotocol"),
        ({"headers": [(b"x", b"a\r\nset-cookie: evil")]}, "CR, LF or NUL"),
    ],
)
async def test_acceptance_that_would_break_the_handshake_is_500(serve: Serve, accept: Any, told: str) -> None:
    served = await serve(Echo(**accept))
    with pytest.raises(InvalidStatus) as caught:
        await client(served, subprotocols=["one"])
    assert caught.value.response.status_code == 500
    assert told in served.errors[0]


async def test_close_code_of_the_client_reaches_the_app(serve: Serve) -> None:
    app = Echo()
    served = await serve(app)
    async with client(served) as websocket:
        await websocket.close(4001, "schöner Tag")
        assert (websocket.close_code, websocket.close_reason) == (4001, "schöner Tag")
    await asyncio.wait_for(app.ended.wait(), 10)
    assert app.end == {"type": "websocket.disconnect", "code": 4001, "reason": "schöner Tag"}


async def test_messages_before_the_end_are_delivered_before_it(serve: Serve) -> None:
    gate, done, got = asyncio.Event(), asyncio.Event(), list[Any]()

    async def does(receive: Any, send: Any) -> None:  # noqa: ARG001
        await gate.wait()
        while not got or got[-1]["type"] == "websocket.receive":
            got.append(await receive())
        done.set()

    served = await serve(app_that(does))
    async with client(served) as websocket:
        for number in range(5):
            await websocket.send(str(number))
    gate.set()
    await asyncio.wait_for(done.wait(), 10)
    assert [event.get("text") for event in got] == ["0", "1", "2", "3", "4", None]
    assert got[-1]["code"] == 1000


async def test_client_that_vanishes_is_1006(serve: Serve) -> None:
    app = Echo()
    served = await serve(app)
    websocket = await client(served)
    websocket.transport.abort()
    await asyncio.wait_for(app.ended.wait(), 10)
    assert (app.end["code"], app.end["reason"]) == (1006, "")
    assert not served.engine.connections


async def test_app_closes_with_its_code_and_reason(serve: Serve) -> None:
    async def does(receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "text": "last"})
        await send({"type": "websocket.close", "code": 4002, "reason": "r" * 200})
        assert (await receive())["type"] == "websocket.disconnect"

    served = await serve(app_that(does))
    async with client(served) as websocket:
        assert await websocket.recv() == "last"
        assert await end_of(websocket) == (4002, "r" * 123)
    assert served.errors == []


async def test_app_that_returns_closes_normally(serve: Serve) -> None:
    async def does(receive: Any, send: Any) -> None:
        pass

    served = await serve(app_that(does))
    async with client(served) as websocket:
        with pytest.raises(ConnectionClosedOK):
            await websocket.recv()
        assert websocket.close_code == 1000
    assert served.errors == []


async def test_app_that_raises_closes_with_1011_and_is_reported(serve: Serve) -> None:
    async def does(receive: Any, send: Any) -> None:  # noqa: ARG001
        raise ValueError("tired")

    served = await serve(app_that(does))
    async with client(served, "/chat") as websocket:
        with pytest.raises(ConnectionClosedError):
            await websocket.recv()
        assert (websocket.close_code, websocket.close_reason) == (1011, "")
    assert len(served.errors) == 1
    assert served.errors[0].startswith("GET /chat failed")
    assert "ValueError: tired" in served.errors[0]


@pytest.mark.parametrize("by", ["closing", "returning", "raising"])
async def test_websocket_that_was_never_accepted_is_refused(serve: Serve, by: str) -> None:
    async def does(receive: Any, send: Any) -> None:
        if by == "closing":
            await send({"type": "websocket.close"})
            assert (await receive())["type"] == "websocket.disconnect"
        elif by == "raising":
            raise SystemExit(3)

    served = await serve(app_that(does, accepts=False))
    with pytest.raises(InvalidStatus) as caught:
        await client(served)
    assert caught.value.response.status_code == (500 if by == "raising" else 403)
    assert len(served.errors) == (by == "raising")


async def test_app_may_deny_with_an_answer_of_its_own(serve: Serve) -> None:
    async def does(receive: Any, send: Any) -> None:
        start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"who?")]}
        await send(start)
        with pytest.raises(RuntimeError):
            await send({"type": "websocket.accept"})
        for number in range(3):
            await send({"type": "websocket.http.response.body", "body": b"%d" % number, "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"."})
        assert (await receive())["type"] == "websocket.disconnect"

    served = await serve(app_that(does, accepts=False))
    with pytest.raises(InvalidStatus) as caught:
        await client(served)
    answer = caught.value.response
    assert (answer.status_code, answer.headers["x-why"], answer.body) == (401, "who?", b"012.")
    assert served.errors == []


async def test_denial_that_breaks_off_is_reported(serve: Serve) -> None:
    async def does(receive: Any, send: Any) -> None:  # noqa: ARG001
        await send({"type": "websocket.http.response.start", "status": 401})

    served = await serve(app_that(does, accepts=False))
    with pytest.raises(InvalidStatus) as caught:
        await client(served)
    assert caught.value.response.status_code == 500
    assert "without a complete answer" in served.errors[0]


@pytest.mark.parametrize("kind", ["websocket.send", "websocket.accept", "websocket.close"])
async def test_sending_after_the_end_raises_an_os_error(serve: Serve, kind: str) -> None:
    raised: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def does(receive: Any, send: Any) -> None:
        assert (await receive())["code"] == 1000
        try:
            await send({"type": kind, "text": "late"})
        except Exception as exc:
            raised.set_result(exc)
            raise

    served = await serve(app_that(does))
    async with client(served):
        pass
    exc = await asyncio.wait_for(raised, 10)
    assert isinstance(exc, RuntimeError if kind == "websocket.accept" else OSError)
    await served.stop()
    assert len(served.errors) == (kind == "websocket.accept")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": 5},
        {"type": "websocket.close", "code": 1005},
        {"type": "websocket.close", "code": 99},
        {"type": "http.response.body"},
    ],
)
async def test_event_that_cannot_be_sent_is_the_apps_failure(serve: Serve, event: dict[str, Any]) -> None:
    async def does(receive: Any, send: Any) -> None:  # noqa: ARG001
        await send(event)

    served = await serve(app_that(does))
    async with client(served) as websocket:
        assert (await end_of(websocket))[0] == 1011
    assert len(served.errors) == 1


async def test_too_big_a_message_closes_with_1009(serve: Serve) -> None:
    app = Echo()
    served = await serve(app, ws_max_size=1000)
    for message, compression in ((b"x" * 1001, None), (b"x" * 1001, "deflate"), (["x" * 600, "x" * 401], None)):
        async with client(served, compression=compression) as websocket:
            await websocket.send("x" * 1000)
            assert await websocket.recv() == "x" * 1000
            await websocket.send(message)
            assert (await end_of(websocket))[0] == 1009
    await asyncio.wait_for(app.ended.wait(), 10)
    assert app.end["code"] == 1009


async def test_client_that_sends_faster_than_the_app_takes_has_to_wait(serve: Serve) -> None:
    gate, taken = asyncio.Event(), 0

    async def does(receive: Any, send: Any) -> None:  # noqa: ARG001
        nonlocal taken
        await gate.wait()
        while (await receive())["type"] == "websocket.receive":
            taken += 1

    served = await serve(app_that(does), ws_max_queue=4)
    async with client(served, compression=None) as websocket:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(400):
                await websocket.send(b"x" * 100_000)
                sent += 1

        flooding = asyncio.create_task(flood())
        stood_still = 0
        while stood_still < 30:
            before = sent
            await asyncio.sleep(0.01)
            stood_still = stood_still + 1 if sent == before else 0
        assert sent < 300
        (connection,) = served.engine.connections
        assert len(connection._waiting) <= 4
        gate.set()
        await asyncio.wait_for(flooding, 20)
        await websocket.close()
    await served.stop()
    assert taken == 400


async def test_slow_reader_holds_the_app_back_and_is_cut_when_it_takes_nothing(serve: Serve) -> None:
    sent, raised = 0, asyncio.Event()

    async def does(receive: Any, send: Any) -> None:  # noqa: ARG001
        nonlocal sent
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 65_536})
                sent += 1
        except OSError:
            raised.set()
            raise

    served = await serve(app_that(does), timeout_write=0.2)
    websocket = await client(served, compression=None, max_queue=1)
    await asyncio.wait_for(raised.wait(), 10)
    assert sent < 1000
    assert served.errors == []
    websocket.transport.abort()


async def test_client_that_answers_no_ping_is_closed_with_1011(serve: Serve) -> None:
    app = Echo()
    served = await serve(app, ws_ping_interval=0.05, ws_ping_timeout=0.05)
    silent = await client(served, compression=None)
    silent.transport.pause_reading()
    await asyncio.wait_for(app.ended.wait(), 10)
    assert app.end["code"] == 1011
    silent.transport.resume_reading()
    assert await end_of(silent) == (1011, "no answer to a ping")


async def test_client_that_answers_pings_stays(serve: Serve) -> None:
    served = await serve(Echo(), ws_ping_interval=0.01, ws_ping_timeout=5, timeout_keep_alive=0.04)
    async with client(served) as websocket:
        pings, pinged, original = 0, asyncio.Event(), websocket.protocol.recv_frame

        def count(frame: Any) -> None:
            nonlocal pings
            pings += frame.opcode == 9
            if pings == 3:
                pinged.set()
            original(frame)

        websocket.protocol.recv_frame = count  # type: ignore[method-assign]
        await asyncio.wait_for(pinged.wait(), 10)
        await websocket.send("still here")
        assert await websocket.recv() == "still here"


async def test_stop_closes_websockets_with_1012(serve: Serve) -> None:
    app = Echo()
    served = await serve(app)
    async with client(served) as websocket:
        await websocket.send("x")
        await websocket.recv()
        stopping = asyncio.create_task(served.stop(5))
        assert await end_of(websocket) == (1012, "service restart")
        await stopping
    assert app.end == {"type": "websocket.disconnect", "code": 1012, "reason": "service restart"}
    assert served.errors == []


async def test_stop_does_not_wait_for_a_client_that_does_not_close(serve: Serve) -> None:
    app = Echo()
    served = await serve(app)
    websocket = await client(served)
    websocket.transport.pause_reading()
    async with asyncio.timeout(20):
        await served.stop(0.1)
    assert app.end["code"] == 1012
    websocket.transport.abort()


async def test_abort_cuts_websockets(serve: Serve) -> None:
    served = await serve(Echo())
    websocket = await client(served)
    served.engine.abort()
    assert (await end_of(websocket))[0] == 1006


async def test_wsgi_app_is_asked_as_by_any_request(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["HTTP_UPGRADE"].encode()]

    served = await serve(app, wsgi_server)
    with pytest.raises(InvalidStatus) as caught:
        await client(served)
    assert caught.value.response.body == b"websocket"
