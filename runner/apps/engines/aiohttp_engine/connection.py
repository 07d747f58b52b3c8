"""One connection: aiohttp's protocol with what it lacks, time-outs, limits and an end that a client can tell."""

from __future__ import annotations

from contextlib import suppress
from sys import byteorder

from aiohttp import web
from aiohttp.hdrs import CONNECTION, HOST
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import ERROR, _ErrInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from runner.apps.engines.aiohttp_engine.answers import Answer
from runner.apps.engines.aiohttp_engine.intake import Intake
from runner.apps.engines.aiohttp_engine.records import failing
from runner.apps.engines.aiohttp_engine.refusals import RequestRefused, answer, status_of
from runner.apps.engines.targets import split_target
from runner.apps.engines.unsent import unsent

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aiohttp.streams import StreamReader

    from runner.apps.engines.aiohttp_engine.guard import Guard
    from runner.apps.engines.endpoints import Endpoints

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

__all__ = ("GuardedConnection",)

#: Seconds a client has to read the answer and stop sending before its connection is closed (RFC 9112 section 9.6).
LINGER = 1.0
#: Seconds that a client is waited for which has closed its side, and has been answered.
_AT_ONCE = 0.001
#: struct linger: on, 0 seconds.
_RESET = (1).to_bytes(4, byteorder) + bytes(4)
#: The request that a refusal answers; aiohttp's own is of HTTP/1.0 and has no fields to ask.
_REFUSED = RawRequestMessage(
    ERROR.method,
    ERROR.path,
    HttpVersion11,
    CIMultiDictProxy(CIMultiDict()),
    (),
    True,
    None,
    False,
    False,
    ERROR.url,
)


class GuardedConnection(web.RequestHandler):
    """A client's connection; what it serves and how stays aiohttp's."""

    __slots__ = ("_eof", "_intake", "_linger", "_served", "_since", "_socket_end", "_waited_for", "guard")

    def __init__(self, guard: Guard, server: web.Server, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, lingering_time=LINGER, **options)
        self.guard = guard
        self._intake = Intake(self, self._parser, guard.limits)
        self._parser = self._intake  # type: ignore[assignment] # it stands in the parser's place
        self._request_factory = self._make_request
        self._eof = False
        self._linger: asyncio.TimerHandle | None = None
        self._served = 0
        #: The transport, which aiohttp lets go of while it may still have bytes to send.
        self._socket_end: asyncio.Transport | None = None
        #: What the client keeps us waiting for, and since when, in the loop's seconds.
        self._waited_for: tuple[str, int] | None = None
        self._since = 0.0

    def situate(self, endpoints: Endpoints) -> None:
        """Take the ends of the connection from a gate; it is asked for them instead of the socket."""
        # aiohttp asks its transport once and keeps the answer here; of the last one only the truth is looked at.
        self._cache["peername"] = endpoints.client
        self._cache["sockname"] = endpoints.server
        self._cache["ssl_context"] = endpoints.scheme == "https"

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it if there are as many as may be."""
        super().connection_made(transport)
        self._socket_end = self.transport
        if not self.guard.welcome():
            self.refuse(503)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything."""
        if self._linger is not None:
            self._linger.cancel()
        self._socket_end = None
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp lets the transport close
        """Keep the writing side open while there is something to answer."""
        self._eof = True
        transport = self.transport
        if self._force_close or self._upgraded or transport is None or not transport.can_write_eof():
            return False
        intake = self._intake
        if intake.body is not None:
            intake.break_body(400)
        elif not (self._messages or intake.rest):
            self._close = True  # whatever is answered now is the last
        return not self._is_idle

    def resume_writing(self) -> None:
        """Let the app write again: the client has taken something."""
        self._waited_for = None
        super().resume_writing()

    # ---- requests and answers

    @property
    def is_last(self) -> bool:
        """Whether no request is served on this connection after the one whose answer begins."""
        guard, intake = self.guard, self._intake
        if guard.draining or 0 < guard.limits.keep_alive_requests <= self._served:
            return True
        if intake.body is not None and intake.expected:
            return True  # whether the body still comes, nobody knows
        if not (guard.closes_idle or self._eof or intake.refused):
            return False
        return not (self._messages or intake.rest)

    def refuse(self, status: int) -> None:
        """Refuse what the client sends, after the answers that it still gets."""
        self._intake.refused = True
        self._intake.head = 0
        self._request_count += 1
        self._messages.append((_ErrInfo(status, RequestRefused(code=status), ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that is refused, or whose handler raised.

        Raises:
            ConnectionError: an answer has begun and is cut, or nobody is there to read it.
        """
        if isinstance(exc, ConnectionError) and (self.transport is None or self.transport.is_closing()):
            raise exc  # the client is gone, and the app has noticed
        failing.set(request)
        begun: Answer = request._payload_writer  # type: ignore[assignment] # noqa: SLF001 - of _make_request
        if begun.output_size:
            self._cut(begun)
        else:  # what a response that was given up has left in its writer must not frame this one
            request._payload_writer = fresh = Answer(self, self._loop)  # noqa: SLF001
            fresh.is_head = request.method == "HEAD"
        if refused := status_of(exc):
            if begun.output_size:
                raise ConnectionError("a refused request is answered in part")
            return answer(refused)
        return super().handle_error(request, status, exc, message)

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Handler
    ) -> tuple[web.StreamResponse, bool]:
        """Answer a request to the end, and see to it that the next answer can begin behind it.

        No request ends the process: what would is told as an error of its handler.
        """
        handle = super()._handle_request
        try:
            resp, gone = await handle(request, start_time, request_handler)
        except ConnectionError:
            raise  # of handle_error
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as exc:
            failure = RuntimeError(f"a handler raised {type(exc).__name__}")
            failure.__cause__ = exc
            resp, gone = await handle(request, start_time, self._make_error_handler(_ErrInfo(500, failure, "")))
        except Exception as exc:  # noqa: BLE001 - the answer's fault, and the app's to be told
            resp, gone = await handle(request, start_time, self._make_error_handler(_ErrInfo(500, exc, "")))
        written: Answer = request._payload_writer  # type: ignore[assignment] # noqa: SLF001 - of _make_request
        if gone or self._force_close:
            return resp, gone
        if written.length and written.missing and (written.measured or not isinstance(resp, web.FileResponse)):
            self._cut(written)
            return resp, True
        if written.is_last:
            resp.force_close()
        intake = self._intake
        if intake.unread:
            if not resp.keep_alive or (intake.refused and not self._messages):
                self.linger()
            intake.discard_body()
        return resp, gone

    def linger(self) -> None:
        """Close when all is sent; what the client still sends is dropped, lest it loses the answer."""
        self._force_close = True
        transport = self.transport
        if transport is None:
            return
        if self._eof or not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        self._resume_transport_reading()
        self._linger = self._loop.call_later(LINGER, transport.close)

    def _make_request(
        self, message: RawRequestMessage, payload: StreamReader, _own: object, writer: Any, task: asyncio.Task[None]
    ) -> web.BaseRequest:
        """Make a request as aiohttp would, with its writer guarded."""
        self._served += 1
        if message is ERROR:
            message = _REFUSED
        elif message.version is not HttpVersion11 or message.path[0] != "/" or (message.upgrade and message.chunked):
            message = _corrected(message)
        manager = self._manager
        if manager is None:
            raise ConnectionError("the client is gone")
        writer.__class__ = Answer  # a second object would cost each request more than all that is judged of it
        if message.method == "HEAD":
            writer.is_head = True
        return manager.request_factory(message, payload, self, writer, task)

    def _cut(self, begun: Answer) -> None:
        """End the connection in the middle of an answer, in a way that does not look like the answer's end."""
        self._force_close = True
        if begun.ends_with_connection:
            self.reset()
        elif self.transport is not None:
            self.transport.close()

    # ---- what the guard says

    @property
    def _is_idle(self) -> bool:
        return not self._messages and self._waiter is not None and not self._waiter.done()

    def sweep(self, now: float) -> None:
        """Close or cut the connection if its client has kept us waiting for longer than it may."""
        waited_for, limit = self._look()
        if waited_for is None or waited_for != self._waited_for:
            self._waited_for, self._since = waited_for, now
        elif 0 < limit <= now - self._since:
            self._waited_for = None
            self._end_wait(waited_for[0])

    def reset(self) -> None:
        """Cut the connection now, with a reset: a plain end could pass for the end of an answer."""
        from socket import AF_UNIX, SHUT_RDWR, SO_LINGER, SOL_SOCKET

        self._force_close = True
        transport = self._socket_end
        if transport is None:
            return
        own = transport.get_extra_info("socket")
        if own is not None and own.family != AF_UNIX:
            own.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        if getattr(transport, "_empty_waiter", None) is not None:
            with suppress(OSError):
                own.shutdown(SHUT_RDWR)  # asyncio's sendfile hears of an error only, and of no other end
        else:
            transport.abort()

    def _look(self) -> tuple[tuple[str, int] | None, float]:
        """Return what the client keeps us waiting for, and for how many seconds it may; None while the app works."""
        transport, limits, intake = self._socket_end, self.guard.limits, self._intake
        if transport is None:
            return None, 0
        if (self._request_in_progress or transport.get_write_buffer_size()) and (left := unsent(transport)):
            return ("take", left), limits.write_timeout
        if self._force_close or self._upgraded or self._reading_paused or self._buffer_paused:
            return None, 0
        if intake.head:
            return ("head", self._request_count), limits.header_timeout
        if intake.body is not None and intake.body._waiter is not None and self._request_in_progress:  # noqa: SLF001
            return ("body", intake.received), limits.body_timeout
        if self._is_idle:
            limit = _AT_ONCE if self._eof else self.guard.idle_limit(self._request_count)
            return ("request", self._request_count), limit
        return None, 0

    def _end_wait(self, waited_for: str) -> None:
        if waited_for == "take":
            self.reset()
        elif waited_for == "head":
            self.refuse(408)
        elif waited_for == "body":
            self._intake.break_body(408)
        else:
            self.force_close()

    def _process_keepalive(self) -> None:
        """Leave idle connections to :meth:`sweep`, which knows whether the next request has begun."""
        self._keepalive_handle = None


def _corrected(message: RawRequestMessage) -> RawRequestMessage:
    """Return a message of an odd kind as RFC 9112 has it, where aiohttp's parser does not.

    The authority of a URL replaces Host (section 3.2.2), and its path is "/" at least; "close" counts in HTTP/1.0 too
    (section 9.3).
    """
    authority = split_target(message.path.encode("utf-8", "surrogateescape"))[2]
    if authority is not None:
        headers = CIMultiDict(message.headers)
        headers[HOST] = authority.decode()
        target = message.url
        url = URL.build(path=target.raw_path, query_string=target.raw_query_string, encoded=True)
        message = message._replace(headers=CIMultiDictProxy(headers), url=url)
    said = ",".join(message.headers.getall(CONNECTION, ())).lower()
    # Behind an upgrade with chunks the parser takes what follows for the other protocol's, and loses it.
    if (message.upgrade and message.chunked) or "close" in (word.strip() for word in said.split(",")):
        message = message._replace(should_close=True)
    return message
