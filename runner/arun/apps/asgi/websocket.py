"""ASGI websockets: how a handshake becomes a call of an ASGI app (https://asgi.readthedocs.io, WebSocket format 2.5)."""

from __future__ import annotations

import asyncio

from arun.apps.asgi.exchange import AsgiExchange
from arun.http.errors import ClientDisconnected, ResponseInvalid
from arun.http.websocket import frames
from arun.http.websocket.connection import WebsocketConnection
from arun.http.websocket.handshake import Handshake, HandshakeInvalid, accepting_head, read_handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping
    from typing import Any

    from arun.apps.asgi.exchange import App
    from arun.http.exchange import Stream
    from arun.http.request import Request
    from arun.http.server import HttpServer

__all__ = ("WebsocketExchange",)

#: An app that sends to a fast reader never waits: after so many bytes the other connections get their turn ...
_STREAK = 262_144
#: ... and each message counts as so many.
_EVENT = 1024
_TEXT_PLAIN = (b"content-type", b"text/plain; charset=utf-8")


class WebsocketExchange(AsgiExchange):
    """A handshake and the websocket that follows: one task runs the app for both.

    Until the app accepts, this is a request like others, with a response like others.
    """

    _handshake: Handshake
    _websocket: WebsocketConnection | None = None
    _greeted = False

    def __init__(self, stream: Stream, request: Request, http: HttpServer, app: App, state: dict[str, Any]) -> None:
        super().__init__(stream, request, http, app, state)
        request.keep_alive = True  # until the handshake is refused, more is to come

    def start(self) -> None:
        """Run the app, unless the instance stops."""
        if self._http.stopping:
            self.decline()
            self._http.done(self)
        else:
            super().start()

    def retire(self) -> None:
        """Decline a handshake that waits for the app: no websocket would stay (RFC 6455 section 4.2.2)."""
        if self.fields is None and self._websocket is None and not self.answered:
            self.decline()

    async def receive(self) -> dict[str, Any]:
        """Return the next event: the connect, messages, at last the disconnect."""
        if not self._greeted:
            self._greeted = True
            return {"type": "websocket.connect"}
        while True:
            websocket = self._websocket
            if websocket is not None:
                message = websocket.take()
                if message is not None:
                    kind = "text" if isinstance(message, str) else "bytes"
                    return {"type": "websocket.receive", kind: message}
                if websocket.ended is not None:
                    code, reason = websocket.ended
                    return {"type": "websocket.disconnect", "code": code, "reason": reason}
            elif self.answered or self.stream.half_closed:
                return {"type": "websocket.disconnect", "code": frames.ABNORMAL, "reason": ""}
            # as change() does, whose coroutine would cost more than all the rest of a message
            waiter: asyncio.Future[None] = self._http.loop.create_future()
            if self._waiters is None:
                self._waiters = set()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take an event of the app; return when the client has taken enough of what was sent before.

        Raises:
            ClientDisconnected: the client has gone (an OSError, as ASGI 2.4 asks).
            ResponseInvalid: the event breaks the protocol or comes out of turn.
        """
        websocket, kind = self._websocket, message["type"]
        if websocket is None:
            await self._respond(kind, message)
            return
        if kind == "websocket.send":
            while websocket.write_paused and websocket.ended is None:
                await self.change()
            if websocket.ended is not None:
                raise ClientDisconnected("the websocket is closed")
            data = _payload(message)
            websocket.send(data)
            self._streak += len(data) + _EVENT
            if self._streak > _STREAK:
                self._streak = 0
                await asyncio.sleep(0)
        elif kind == "websocket.close":
            if websocket.ended is not None:
                raise ClientDisconnected("the websocket is closed")
            self._close(message.get("code", frames.NORMAL), message.get("reason"))
        else:
            raise ResponseInvalid(f"a websocket app cannot send {kind!r} after it has accepted")

    def works(self) -> bool:
        """Return whether the app works on the handshake; an open websocket has no time limit."""
        return self._websocket is None and super().works()

    def decline(self) -> None:
        """Respond with 503 in the app's place: too many requests run, or the instance stops."""
        self.request.keep_alive = False
        super().decline()

    def fail(self, explanation: bytes = b"Internal Server Error\n") -> None:
        """Respond with 500, or close with 1011 when the websocket was accepted."""
        if self._websocket is None:
            self.request.keep_alive = False
            super().fail(explanation)
        else:
            self._websocket.close(frames.INTERNAL, "")

    # ---- inner life

    async def _run(self) -> None:
        http, app = self._http, self._app
        try:
            deflate = http.options.ws_per_message_deflate
            self._handshake = read_handshake(self.request, per_message_deflate=deflate)
            self._call = app(self._scope(), self.receive, self.send)
            await self._call
        except HandshakeInvalid as exc:
            version = ((b"sec-websocket-version", b"13"),) if exc.status == 426 else ()  # noqa: PLR2004 - RFC 6455 section 4.4
            self._refuse(exc.status, exc.reason, version)
        except BaseException as exc:  # noqa: BLE001 - SystemExit in one websocket is no reason to end the process
            http.failed(self, exc)
        else:
            self._returned()
        finally:
            if self.record is not None and self._websocket is not None:
                self.record.end(self, 101)
            self._websocket = None  # which refers to this exchange: what waits there is freed now
            http.done(self)

    def _scope(self) -> dict[str, Any]:
        scope = super()._scope()
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = list(self._handshake.subprotocols)
        tls = scope["extensions"].get("tls")
        scope["extensions"] = (
            {"websocket.http.response": {}} if tls is None else {"websocket.http.response": {}, "tls": tls}
        )
        return scope

    async def _respond(self, kind: str, message: MutableMapping[str, Any]) -> None:
        """Respond to the handshake."""
        if self.abandoned or self.stream.closing or (self.stream.half_closed and not self.answered):
            raise ClientDisconnected("the client has gone")
        if kind.startswith("websocket.http.response."):
            self.request.keep_alive = False  # frames may follow, which are no request
            await super().send({**message, "type": kind.removeprefix("websocket.")})
        elif self.fields is not None:
            raise ResponseInvalid(f"a websocket app cannot send {kind!r} after it has begun a response")
        elif kind == "websocket.accept":
            self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif kind == "websocket.close":
            self._refuse(403, "Forbidden")
        else:
            raise ResponseInvalid(f"a websocket app cannot send {kind!r} before it has accepted")

    def _accept(self, subprotocol: object, headers: Iterable[tuple[bytes, bytes]]) -> None:
        stream, handshake = self.stream, self._handshake
        own_id = b"" if self.record is None else self.record.id_line
        head = accepting_head(handshake, subprotocol, headers, self._http.own_fields) + own_id + b"\r\n"
        write_paused = stream.write_paused
        transport, received = stream.connection.hand_over()
        self._websocket = WebsocketConnection(self._http, transport, self, handshake.deflate)
        self._websocket.take_over(head, received, write_paused=write_paused)

    def _refuse(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.request.keep_alive = False
        if not (self.answered or self.stream.closing):
            self.set_head(status, (_TEXT_PLAIN, *headers))
            self.stream.send(self, text.encode() + b"\n", False)

    def _close(self, code: object, reason: object) -> None:
        if self._websocket is not None:
            try:
                self._websocket.close(code if isinstance(code, int) else frames.NORMAL, str(reason or ""))
            except ValueError as exc:
                raise ResponseInvalid(str(exc)) from None

    def _returned(self) -> None:
        """End what the app has left open: a websocket is closed, a handshake refused, half a response has failed."""
        if self._websocket is not None:
            self._websocket.close(frames.NORMAL, "")
        elif self.fields is None:
            self._refuse(403, "Forbidden")
        elif not self.answered:
            self._http.failed(self, None)


def _payload(message: MutableMapping[str, Any]) -> str | bytes:
    """Return what a message holds: text, or bytes."""
    data = message.get("bytes")
    if data is not None:
        return bytes(data)
    text = message.get("text")
    if isinstance(text, str):
        return text
    raise ResponseInvalid("websocket.send takes bytes, or text that is a str")
