"""What all connections of an app share, from its start-up to its shut-down, whatever kind the app is."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import copy_context

from arun.core.exits import end_if_forked
from arun.core.loopback import asked_from_this_machine
from arun.http.error_log import ErrorLog
from arun.http.exchange import ClientDisconnected
from arun.http.fields import own_fields
from arun.http.forwarded import TrustedPeers, scheme
from arun.http.http1.connection import Connection
from arun.http.targets import unquoted
from arun.system.tracebacks import app_traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arun.http.endpoints import Endpoints
    from arun.http.exchange import Exchange
    from arun.http.options import Options
    from arun.http.request import Request
    from arun.http.request_log import Records
    from arun.http.request_time import RequestTimes
    from arun.http.websocket.connection import WebsocketConnection

__all__ = ("H1Engine",)

#: Seconds that cancelled requests get to end before they are left behind.
_CANCELLED = 0.5
#: More than there ever will be.
_MANY = 1 << 62


class H1Engine:
    """Connections of one app and the requests that run on them; subclasses know how the app is called.

    With more than 30 attributes, those of a subclass included, CPython looks up each of them more slowly, for every request.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.connections: set[Connection | WebsocketConnection] = set()
        #: Requests whose call of the app has begun and not ended.
        self.running: set[Exchange] = set()
        self.stopping = False
        #: A stop is near: connections are asked to go, and none is refused.
        self.draining = False
        #: Whoever goes now may be the last one, and websockets do not stay.
        self.retiring = False
        #: Requests that have begun, those that were declined among them.
        self.requests = 0
        #: No connection is kept for a further request.
        self.closes_idle = not options.keep_alive > 0
        #: The time of the last look at the connections, in the loop's seconds; it moves while there are any.
        self.now = 0.0
        #: The fields of every answer that are the server's own.
        self.own_fields = b""
        limits = options.limits
        #: A head with no more bytes and fields than these exceeds no limit; the first answer that is the last one.
        self.small_head = min(limits.request_head, limits.request_line or _MANY, limits.request_field_size or _MANY)
        self.few_fields = limits.request_fields or _MANY
        self.last_answer = limits.keep_alive_requests or _MANY
        self._concurrency = limits.concurrency
        self._interval = _interval(options)
        self._watching: asyncio.TimerHandle | None = None
        self._aborted = False
        self._quiet = asyncio.Event()
        self._trusted = TrustedPeers(options.trusted)
        #: What is kept of requests beside their answers; None where nothing is.
        self.records: Records | None = None
        if options.access is not None or options.request_id_header is not None:
            from arun.http.request_log import Records

            self.records = Records(self)
        #: The time limit of requests; None where there is none, or nothing that could be done when it is over.
        self._times: RequestTimes[Exchange] | None = None
        if limits.request_timeout > 0 and self.interruptible:
            from arun.http.request_time import RequestTimes

            self._times = RequestTimes(limits.request_timeout)
        self._errors = ErrorLog(options.on_error)
        root = quoted_root = options.root_path.encode()
        if root:
            from urllib.parse import quote

            quoted_root = quote(options.root_path, safe="/!$&'()*+,:;=@~").encode()
        #: The root path as bytes, and in the escapes in which a client would have sent it.
        self._roots = root, quoted_root

    @property
    def cancellable(self) -> bool:
        """Whether a request's call can be cancelled, so that it makes sense to wait for its end."""
        return True

    @property
    def interruptible(self) -> bool:
        """Whether the loop can do something else while the app has a request in hand."""
        return True

    def takes_over(self, request: Request) -> bool:  # noqa: ARG002 - a subclass looks at it
        """Say whether the exchange of an upgrade request may take its connection over."""
        return False

    def exchange(self, connection: Connection, request: Request) -> Exchange:
        """Make the exchange that calls the app for a request."""
        raise NotImplementedError

    async def start(self) -> Callable[..., asyncio.BaseProtocol]:
        """Run the app's start-up; see :class:`arun.http.contract.Engine`."""
        self.loop = asyncio.get_running_loop()
        #: The context variables that every request begins with, in a copy of its own.
        self.context = copy_context()
        await self._start_app()
        return self._connection

    def _connection(self, endpoints: Endpoints | None = None) -> Connection:
        connection = Connection(self)
        if endpoints is not None:
            connection.endpoints = endpoints
        return connection

    def drain(self) -> None:
        """Ask every client to come back on another connection: a stop is near. New ones are still served."""
        self.draining = self.closes_idle = True

    async def quiet(self, seconds: float) -> None:
        """Wait ``seconds`` at most until every connection, and every call of the app, has ended by itself."""
        self.retiring = True
        for connection in tuple(self.connections):
            if not isinstance(connection, Connection):
                connection.retire()
        await self._until_quiet(seconds)

    async def stop(self, grace: float) -> None:
        """Answer what has begun within ``grace`` seconds, cut the rest, then shut the app down within as many."""
        self.stopping = self.retiring = self.closes_idle = True
        self.draining = False
        # What lies in the sockets' buffers has begun: let the loop read it before idle connections are closed.
        for _ in range(3):
            await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.retire()
        await self._until_quiet(grace)
        for connection in tuple(self.connections):
            connection.abort()
        for exchange in tuple(self.running):
            exchange.cancel()
        if self.cancellable:
            await self._until_quiet(_CANCELLED)
        await self._stop_app(0 if self._aborted else grace)

    def abort(self) -> None:
        """Cut every connection and cancel every request now."""
        self._aborted = self.stopping = self.retiring = True
        for connection in tuple(self.connections):
            connection.abort()
        for exchange in tuple(self.running):
            exchange.cancel()
        self._quiet.set()

    # ---- what connections and exchanges say

    def joined(self, connection: Connection | WebsocketConnection) -> None:
        """Know a new connection, and watch over it."""
        if self._watching is None:
            self._look_at_clock()
            self._watching = self.loop.call_later(self._interval, self._watch)
        connection.since = self.now
        self.connections.add(connection)

    def begin(self, exchange: Exchange) -> None:
        """Let an exchange call the app, or decline it where as many run as may (RFC 9110 section 15.6.4)."""
        self.requests += 1
        if 0 < self._concurrency <= len(self.running):
            exchange.decline()
        else:
            exchange.start()

    def left(self, connection: Connection | WebsocketConnection) -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        self._look()

    def done(self, exchange: Exchange) -> None:
        """Forget a request whose call of the app has ended."""
        self.running.discard(exchange)
        if self.retiring:
            self._look()

    def failed(self, exchange: Exchange, exc: BaseException | None) -> None:
        """End an exchange whose app raised, or (None) returned without a complete answer."""
        if exc is not None:
            end_if_forked(exc)
        if self._is_quiet(exchange, exc):
            if exchange.connection.half_closed and not exchange.answered:
                exchange.connection.cut(exchange)  # it was told that the client is going, and gave up
            else:
                exchange.fail()
            return

        def told() -> str:
            return app_traceback(exc) if exc else "the app returned without a complete answer\n"

        peer = exchange.connection.client
        if self.options.debug and asked_from_this_machine(peer[0] if peer else None, exchange.request.headers):
            exchange.fail(told().encode("utf-8", "backslashreplace"))
        else:
            exchange.fail()
        self._tell(exchange, told)  # last: whatever becomes of it, the client has its answer

    def forwarded(self, connection: Connection, request: Request) -> tuple[tuple[str, int] | None, str]:
        """Return client and scheme of a request as a trusted proxy tells them, else as they are."""
        client, said = connection.client, connection.scheme
        if not self._trusted.trusts(client[0] if client else None):
            return client, said
        if self.options.forwarded_header == "forwarded":
            host, proto = self._trusted.forwarded((request.forwarded or b"").decode("latin-1"))
        else:
            host = self._trusted.client((request.forwarded_for or b"").decode("latin-1"))
            proto = scheme((request.forwarded_proto or b"").decode("latin-1"))
        return (host, 0) if host else client, proto or said

    def trusts(self, client: tuple[str, int] | None) -> bool:
        """Say whether what this peer says of a request is believed."""
        return self._trusted.trusts(client[0] if client else None)

    def mounted(self, path: bytes) -> bytes:
        """Return the path below ``root_path``, whether the proxy in front takes that prefix away or not."""
        root, quoted_root = self._roots
        if not root or not path.startswith(b"/"):
            return path
        plain = unquoted(path)
        return path if plain == root or plain.startswith(root + b"/") else quoted_root + path

    # ---- inner life

    def _tell(self, exchange: Exchange, told: Callable[[], str], how: str = "failed") -> None:
        request, client = exchange.request, exchange.connection.client
        if request.was_forwarded:
            with contextlib.suppress(ImportError, OSError):  # a module is needed for that, and may not be there
                client = self.forwarded(exchange.connection, request)[0]
        self._errors.failed(
            request.method,
            request.target,
            client=client[0] if client else None,
            request_id=exchange.record.request_id if exchange.record else None,
            traceback=told,
            how=how,
        )

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
        """End the requests whose time is over; an app that will not hear of it is told again at each look."""
        for exchange, told in times.look(self.now, self.running, lambda one: one.works()):
            if not told:
                how = f"took longer than {self.options.limits.request_timeout:g} s"
                self._tell(exchange, exchange.stack, how)
                exchange.time_out()
            exchange.cancel()

    def _look_at_clock(self) -> None:
        self.now = self.loop.time()
        self.own_fields = own_fields(self.options.server_header, self.options.date_header)

    async def _start_app(self) -> None:
        """Run what the app does before its first request."""

    async def _stop_app(self, grace: float) -> None:
        """Run what the app does after its last request."""

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

    def _is_quiet(self, exchange: Exchange, exc: BaseException | None) -> bool:
        """Say whether an end is none of the app's faults: nobody was there any more, or we cancelled it."""
        if exc is None:
            return exchange.abandoned
        if isinstance(exc, asyncio.CancelledError):
            return self.stopping or exchange.abandoned
        return _comes_of_departure(exc, set())


def _comes_of_departure(error: BaseException | None, seen: set[int]) -> bool:
    """Tell whether the client's departure is behind an exception, or behind each one of a task group's.

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


def _interval(options: Options) -> float:
    """Seconds between two looks at the connections: a fraction of the shortest time-out, half a second at most."""
    limits = options.limits
    times = (
        options.keep_alive,
        limits.header_timeout,
        limits.body_timeout,
        limits.write_timeout,
        limits.request_timeout,
        limits.rate_grace,
    )
    return max(0.01, min(0.5, *(seconds / 4 for seconds in times if seconds > 0)))
