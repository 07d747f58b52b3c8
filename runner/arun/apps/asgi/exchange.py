"""ASGI: how a request becomes a call of an ASGI 3 app (https://asgi.readthedocs.io, HTTP message format 2.5).

Of the extensions there are early hints, trailers and pathsend.
"""

from __future__ import annotations

import asyncio
import os

from arun.apps.asgi.done import DONE
from arun.core.native import mypyc_attr
from arun.http.errors import ClientDisconnected, ResponseInvalid
from arun.http.exchange import Exchange
from arun.http.fields import read_fields
from arun.http.request import ESCAPE, unquoted
from arun.system.tracebacks import coroutine_stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any, Final

    from arun.http.exchange import Carrier, Stream
    from arun.http.request import Request
    from arun.http.server import HttpServer

    App = Callable[..., Awaitable[None]]

__all__ = ("AsgiExchange",)

#: What an app may send beside start and body.
_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.trailers": {},
}
_VERSION: Final = {"version": "3.0", "spec_version": "2.5"}
#: An app that streams to a fast reader never waits: after so many bytes the other connections get their turn ...
_STREAK: Final = 262_144
#: ... and each event counts as so many.
_EVENT: Final = 1024
#: Bytes that are read at once of a file whose size is not known.
_FILE_PIECE: Final = 65_536


@mypyc_attr(allow_interpreted_subclasses=True)
class AsgiExchange(Exchange):
    """A request and the task that runs the ASGI app for it."""

    __slots__ = ("_app", "_call", "_delivered", "_http", "_state", "_streak", "_task", "_trailers")

    def __init__(self, stream: Stream, request: Request, http: HttpServer, app: App, state: dict[str, Any]) -> None:
        Exchange.__init__(self, stream, request)  # twice as fast as super(), for every request
        self._http = http
        self._app = app
        self._state = state
        self._task: asyncio.Task[None] | None = None
        #: What the app returned when it was called, and what is awaited; the task does not show it where it is compiled.
        self._call: Awaitable[None] | None = None
        self._delivered = False
        #: What was sent since this task let others run.
        self._streak = 0
        #: The trailer fields so far, None when the app has announced none.
        self._trailers: bytes | None = None

    def start(self) -> None:
        """Run the app in a task."""
        self._task = self._http.task(self._run())

    def cancel(self) -> None:
        """Cancel the app's task."""
        if self._task is not None:
            self._task.cancel()

    def stack(self) -> str:
        """Return where the app waits."""
        return "" if self._call is None else coroutine_stack(self._call)

    async def receive(self) -> dict[str, Any]:
        """Return the next event of this request: a piece of its body, at last the disconnect."""
        while not (self._delivered or self.answered):
            if self._chunks or self.received:
                body = self.take()
                self._delivered = self.received and not self._chunks  # taking lets more in
                return {"type": "http.request", "body": body, "more_body": not self._delivered}
            if self.stream.eof:
                break
            self.expect_body()
            await self.change()
        while not self.answered:
            if self.stream.half_closed:
                self.stream.probe(self)  # no disconnect: it may wait for its response
            await self.change()
        return {"type": "http.disconnect"}

    def send(self, message: MutableMapping[str, Any]) -> Awaitable[None]:
        """Take an event of the response; what is returned waits until the client has taken enough that more may be sent.

        After the last piece nothing more comes: then there is nothing to wait for, and the transport keeps what is left.
        Errors are raised where it is awaited:

        Raises:
            ClientDisconnected: the client has gone (an OSError, as ASGI 2.4 asks).
            ResponseInvalid: the event breaks HTTP or comes out of turn.
        """
        stream = self.stream
        try:
            if self.abandoned or (stream.closing and not self.answered):
                return _failed(ClientDisconnected("the client has gone"))
            kind = message["type"]
            if kind == "http.response.body":
                body, more = message.get("body", b""), bool(message.get("more_body", False))
                if type(body) is not bytes:
                    body = bytes(memoryview(body))
                stream.send(self, body, more or self._trailers is not None)
                if more:
                    self._streak += len(body) + _EVENT
                    if self._streak > _STREAK:
                        return self._take_turns()
                return self.writable() if stream.write_paused and not self.answered else DONE
            if kind == "http.response.start":
                self.set_head(message["status"], message.get("headers", ()))
                if message.get("trailers"):
                    self._trailers = b""
                return DONE
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to who awaits
            return _failed(exc)
        return self._extend(kind, message)

    async def _extend(self, kind: Any, message: MutableMapping[str, Any]) -> None:
        """Take an event of an extension."""
        if kind == "http.response.trailers" and self._trailers is not None and self.head_sent:
            self._trailers += read_fields(message.get("headers", ()))[0]
            if not message.get("more_trailers", False):
                takes = any(name == b"te" and b"trailers" in value.lower() for name, value in self.request.headers)
                self.stream.send_trailers(self, self._trailers if takes else b"")  # RFC 9110 section 6.5.1
        elif kind == "http.response.early_hint" and self.fields is None:
            links = read_fields([(b"link", link) for link in message["links"]])[0]
            self.stream.send_informational(self, 103, links)
        elif kind == "http.response.pathsend" and not self.head_sent:
            await self._send_path(message["path"])
        else:
            raise ResponseInvalid(f"an http app cannot send {kind!r}, or not now")

    async def _send_path(self, path: str) -> None:
        """Send a file as the whole body.

        Raises:
            OSError: it cannot be read, or is no regular file.
        """
        from arun.http.file_part import has_size, open_regular

        descriptor = open_regular(path)
        try:
            state = os.fstat(descriptor)
            if has_size(state):
                await self.stream.send_file(self, descriptor, 0, state.st_size)
                return
            left = -1 if self.fields is None or self.length is None else self.length
            data = os.read(descriptor, _FILE_PIECE)
            if not data:
                await self.stream.send_file(self, descriptor, 0, 0)
            while data:
                data = data[:left] if left >= 0 else data
                left -= len(data) if left >= 0 else 0
                following = os.read(descriptor, _FILE_PIECE) if left else b""
                await self.send({"type": "http.response.body", "body": data, "more_body": bool(following)})
                data = following
        finally:
            os.close(descriptor)

    async def _take_turns(self) -> None:
        """Let other connections have their turn when an app streams to a reader that never makes it wait."""
        self._streak = 0
        await asyncio.sleep(0)
        await self.writable()

    async def _run(self) -> None:
        http, app = self._http, self._app
        try:
            self._call = app(self._scope(), self.receive, self.send)
            await self._call
        except BaseException as exc:  # noqa: BLE001 - SystemExit in one request is no reason to end the process
            http.failed(self, exc)
        else:
            if not self.answered:
                http.failed(self, None)
        finally:
            http.done(self)

    def _scope(self) -> dict[str, Any]:
        connection, request = self.stream.connection, self.request
        common: dict[str, Any] | None = connection.common
        if common is None:
            common = connection.common = _common_scope(connection, self._http.options.root_path)
        scope = common.copy()
        extensions: dict[str, Any] = scope["extensions"]
        if request.was_forwarded:
            ends = self._http.forwarding.ends_of(connection.client, connection.scheme, request)
            scope["client"], scope["scheme"] = ends
        raw_path = request.path
        if scope["root_path"]:
            raw_path = self._http.root_path.mounted(raw_path)
        scope["asgi"] = _VERSION.copy()
        if request.version != "1.1":
            scope["http_version"] = request.version
        if request.method != "GET":
            scope["method"] = request.method
        scope["path"] = (unquoted(raw_path) if ESCAPE in raw_path else raw_path).decode("utf-8", "replace")
        scope["raw_path"] = raw_path
        if request.query:
            scope["query_string"] = request.query
        scope["headers"] = request.headers
        scope["state"] = self._state.copy()
        scope["extensions"] = extensions.copy()
        return scope


async def _failed(error: BaseException) -> None:
    """Raise an error where it is awaited."""
    raise error


def _common_scope(connection: Carrier, root_path: str) -> dict[str, Any]:
    """Return what the scope of every request on a connection holds, and of most; its copies have room for what is set then."""
    extensions = _EXTENSIONS
    tls = connection.transport.get_extra_info("ssl_object") if connection.encrypted else None
    if tls is not None:
        from arun.apps.asgi.tls import tls_extension

        extensions = {**extensions, "tls": tls_extension(tls)}
    return {
        "type": "http",
        "asgi": None,
        "http_version": "1.1",
        "method": "GET",
        "path": None,
        "raw_path": None,
        "query_string": b"",
        "headers": None,
        "state": None,
        "scheme": connection.scheme,
        "root_path": root_path,
        "client": connection.client,
        "server": connection.server,
        "extensions": extensions,
    }
