"""A WSGI app that is called in a thread of a pool.

The thread hands the response over and goes on: what a slow client does not take waits in a temporary file. The thread waits
for its client only where that has no more room.
"""

from __future__ import annotations

import asyncio
from _queue import SimpleQueue  # not from queue: gevent puts its own there
from contextvars import Context
from functools import partial

from arun.apps.wsgi.application import WsgiApplication
from arun.apps.wsgi.exchange import Absence, WsgiExchange, close_body
from arun.apps.wsgi.pool import ThreadPool
from arun.apps.wsgi.spool import Backlog, Room
from arun.core.exits import end_if_forked
from arun.core.failures import printable
from arun.core.genuine import allocate_lock, get_ident, perf_counter
from arun.http.errors import ClientDisconnected
from arun.system.tracebacks import thread_stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from io import BufferedIOBase
    from typing import Any, Final

    from arun.http.exchange import Stream
    from arun.http.file_part import FilePart
    from arun.http.request import Request
    from arun.http.server import HttpServer

__all__ = ("ThreadExchange", "ThreadedApplication", "TimedExchange")

#: Bytes that a thread hands over before it waits until they are with the transport.
_AHEAD: Final = 262_144
#: How far a response is: something is missing, all of it is handed over, and the call has ended after that.
_OPEN: Final = 0
_WHOLE: Final = 1
_ENDED: Final = 2
#: Held while a head is decided on: by the app, or by the server in its place.
_deciding: Final = allocate_lock()


class ThreadedApplication(WsgiApplication):
    """A WSGI app in the threads of a pool; fulfils :class:`arun.http.server.Application`."""

    #: Nothing ends a call in a thread; but it leaves the loop free.
    cancellable = False
    interruptible = True
    pool: ThreadPool

    async def start(self, http: HttpServer) -> None:
        """Make the pool; its threads start with the requests."""
        await super().start(http)
        options = http.options
        self.pool = ThreadPool(options.threads, options.limit_queue)
        self._room = Room(options.limit_response_buffer)
        self._timed = options.timeout_request > 0

    async def stop(self, grace: float) -> None:  # noqa: ARG002 - WSGI has no shut-down of its own
        """Let the threads end."""
        for _ in range(2):  # what was cancelled has something to close in a thread
            await asyncio.sleep(0)
        self.pool.close()

    def exchange(self, stream: Stream, request: Request) -> ThreadExchange:
        """Return the exchange of one request."""
        return TimedExchange(stream, request, self) if self._timed else ThreadExchange(stream, request, self)

    def backlog(self) -> Backlog | None:
        """Return what keeps a response for a slow client; None if there is no room for that."""
        if not self._room.limit:
            return None
        try:
            return Backlog(self._room)
        except (OSError, ImportError):
            return None  # then the thread waits for its client


class ThreadExchange(WsgiExchange):
    """A request whose app is called in a thread; one side writes each attribute, or waits for the other."""

    __slots__ = (
        "_ahead",
        "_asked",
        "_backlog",
        "_context",
        "_input",
        "_last",
        "_problem",
        "_raised",
        "_replies",
        "_stage",
        "_threaded",
    )

    def __init__(self, stream: Stream, request: Request, application: ThreadedApplication) -> None:
        WsgiExchange.__init__(self, stream, request, application)
        #: The application again: a compiled class cannot declare an inherited attribute anew.
        self._threaded = application
        #: Bytes handed over since the loop was last waited for.
        self._ahead = 0
        #: Why the last piece could not be sent.
        self._problem: BaseException | None = None
        self._replies: SimpleQueue[None] | None = None
        #: What the client has not taken yet; None until it is slow, and where there is no room for it.
        self._backlog: Backlog | None = None
        #: The thread waits until all that it has handed over is with the transport.
        self._asked = False
        self._stage = _OPEN
        #: What the call has left to send, and what it raised.
        self._last: bytes | None = None
        self._raised: BaseException | None = None
        self._input: BufferedIOBase | None = None
        #: The context variables of this request: none, as in a new thread. What was called before left its own.
        self._context: Context

    # ---- in the loop's thread

    def _call_app(self, request_body: BufferedIOBase) -> None:
        self._input = request_body
        if not self._threaded.pool.run(self._call):
            try:
                self.decline()
            finally:
                self._finish(None, None)

    def _write(self, data: bytes, more: bool) -> None:  # noqa: FBT001 - a loop's callback
        if self.answered or self._problem is not None:
            return  # nothing may follow a piece that is lost
        try:
            self.stream.send(self, data, more)
        except BaseException as exc:  # noqa: BLE001 - the thread sees it at its next piece
            self._problem = exc

    def _confirm(self) -> None:
        """Let the thread go on, if there is room for what it produces next."""
        if self.stream.write_paused and not self.answered:
            if self._backlog is None:
                self._backlog = self._threaded.backlog()
            if self._backlog is None:
                self._wait_for_client()
                return
        self._reply()

    def _wait_for_client(self) -> None:
        """Let the thread go on when the client has taken what it was sent."""
        self._asked = True
        self._pump()

    def _write_last(self) -> None:
        self._stage = _WHOLE
        self._pump()

    def _pump(self) -> None:
        """Hand the backlog to the transport as fast as the client takes it, then go on with what waits for that."""
        backlog = self._backlog
        while not self.answered:
            if backlog is not None and not backlog.is_empty:
                if self.stream.write_paused:
                    self._waits_for = self._pump
                    return
                try:
                    self._write(backlog.take(), True)
                except OSError as exc:
                    self._problem = exc
                    break
            elif self._asked and self.stream.write_paused:
                self._waits_for = self._pump
                return
            else:
                break
        if self._stage and self._problem is None:
            self._write(b"", False)
        if self._asked:
            self._asked = False
            self._reply()
        if self._stage == _ENDED:
            self._close_backlog()
            raised = self._problem or self._raised
            self._problem = self._raised = None
            self._finish(None, raised)

    def _close_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.close()

    def _reply(self) -> None:
        if self._replies is not None:
            self._replies.put(None)

    def _end(self) -> None:
        last, raised, problem = self._last, self._raised, self._problem
        self._last = self._raised = self._problem = None  # a traceback may refer to us
        if self._backlog is None:
            self._finish(last, raised or problem)
        elif self._stage and problem is None and not self.answered:
            # The client has still to take the backlog, and the app has nothing to do with it.
            self._stage, self._raised = _ENDED, raised
            self.application.http.done(self)
        else:
            self._close_backlog()
            self._finish(last, raised or problem)

    def _file_sent(self, raised: BaseException | None) -> None:
        if not self._threaded.pool.run(lambda: self._context.run(self._close_file, raised), ahead=True):
            self._raised = self._context.run(close_body, self._body, raised)
            self._end()

    # ---- in a thread of the pool

    def _call(self) -> bool:
        """Call the app and hand its response over; return whether the thread is one too many now, and ends."""
        if self.record is not None:
            self.taken = perf_counter()
        self._context = context = Context()
        part = context.run(self._respond)
        # The context is left before: the end of a file enters it in another thread. The loop closes the file, unless it is
        # closed itself, and the process about to end.
        self._post(self._end if part is None else partial(self._send_file, part))
        return False

    def _respond(self) -> FilePart | None:
        """Call the app and send its response, all but its end; return what the loop is to send, if that is a file."""
        part: FilePart | None = None
        request_body, self._input = self._input, None  # what the app holds of it goes with its call
        try:
            if self.abandoned:
                raise ClientDisconnected("the client has gone")  # noqa: TRY301 - nothing would be read of its response
            body = self.application.app(self._environ(request_body), self.start_response)
            if type(body) is list or type(body) is tuple:
                self._last = b"".join(body)  # all of it is there: one piece, with its length
                self._check_started()
            elif (part := self._part_of(body)) is not None:
                self._body = body
            else:
                self._raised = close_body(body, self._send_all(body))
        except BaseException as exc:  # noqa: BLE001 - SystemExit in one request is no reason to end the thread
            end_if_forked(exc)  # here: the thread of the loop is not in it
            self._last, self._raised = None, exc  # until the end takes it
        return part

    def _close_file(self, raised: BaseException | None) -> None:
        self._raised = close_body(self._body, raised)
        self._post(self._end)

    def _send_all(self, body: Iterable[Any]) -> BaseException | None:
        """Send piece by piece, and return what was raised."""
        try:
            left = Absence()
            for piece in body:
                if piece:
                    self._send(piece)
                    left.end()
                else:
                    left.look(self)
            self._check_started()
            self._post(self._write_last)
        except BaseException as exc:  # noqa: BLE001 - the body has to be closed first
            return exc
        return None

    def _send(self, data: Any) -> None:
        if type(data) is not bytes:
            data = b"".join((data,))  # a copy of what is like bytes; a TypeError for the rest
        if self._problem is not None:
            raise self._problem
        if self.abandoned:
            raise ClientDisconnected("the client has gone")
        self._check_started()
        self._sent = True
        if self._backlog is not None and self._keep(self._backlog, data):
            return
        self._post(partial(self._write, data, True))
        self._ahead += len(data)
        if self._ahead > _AHEAD or self.stream.write_paused:
            self._ahead = 0
            self._ask(self._confirm)

    def _keep(self, backlog: Backlog, data: bytes) -> bool:
        """Keep a piece for a client that is slow; return False if it can be handed over, as nothing waits before it."""
        was_empty = backlog.is_empty
        if was_empty and not self.stream.write_paused:
            return False
        if backlog.append(data):
            if was_empty:
                self._post(self._pump)
            return True
        self._ask(self._wait_for_client)
        return False

    def _ask(self, question: Callable[[], None]) -> None:
        """Call a question in the loop's thread, and wait for its reply."""
        replies = self._replies
        if replies is None:
            replies = self._replies = SimpleQueue()
        if not self._post(question):
            raise ClientDisconnected("the server has stopped")
        replies.get()

    def _post(self, what: Callable[[], None]) -> bool:
        """Have something done in the loop's thread; return False if the loop is closed, as this call outlived a stop."""
        return self.application.calls.post(what)


class TimedExchange(ThreadExchange):
    """A request whose time is limited: it keeps in which thread the app is called, and from when on."""

    __slots__ = ("_thread_id",)

    def __init__(self, stream: Stream, request: Request, application: ThreadedApplication) -> None:
        ThreadExchange.__init__(self, stream, request, application)
        #: The thread that calls the app; 0 before and after.
        self._thread_id = 0

    def works(self) -> bool:
        """Return whether the app is being called: the time in the queue is not its own, nor that in which it waits."""
        return self._thread_id != 0 and (self.abandoned or not (self._asked or self.answered))

    def start_response(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Take status and header fields; see :class:`WsgiExchange`.

        Raises:
            ClientDisconnected: the server has responded in the app's place.
        """
        with _deciding:  # the loop's thread may be about to do that
            if self.abandoned:
                raise ClientDisconnected("the request took too long")
            return WsgiExchange.start_response(self, status, headers, exc_info)

    def stack(self) -> str:
        """Return where the thread is."""
        return thread_stack(self._thread_id)

    def time_out(self) -> None:
        """Respond in the place of the app, and give its thread up: nothing can end what it does."""
        with _deciding:
            super().time_out()
        application, request, thread = self._threaded, self.request, self._thread_id
        options = application.http.options
        application.http.done(self)
        if not thread:
            return  # it has just returned
        what = f"{request.method} {printable(request.target.decode('latin-1'))}"
        place = (
            "another one has its place"
            if application.pool.give_up(thread)
            else "as many are already, and none has its place"
        )
        options.thread_lost(
            f"a thread is lost to {what}, which takes longer than {options.timeout_request:g} s; {place}"
        )

    def _call(self) -> bool:
        self._thread_id = get_ident()
        super()._call()
        self._thread_id = 0
        return self._threaded.pool.was_given_up()
