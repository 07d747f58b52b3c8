"""ASGI: how a request becomes a call of an ASGI 3 app (https://asgi.readthedocs.io, HTTP message format 2.5)."""

from __future__ import annotations

import asyncio

from runner.apps.engines.h1_engine.exchange import ClientDisconnected, Exchange
from runner.apps.engines.h1_engine.heads import AnswerInvalid
from runner.apps.engines.h1_engine.targets import unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from runner.apps.engines.h1_engine.asgi_engine import AsgiEngine
    from runner.apps.engines.h1_engine.protocol import Connection
    from runner.apps.engines.h1_engine.request import Request

__all__ = ("AsgiExchange",)

#: An app that streams to a fast reader never waits: after so many bytes the other connections get their turn ...
_STREAK = 262_144
#: ... and each event counts as so many.
_EVENT = 1024


class AsgiExchange(Exchange):
    """A request that is answered by one task, which runs an ASGI app."""

    _task: asyncio.Task[None] | None = None
    _delivered = False
    #: What was sent since this task let others run.
    _streak = 0
    _waiters: list[asyncio.Future[None]] | None = None

    def __init__(self, connection: Connection, request: Request, engine: AsgiEngine) -> None:
        super().__init__(connection, request)
        self._engine = engine

    def start(self) -> None:
        """Run the app in a task of its own."""
        engine = self._engine
        engine.running.add(self)
        self._task = engine.loop.create_task(self._run())

    def cancel(self) -> None:
        """Cancel the app's task."""
        if self._task is not None:
            self._task.cancel()

    def changed(self) -> None:
        """Wake whoever waits in receive or send."""
        waiters = self._waiters
        if waiters:
            self._waiters = None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """Return the next event of this request: a piece of its body, at last the client's going."""
        while not (self._delivered or self.answered):
            if self._chunks or self.received:
                body = self.take()
                self._delivered = self.received and not self._chunks  # taking lets more in
                return {"type": "http.request", "body": body, "more_body": not self._delivered}
            if self.connection.eof:
                break
            self.expect_body()
            await self._wait()
        while not (self.connection.eof or self.answered):
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take an event of the answer; returns when the client has taken enough of what was sent before.

        Raises:
            ClientDisconnected: nobody is there to read the answer (an OSError, as ASGI 2.4 asks).
            AnswerInvalid: the event breaks HTTP or comes out of turn.
        """
        connection = self.connection
        if self.abandoned or (connection.closing and not self.answered):
            raise ClientDisconnected("the client has gone")
        kind = message["type"]
        if kind == "http.response.start":
            self.begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.body":
            body, more = message.get("body", b""), message.get("more_body", False)
            self.write(body, more=more)
            while connection.write_paused:
                await self._wait()
            if more:
                self._streak += len(body) + _EVENT
                if self._streak > _STREAK:
                    self._streak = 0
                    await asyncio.sleep(0)
        else:
            raise AnswerInvalid(f"an http app cannot send {kind!r}")

    async def _wait(self) -> None:
        waiter = self._engine.loop.create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        await waiter

    async def _run(self) -> None:
        engine = self._engine
        try:
            await engine.app(self._scope(), self.receive, self.send)
        except BaseException as exc:  # noqa: BLE001 - SystemExit in one request is no reason to end the process
            engine.failed(self, exc)
        else:
            if not self.answered:
                engine.failed(self, None)
        engine.done(self)

    def _scope(self) -> dict[str, Any]:
        connection, request = self.connection, self.request
        engine = self._engine
        client, scheme = connection.client, "http"
        if request.forwarded_for is not None or request.forwarded_proto is not None:
            client, scheme = engine.forwarded(client, request)
        raw_path = engine.mounted(request.path)
        path = unquoted(raw_path) if b"%" in raw_path else raw_path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": request.version,
            "method": request.method,
            "scheme": scheme,
            "path": path.decode("utf-8", "replace"),
            "raw_path": raw_path,
            "query_string": request.query,
            "root_path": engine.options.root_path,
            "headers": request.headers,
            "client": client,
            "server": connection.server,
            "state": engine.state.copy(),
            "extensions": {},
        }
