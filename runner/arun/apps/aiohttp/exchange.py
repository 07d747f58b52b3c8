"""One request of an aiohttp app: aiohttp's Request, handler and Response on our connection, in one task."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.web_protocol import PayloadAccessError

from arun.apps.aiohttp.body import Body, NoBody
from arun.apps.aiohttp.departures import BodyRefused, ConnectionLost
from arun.apps.aiohttp.protocol import Protocol
from arun.apps.aiohttp.writer import SWITCHING, Writer
from arun.core.exits import end_if_forked
from arun.core.loopback import asked_from_this_machine
from arun.http.exchange import Exchange
from arun.system.tracebacks import app_traceback, coroutine_stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from aiohttp.streams import StreamReader

    from arun.apps.aiohttp.serving import Serving
    from arun.http.exchange import Stream
    from arun.http.request import Request

__all__ = ("AiohttpExchange",)

#: What a reader that is full counts as: more than a connection lets wait.
_FULL = 1 << 62
_NOTHING = object()
_TITLE = "500 Internal Server Error"
_TROUBLE = "Server got itself in trouble"


class AiohttpExchange(Writer):
    """A request that is answered by one task, which runs an aiohttp app.

    To the reader of its body it is what aiohttp's protocol is: something that can pause and resume.
    """

    __slots__ = ("_body", "_call", "_task")

    def __init__(self, stream: Stream, request: Request, serving: Serving) -> None:
        Writer.__init__(self, stream, request, serving)
        self._task: asyncio.Task[None] | None = None
        #: What of the app is awaited; the task does not show it where it is compiled.
        self._call: Any = None
        self._body: Body | None = None

    def start(self) -> None:
        """Run the app in a task."""
        self._task = self.serving.http.task(self._run())

    def cancel(self) -> None:
        """Cancel the app's task."""
        if self._task is not None:
            self._task.cancel()

    def stack(self) -> str:
        """Return where the task waits."""
        return "" if self._call is None else coroutine_stack(self._call)

    def works(self) -> bool:
        """Return whether the app has this request in hand; a websocket takes the time that it takes."""
        return (self.abandoned or not self.switched) and Exchange.works(self)

    def changed(self) -> None:
        """Look again: the body is complete, the client has gone, or writing goes on."""
        if self._body is not None and self.received:
            self._complete_body(self._body)
        if self.abandoned:
            self._leave()
        elif self.stream.half_closed and self.serving.args.handler_cancellation and not self.answered:
            self.stream.reset(self)  # to such an app, a client that has closed its side is gone
        if self._waiters:
            Exchange.changed(self)

    # ---- the request's body

    @property
    def connected(self) -> bool:
        """Whether more of the body can come: its reader asks before it waits."""
        return not self.abandoned

    @property
    def _reading_paused(self) -> bool:
        return self.buffered > 0

    def feed(self, data: bytes) -> None:
        """Hand a piece of the body to its reader.

        Raises:
            ContentEncodingError: it cannot be decoded.
            BodyRefused: it is longer than it may be, once decoded.
        """
        body = self._reader()
        self.expecting = False
        body.take(data)
        if 0 < self.serving.http.options.limit_request_body < body.total_bytes:
            self.stream.end_body(self, 413)
            raise BodyRefused("the body is longer than it may be")

    def end_chunk(self) -> None:
        """Tell the reader where a chunk of the body ends."""
        if not self.answered and self._body is not None:
            self._body.end_http_chunk_receiving()

    def await_body(self) -> None:
        """Note that the app waits for more of the body."""
        if not self.expecting:
            self.expecting = True
            self.stream.await_body()

    def pause_reading(self) -> None:
        """Let the client wait: the reader holds as much as it may."""
        self.buffered = _FULL

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - aiohttp's signature
        """Let the client send more."""
        if self.buffered:
            self.buffered = 0
            if self._body is not None:
                self._decode(self._body)
            self.stream.resume()

    def _reader(self) -> Body:
        body = self._body
        if body is None:
            args, coding = self.serving.args, b""
            if args.auto_decompress:
                coding = b",".join(value for name, value in self.request.headers if name == b"content-encoding")
            body = Body(self, args.read_bufsize, coding.decode("latin-1").lower(), self.serving.loop)
            self._body = body
            if self.request.length is None:
                body.begin_http_chunk_receiving()
            if self.abandoned:
                self._break(body)
        return body

    def _complete_body(self, body: Body) -> None:
        if not (body.is_eof() or self.answered):
            try:
                body.complete()
            except ContentEncodingError:
                self.stream.end_body(self, 400)

    def _decode(self, body: Body) -> None:
        try:
            body.decode()
        except ContentEncodingError:
            self.stream.end_body(self, 400)

    def _leave(self) -> None:
        """Tell the app that nothing more comes from its client."""
        protocol = self.stream.connection.common
        if protocol is not None and self.stream.closing and not self.switched:
            protocol.transport = None
        if self._body is not None and self._body.exception() is None and not self._body.is_eof():
            self._break(self._body)
        if self.serving.args.handler_cancellation:
            self.cancel()

    def _break(self, body: Body) -> None:
        gone = self.stream.eof
        body.set_exception(ConnectionLost("Connection lost") if gone else BodyRefused("the rest of it is refused"))

    def _end_body(self, body: Body) -> None:
        """Close the reader of a body whose request has its response; wait for the rest no longer than lingering takes."""
        self._body = None
        if (failure := body.exception()) is not None:
            failure.__traceback__ = None  # its frames hold what was read, and what waits in them holds the exception
        body.set_exception(PayloadAccessError())
        if not self.received and not self.stream.closing:
            serving = self.serving
            serving.loop.call_later(serving.args.lingering_time, self.stream.end_body, self, 408)

    # ---- another protocol

    @property
    def protocol(self) -> Protocol:
        """What requests of this connection have for their protocol."""
        connection = self.stream.connection
        protocol: Protocol | None = connection.common
        if protocol is None:
            serving = self.serving
            protocol = connection.common = Protocol(serving.http, connection, keep_alive=serving.args.tcp_keepalive)
        return protocol

    def switch(self, head: bytes) -> None:
        """Answer 101 and leave the connection to the protocol that follows."""
        protocol, write_paused = self.protocol, self.stream.write_paused
        _, received = self.stream.connection.hand_over()
        self.head_sent = self.answered = self.switched = True
        protocol.take_over(self, head, received, write_paused=write_paused)

    def write_raw(self, data: bytes) -> None:
        """Send bytes of another protocol.

        Raises:
            ConnectionLost: the client has gone.
        """
        transport = self.protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionLost("Cannot write to closing transport")
        transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough that more may be written.

        Raises:
            ConnectionLost: the client has gone.
        """
        if self.switched:
            await self.protocol.drain()
        else:
            await Writer.drain(self)

    # ---- the app

    async def _run(self) -> None:  # noqa: C901 - the hot path: a call for each step is felt
        serving, stream = self.serving, self.stream
        response: Any = _NOTHING
        instead: web.Response | None = None
        started = 0.0 if serving.access_log is None else serving.loop.time()
        has_body = self._body is not None or not self.received
        payload = self._payload() if has_body else NoBody()
        protocol = stream.connection.common or self.protocol
        message = protocol.messages.message(
            self.request, has_body and payload is self._body and self.request.length is None
        )
        request = serving.make_request(message, payload, protocol, self, self._task)
        if self.request.was_forwarded:
            request = self._forwarded(request)
        try:
            try:
                try:
                    self._call = serving.handler(request)
                    response = await self._call
                except web.HTTPException as exc:
                    response = exc
                if not (serving.plain and type(response) is web.Response and self.send_plain(response)):
                    self._call = response.prepare(request)
                    await self._call
                    await response.write_eof()
            except BaseException as exc:  # noqa: BLE001 - whatever it is, the client has its response
                response = instead = self._failed(request, exc, response)
            if instead is not None:
                await instead.prepare(request)
                await instead.write_eof()
            if serving.access_log is not None and response is not None:
                serving.log_access(request, response, serving.loop.time() - started)
            if not self.answered:
                serving.http.failed(self, None)
        except BaseException as exc:  # noqa: BLE001 - SystemExit in one request is no reason to end the process
            serving.http.failed(self, exc)
        finally:
            if self._body is not None:
                request._finish()  # noqa: SLF001 - see names; it closes the files of a form
                self._end_body(self._body)
            if self.switched:
                self.protocol.close()
                if self.record is not None:
                    self.record.end(self, SWITCHING)
            serving.http.done(self)

    def _payload(self) -> StreamReader:
        """Return what reads the body of the request."""
        if not self.request.framing:
            nothing: StreamReader = NoBody()
            return nothing
        body = self._reader()
        if self.received:
            self._complete_body(body)
        return body

    def _forwarded(self, request: web.BaseRequest) -> web.BaseRequest:
        """Return the request of a client behind a proxy, as far as that one is trusted."""
        stream = self.stream
        client, scheme = self.serving.http.forwarding.ends_of(
            stream.connection.client, stream.connection.scheme, self.request
        )
        return request.clone(scheme=scheme, remote=client[0]) if client else request.clone(scheme=scheme)

    def _failed(self, request: web.BaseRequest, exc: BaseException, response: object) -> web.Response | None:
        """Return the response to a request whose handler, or whose response, raised; None if there can be none."""
        end_if_forked(exc)
        serving, stream = self.serving, self.stream
        if serving.http.is_departure(self, exc):
            if not self.answered:
                stream.reset(self)
            return None
        exc = _reason(exc, response)
        serving.report(self, exc)
        if self.head_sent or self.answered:
            if not self.answered:
                stream.reset(self)
            return None
        self.drop_head()
        client = stream.connection.client
        if isinstance(exc, TimeoutError):
            instead = web.Response(status=504)  # as aiohttp has it
        elif serving.http.options.debug and asked_from_this_machine(
            client[0] if client else None, self.request.headers
        ):
            instead = web.Response(status=500, text=app_traceback(exc))
        else:
            instead = _error_page(html="text/html" in request.headers.get("Accept", ""))
        instead.force_close()
        return instead


def _reason(exc: BaseException, response: object) -> BaseException:
    """Return what an operator is shown of a response that raised: that it is none, if so."""
    if response is _NOTHING or isinstance(response, web.StreamResponse):
        return exc
    given = "nothing" if response is None else repr(response)
    return TypeError(f"a handler returned {given} where aiohttp asks for a web.StreamResponse")


def _error_page(*, html: bool) -> web.Response:
    """Return the response of aiohttp's own server to a request whose handler raised."""
    if not html:
        return web.Response(status=500, text=f"{_TITLE}\n\n{_TROUBLE}")
    page = f"<html><head><title>{_TITLE}</title></head><body>\n<h1>{_TITLE}</h1>\n{_TROUBLE}\n</body></html>\n"
    return web.Response(status=500, text=page, content_type="text/html")
