"""The requests of a connection, each in a task of its own: from the message to the end of its answer.

aiohttp gives each connection a task that starts another one for every request and waits for it. Here the message
starts the task and the end of its answer the next one: a third of the turns of the loop, and every end in one place.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _PAYLOAD_ACCESS_ERROR, MAX_MSG_QUEUE_SIZE, _ErrInfo

from arun.apps.aiohttp.answers import Answer
from arun.apps.aiohttp.ends import Ends
from arun.apps.aiohttp.intake import Intake
from arun.apps.aiohttp.messages import corrected, refused_head
from arun.apps.aiohttp.records import failing
from arun.apps.aiohttp.refusals import RequestRefused, answer, status_of
from arun.core.exits import end_if_forked
from arun.core.loopback import asked_from_this_machine
from arun.system.tracebacks import app_traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aiohttp.http import WebSocketReader
    from aiohttp.streams import StreamReader

    from arun.apps.aiohttp.guard import Guard

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

__all__ = ("Exchanges",)


class Exchanges(Ends):
    """aiohttp's protocol, of which the parser, the request and the response serve, and the loop does not."""

    __slots__ = ("_intake", "_served", "began", "guard", "request")

    def __init__(self, guard: Guard, server: web.Server, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self.guard = guard
        self._intake = Intake(self, self._parser, guard.limits)
        self._parser = self._intake  # type: ignore[assignment] # it stands in the parser's place
        #: Requests that were taken up.
        self._served = 0
        #: The request that is being answered, and where there is an access log, when it began; in the loop's seconds.
        self.request: web.BaseRequest | None = None
        self.began: float | None = None

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, and begin with its first request if none is being answered."""
        if self._force_close or self._close:
            if self._current_request is not None and self._intake.body is not None:
                self._intake.feed_data(data)  # a stop waits for its handler, which waits for the rest of a body
            return
        if self._upgraded or self._payload_parser is not None:
            super().data_received(data)  # of another protocol
            return
        messages, upgraded, tail = self._intake.feed_data(data)
        if upgraded:
            self._upgraded, self._message_tail = True, tail
        if messages:
            self._request_count += len(messages)
            self._messages.extend(messages)
            if not self._buffer_paused and len(self._messages) >= MAX_MSG_QUEUE_SIZE:
                self._pause_reading_for_buffer()
            if not self._request_in_progress:
                self._begin()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of what the client has sent; a handler that runs on has its own request."""
        super().connection_lost(exc)
        self._intake.let_go()
        self._messages.clear()

    def set_parser(self, parser: WebSocketReader, data_received_cb: Callable[[], None] | None = None) -> None:
        """Go over to another protocol, unless no websocket may stay any more."""
        super().set_parser(parser, data_received_cb)
        if self.guard.retiring:
            self.close_websocket()

    def refuse(self, status: int) -> None:
        """Refuse what the client sends, after the answers that it still gets."""
        self._intake.refused = True
        self._intake.head = 0
        self._request_count += 1
        self._messages.append((_ErrInfo(status, RequestRefused(status), ""), EMPTY_PAYLOAD))
        if not self._request_in_progress:
            self._begin()

    # ---- one request

    def _begin(self) -> None:
        """Answer the oldest message, in a task and with context variables of its own.

        They are never those of who calls: a handler that lets its client go on sending may be among them.
        """
        self._request_in_progress = True
        self._task_handler = self._loop.create_task(self._serve(), context=self.guard.context.copy())

    async def _serve(self) -> None:  # noqa: C901, PLR0912 - every end of a request, in one place
        keeps, payload = False, EMPTY_PAYLOAD
        try:
            request, payload, handler = self._take()
            keeps = await self._answer(request, handler)
            if keeps and payload is not EMPTY_PAYLOAD:
                if not payload.is_eof():
                    keeps = await self._drop(payload)
                payload.set_exception(_PAYLOAD_ACCESS_ERROR)
                if self._upgraded:
                    self._settle_upgrade()  # its body came after the answer
        except asyncio.CancelledError:
            self.force_close()
            raise
        except ConnectionError:
            keeps = False  # the answer is cut, or nobody is there to read it
        except Exception as exc:  # noqa: BLE001 - whatever it is, it costs no more than this connection
            keeps = False
            self.log_exception("Unhandled exception", exc_info=exc)
        finally:
            self.request = None  # an idle connection needs none of it
            if payload is not EMPTY_PAYLOAD:
                _forget_frames(payload)
            self._task_handler = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        if self._force_close:
            return
        if not keeps or self._close:
            if self.transport is not None:
                self.transport.close()
        elif self._messages:
            self._begin()

    def _take(self) -> tuple[web.BaseRequest, StreamReader, Handler]:
        """Take up the oldest message, as a request and with what answers it.

        Raises:
            ConnectionError: the client has left since it came.
        """
        manager, handler = self._manager, self._request_handler
        if manager is None or handler is None:
            raise ConnectionError("the client has left")
        message, payload = self._messages.popleft()
        self._intake.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        self._served += 1
        if isinstance(message, _ErrInfo):
            handler = self._make_error_handler(message)
            message = refused_head(message.exc)
        else:
            manager.requests_count += 1
            if message.version is not HttpVersion11 or message.path[0] != "/" or (message.upgrade and message.chunked):
                message = corrected(message)
        writer = Answer(self, self._loop)
        if message.method == "HEAD":
            writer.is_head = True
        task: asyncio.Task[None] = self._task_handler  # type: ignore[assignment] # of _begin
        self.request = request = manager.request_factory(message, payload, self, writer, task)
        return request, payload, handler

    async def _answer(self, request: web.BaseRequest, handler: Handler) -> bool:
        """Answer a request to the end; return whether the next answer can begin behind it.

        No request ends the process: what would is told as an error of its handler.

        Raises:
            ConnectionError: the answer is cut, or nobody is there to read it.
        """
        self.began = began = self._loop.time() if self._logging_enabled else None
        self._current_request = request
        try:
            resp = await handler(request)
        except web.HTTPException as exc:
            resp = exc
        except asyncio.CancelledError:
            raise
        except TimeoutError:
            resp = self.handle_error(request, 504)  # as aiohttp has it
        except BaseException as exc:  # noqa: BLE001 - the app's, and told
            end_if_forked(exc)
            resp = self._failed(request, exc)
        finally:
            self._current_request = None
        request._finish()  # noqa: SLF001 - aiohttp's server calls it, and nothing else does
        if self._upgraded:
            self._settle_upgrade()
        try:
            try:
                await resp.prepare(request)
                await resp.write_eof()
            except (ConnectionError, asyncio.CancelledError):
                raise
            except BaseException as exc:  # noqa: BLE001 - the answer's fault, and the app's to be told
                resp = self._failed(request, _reason(exc, resp))
                await resp.prepare(request)
                await resp.write_eof()
        except ConnectionError:
            self.log_access(request, resp, began)
            return False
        if self._logging_enabled:
            self.log_access(request, resp, began)
        return self._ended(request, resp)

    def _ended(self, request: web.BaseRequest, resp: web.StreamResponse) -> bool:
        """See to it that the next answer can begin behind this one; return whether it can."""
        if self._force_close:
            return False
        written: Answer = request._payload_writer  # type: ignore[assignment] # noqa: SLF001 - of _serve
        if written.length and written.missing and (written.measured or not isinstance(resp, web.FileResponse)):
            self._cut(written)
            return False
        if written.is_last:
            resp.force_close()
        keeps = bool(resp.keep_alive)
        intake = self._intake
        if intake.unread:
            if not keeps or (intake.refused and not self._messages):
                self.linger()
            intake.discard_body()
        return keeps

    async def _drop(self, payload: StreamReader) -> bool:
        """Let the rest of a body go by that nobody has read; return False if the client takes too long over it."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof():
                    await payload.readany()
        except (TimeoutError, web.RequestPayloadError):
            return False
        return True

    def _settle_upgrade(self) -> None:
        """Take up again what came behind a request for another protocol, unless the app has gone over to that."""
        if self._messages or self._payload_parser is not None:
            return
        tail, self._message_tail = self._message_tail, b""
        self._upgraded = False
        self._intake.set_upgraded(False)
        if tail:
            self.data_received(tail)
        if self._buffer_paused:
            self._resume_reading_if_drained()

    # ---- failures

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
        begun: Answer = request._payload_writer  # type: ignore[assignment] # noqa: SLF001 - of _serve
        if begun.output_size:
            self._cut(begun)
        else:  # what a response that was given up has left in its writer must not frame this one
            request._payload_writer = fresh = Answer(self, self._loop)  # noqa: SLF001
            fresh.is_head, fresh.told = request.method == "HEAD", begun.told
        if refused := status_of(exc):
            if begun.output_size:
                raise ConnectionError("a refused request is answered in part")
            return answer(refused)
        response = super().handle_error(request, status, exc, message)
        if exc is not None and self.guard.debug and self._asked_from_this_machine(request):
            response = web.Response(status=status, text=app_traceback(exc))
            response.force_close()
        return response

    def _asked_from_this_machine(self, request: web.BaseRequest) -> bool:
        peer = self.peername
        fields = [(name.lower(), value) for name, value in request.raw_headers]
        return asked_from_this_machine(peer[0] if isinstance(peer, tuple) else None, fields)

    def _failed(self, request: web.BaseRequest, exc: BaseException) -> web.StreamResponse:
        """Return the answer to a request whose handler, or whose answer, raised.

        Raises:
            ConnectionError: see :meth:`handle_error`.
        """
        if isinstance(exc, Exception):
            return self.handle_error(request, 500, exc)
        failure = RuntimeError(f"a handler raised {type(exc).__name__}")
        failure.__cause__ = exc
        return self.handle_error(request, 500, failure)


def _forget_frames(payload: StreamReader) -> None:
    """Let go of the frames in which a body's reader raised: they hold what was read, and it holds the exception."""
    failure = payload.exception()
    if failure is not None:
        failure.__traceback__ = None


def _reason(exc: BaseException, returned: object) -> BaseException:
    """Return what is told of an answer that raised: that it is none, if so."""
    if isinstance(returned, web.StreamResponse):
        return exc
    said = "nothing" if returned is None else repr(returned)
    return TypeError(f"a handler returned {said} where aiohttp asks for a web.StreamResponse")
