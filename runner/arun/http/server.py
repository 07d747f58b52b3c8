"""The HTTP server: the connections and requests of one app, whatever kind the app is, from its start-up to its shut-down."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import copy_context
from math import inf
from time import perf_counter

from arun.core.exits import end_if_forked
from arun.core.loopback import asked_from_this_machine
from arun.core.native import Protocol
from arun.http.errors import ClientDisconnected
from arun.http.fields import own_fields
from arun.http.forwarded import Forwarding
from arun.http.request import RootPath
from arun.http.request_log import ErrorLog
from arun.system.tracebacks import app_traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from arun.core.counters import Counters
    from arun.http.endpoints import Endpoints
    from arun.http.exchange import Exchange, Stream
    from arun.http.options import HttpOptions
    from arun.http.request import Request
    from arun.http.request_log import RequestLog
    from arun.http.request_time import RequestTimes

__all__ = ("Application", "Connection", "HttpServer")

#: Seconds that cancelled requests get to end before they are left behind.
_CANCELLED = 0.5
#: Requests that are named one by one in the log.
_TOLD = 10
#: Size of a block that is freed once at the start, untouched: glibc then takes blocks of that size from the heap, and keeps twice
#: as much of what is freed there, as it would after the first such body (mallopt(3), M_MMAP_THRESHOLD).
_BLOCK = 4_194_304
#: More than there ever will be.
_MANY = 1 << 62


class Application(Protocol):
    """One app of some kind: how it is started, called and stopped on the running loop."""

    @property
    def cancellable(self) -> bool:
        """Whether a call of the app can be cancelled, so that waiting for its end makes sense."""

    @property
    def interruptible(self) -> bool:
        """Whether the loop can do something else while the app works on a request."""

    async def start(self, http: HttpServer) -> None:
        """Run the app's own start-up; ``http`` is the server of all its requests.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): the start-up raised, reported a failure, or broke its protocol.
        """

    async def retire(self, grace: float) -> None:
        """End what would outlast a stop, within ``grace`` seconds; requests that have begun still get their responses."""

    async def stop(self, grace: float) -> None:
        """Run the app's own shut-down within ``grace`` seconds; no request is left."""

    def abort(self) -> None:
        """Cut the shut-down now, or what is left of the start-up."""

    def exchange(self, stream: Stream, request: Request) -> Exchange:
        """Return the exchange that calls the app for a request."""

    def takes_upgrade(self, request: Request) -> bool:
        """Return whether the exchange of an upgrade request may take its connection over."""


class Connection(Protocol):
    """One connection of a client, as the server sees it: the times of its client are its own affair."""

    #: When what the connection waits for began or last moved, in the coarse time of the server.
    since: float

    @property
    def is_endless(self) -> bool:
        """Whether the connection outlives its requests, as a websocket does: it has to be closed at a stop."""

    def retire(self) -> None:
        """Close, unless a request has begun; the last response closes it then."""

    def abort(self) -> None:
        """Cut the connection now."""

    def sweep(self, now: float) -> None:
        """Close or cut the connection if its client has kept it waiting for too long."""


class HttpServer:
    """The connections and requests of one app; ``protocol`` makes the connections.

    With more than 30 attributes, CPython looks up each of them more slowly, for every request.
    """

    def __init__(
        self,
        application: Application,
        options: HttpOptions,
        protocol: Callable[[HttpServer, Endpoints | None], asyncio.BaseProtocol],
    ) -> None:
        self.application = application
        self.options = options
        self._protocol = protocol
        self.connections: set[Connection] = set()
        #: Requests whose call of the app has begun and not ended.
        self.running: set[Exchange] = set()
        self.stopping = False
        #: A stop is near: clients are asked to reconnect elsewhere, and none is refused.
        self.draining = False
        #: No new connections come: the last one that ends is waited for, and websockets do not stay.
        self.retiring = False
        #: Requests that have begun, those that were declined among them; a websocket handshake is one, a refusal is none.
        self.requests = 0
        #: No connection is kept for a further request.
        self.closes_idle = not options.timeout_keep_alive > 0
        #: The time of the last look at the connections, in the loop's seconds; it moves while there are any.
        self.now = 0.0
        #: The fields of every response that are the server's own.
        self.own_fields = b""
        #: A head of no more bytes and fields exceeds no limit; the first response that is the last one of its connection.
        self.small_head = min(
            options.limit_request_head, options.limit_request_line or _MANY, options.limit_request_field_size or _MANY
        )
        self.few_fields = options.limit_request_fields or _MANY
        self.last_response = options.keep_alive_requests or _MANY
        self.forwarding = Forwarding(options.forwarded_allow_ips, options.forwarded_header)
        self.root_path = RootPath(options.root_path)
        self._concurrency = options.limit_concurrency
        self._interval = _interval(options)
        self._watching: asyncio.TimerHandle | None = None
        self._aborted = False
        self._quiet = asyncio.Event()
        #: Access log, ids and measures of requests, and when they began for those who debug; None where all are off.
        self.request_log: RequestLog | None = None
        if (
            options.access is not None
            or options.request_id_header is not None
            or options.measures
            or options.on_debug is not None
        ):
            from arun.http.request_log import RequestLog

            self.request_log = RequestLog(options, self.forwarding)
            if self.request_log.measures is not None:
                self._protocol = self.request_log.measures.counting(protocol)
        #: The time limit of requests; None where there is none, or the loop could do nothing when it is over.
        self._times: RequestTimes[Exchange] | None = None
        if options.timeout_request > 0 and application.interruptible:
            from arun.http.request_time import RequestTimes

            self._times = RequestTimes(options.timeout_request)
        self._errors = ErrorLog(options.on_error)

    async def start(self) -> Callable[..., asyncio.BaseProtocol]:
        """Run the app's start-up; return the protocol factory that serves it.

        The factory takes nothing, or ``endpoints=`` with what a gate knows of a connection that came through it.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): from the app.
        """
        self.loop = asyncio.get_running_loop()
        _keep_what_is_freed()
        #: The context variables that every request begins with, in a copy of its own.
        self.context = copy_context()
        await self.application.start(self)
        return self.connection

    def connection(self, endpoints: Endpoints | None = None) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection."""
        return self._protocol(self, endpoints)

    def counters(self) -> Counters:
        """Return what is counted so far; another thread may ask."""
        from arun.core.counters import Counters  # a process that is never asked does without it

        measures = None if self.request_log is None else self.request_log.measures
        return Counters(
            self.requests, len(self.running), len(self.connections), None if measures is None else measures.now()
        )

    def drain(self) -> None:
        """Ask every client to reconnect elsewhere: a stop is near. New connections are still served."""
        self.draining = self.closes_idle = True

    async def quiet(self, seconds: float) -> None:
        """Wait ``seconds`` at most until every connection, and every call of the app, has ended by itself.

        The listeners are closed, and ``drain`` was called. No request is cut: a kept connection ends with its next response,
        or when it was idle for as long as it may be. Websockets are closed with 1012 at once, and their clients reconnect.
        """
        self.retiring = True
        for connection in tuple(self.connections):
            if connection.is_endless:
                connection.retire()
        await self._until_quiet(seconds)

    async def stop(self, grace: float) -> None:
        """Answer what has begun within ``grace`` seconds, cut the rest, then shut the app down within as many.

        The listeners are closed already.
        """
        self.stopping = self.retiring = self.closes_idle = True
        self.draining = False
        # What lies in the sockets' buffers has begun: let the loop read it before idle connections are closed.
        for _ in range(3):
            await asyncio.sleep(0)
        for connection in tuple(self.connections):
            if not connection.is_endless:
                connection.retire()
        await self.application.retire(0 if self._aborted else grace)
        for connection in tuple(self.connections):
            if connection.is_endless:
                connection.retire()
        self._tell(f"the stop waits up to {grace:g} s for")
        await self._until_quiet(grace)
        self._tell("the stop cuts")
        for connection in tuple(self.connections):
            connection.abort()
        for exchange in tuple(self.running):
            exchange.cancel()
        if self.application.cancellable:
            await self._until_quiet(_CANCELLED)
        await self.application.stop(0 if self._aborted else grace)

    def abort(self) -> None:
        """Cut every connection and cancel every request now, so that a running ``stop`` has nothing to wait for."""
        self._aborted = self.stopping = self.retiring = True
        for connection in tuple(self.connections):
            connection.abort()
        for exchange in tuple(self.running):
            exchange.cancel()
        self._quiet.set()
        self.application.abort()

    # ---- called by connections

    def joined(self, connection: Connection) -> None:
        """Register a new connection, and watch it."""
        if self._watching is None:
            self._look_at_clock()
            self._watching = self.loop.call_later(self._interval, self._watch)
        connection.since = self.now
        self.connections.add(connection)

    def left(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        self._look()

    def run(self, exchange: Exchange) -> None:
        """Let an exchange call the app, or decline it beyond the limit of requests (RFC 9110 section 15.6.4)."""
        self.requests += 1
        if 0 < self._concurrency <= len(self.running):
            exchange.decline()
        else:
            self.running.add(exchange)
            exchange.start()

    # ---- called by exchanges

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the app's work on a request in a task and with context variables of its own: another request may be what calls."""
        loop = self.loop
        if loop.get_task_factory() is None:  # a given name saves what asyncio would format, for every request
            return asyncio.Task(work, loop=loop, name="request", context=self.context.copy())
        return loop.create_task(work, context=self.context.copy())

    def done(self, exchange: Exchange) -> None:
        """Forget a request whose call of the app has ended."""
        self.running.discard(exchange)
        if self.retiring:
            self._look()

    def failed(self, exchange: Exchange, exc: BaseException | None) -> None:
        """End an exchange whose app raised, or (None) returned without a complete response."""
        if exc is not None:
            end_if_forked(exc)
        stream = exchange.stream
        if self.is_departure(exchange, exc):
            if stream.half_closed and not exchange.answered:
                stream.reset(exchange)  # the app knew that the client is going, and gave up
            else:
                exchange.fail()
            return

        def traceback() -> str:
            return app_traceback(exc) if exc else "the app returned without a complete answer\n"

        peer = stream.connection.client
        if self.options.debug and asked_from_this_machine(peer[0] if peer else None, exchange.request.headers):
            exchange.fail(traceback().encode("utf-8", "backslashreplace"))
        else:
            exchange.fail()
        self.report(exchange, traceback)  # last: whatever becomes of it, the client has its response

    def is_departure(self, exchange: Exchange, exc: BaseException | None) -> bool:
        """Return whether an end is no fault of the app: its client has gone, or we cancelled it."""
        if exc is None:
            return exchange.abandoned
        if isinstance(exc, asyncio.CancelledError):
            return self.stopping or exchange.abandoned
        return _comes_of_departure(exc, set())

    def report(self, exchange: Exchange, traceback: Callable[[], str], how: str = "failed") -> None:
        """Write the frame of a request that failed to the error log."""
        request, stream = exchange.request, exchange.stream
        client = stream.connection.client
        if request.was_forwarded:
            with contextlib.suppress(ImportError, OSError):  # it imports a module, whose file may be away
                client = self.forwarding.ends_of(client, stream.connection.scheme, request)[0]
        self._errors.failed(
            request.method,
            request.target,
            client=client[0] if client else None,
            request_id=exchange.record.request_id if exchange.record else None,
            traceback=traceback,
            how=how,
        )

    # ---- inner life

    def _watch(self) -> None:
        """Look at every connection, and again a little later while there are any.

        One clock for all of them: a timer for each would cost more than the requests that it watches.
        """
        # The next look first, as this one may fail.
        self._watching = watching = self.loop.call_later(self._interval, self._watch)
        self._look_at_clock()
        for connection in tuple(self.connections):
            connection.sweep(self.now)
        times = self._times
        if times is not None:
            self._keep_times(times)
        if not (self.connections or (times is not None and self.running)):
            watching.cancel()
            self._watching = None

    def _keep_times(self, times: RequestTimes[Exchange]) -> None:
        """End the requests whose time is over; an app that suppresses its cancellation is cancelled at each look."""
        for exchange, again in times.look(self.now, self.running, lambda one: one.works()):
            if not again:
                how = f"took longer than {self.options.timeout_request:g} s"
                self.report(exchange, exchange.stack, how)
                exchange.time_out()
            exchange.cancel()

    def _tell(self, what: str) -> None:
        """Write to the debug log which requests and connections are left, if any."""
        if self.options.on_debug is None or not (self.running or self.connections):
            return
        running = sorted(self.running, key=_began)  # the oldest first
        named = [_named(one) for one in running[:_TOLD]] + ["..."] * (len(running) > _TOLD)
        counts = f"{_counted(len(running), 'request')} on {_counted(len(self.connections), 'connection')}"
        self.options.on_debug(f"{what} {counts}" + (f": {', '.join(named)}" if named else ""))

    def _look_at_clock(self) -> None:
        self.now = self.loop.time()
        self.own_fields = own_fields(self.options.server_header, self.options.date_header)

    def _look(self) -> None:
        if self.retiring and not (self.connections or self.running):
            self._quiet.set()

    async def _until_quiet(self, seconds: float) -> None:
        self._quiet.clear()  # it may have been quiet for a moment, before the last connection was made
        self._look()
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        except TimeoutError:
            pass


def _keep_what_is_freed() -> None:
    """Let the allocator keep what bodies leave: given back, each page of the next ones would be a fault, the greater part of their cost."""
    bytes(_BLOCK)


def _began(exchange: Exchange) -> float:
    """Return when a request began; those without a record, which debugging makes of all, are the last."""
    return inf if exchange.record is None else exchange.started_at


def _named(exchange: Exchange) -> str:
    request, seconds = exchange.request, perf_counter() - _began(exchange)
    return f"{request.method} {request.target.decode('latin-1')}" + (f" ({seconds:.1f} s)" if seconds > 0 else "")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _comes_of_departure(error: BaseException | None, seen: set[int]) -> bool:
    """Return whether the client's departure is behind an exception, or behind each one of a task group's.

    ``seen`` are the exceptions on the way to it: causes that an app sets may form a circle.
    """
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ClientDisconnected):
            return True
        if isinstance(error, BaseExceptionGroup) and all(
            _comes_of_departure(member, set(seen)) for member in error.exceptions
        ):
            return True  # ``except*`` puts what an app raises there into a group of its own, before Python 3.11.4
        error = error.__cause__ or error.__context__
    return False


def _interval(options: HttpOptions) -> float:
    """Return the seconds between two looks at the connections: a fraction of the shortest time, half a second at most."""
    times = (
        options.timeout_keep_alive,
        options.timeout_header,
        options.timeout_body,
        options.timeout_write,
        options.timeout_request,
        options.rate_grace,
    )
    return max(0.01, min(0.5, *(seconds / 4 for seconds in times if seconds > 0)))
