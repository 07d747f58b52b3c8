"""What all connections of an app share, from its start-up to its shut-down, whatever kind the app is."""

from __future__ import annotations

import asyncio

from runner.apps.engines.error_log import ErrorLog
from runner.apps.engines.h1_engine.exchange import ClientDisconnected
from runner.apps.engines.h1_engine.protocol import Connection
from runner.apps.engines.h1_engine.records import Records
from runner.apps.engines.proxies import TrustedPeers, scheme

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.apps.engines.h1_engine.exchange import Exchange
    from runner.apps.engines.h1_engine.request import Request
    from runner.apps.engines.options import Options

__all__ = ("H1Engine",)

#: Seconds that cancelled requests get to end before they are left behind.
_CANCELLED = 0.5
_LOOPBACK = ("127.", "::1", "::ffff:127.")


class H1Engine:
    """Connections of one app and the requests that run on them; subclasses know how the app is called."""

    #: Whether a request's call can be cancelled, so that it makes sense to wait for its end.
    cancellable = True

    def __init__(self, options: Options) -> None:
        self.options = options
        self.connections: set[Connection] = set()
        self.running: set[Exchange] = set()
        self.stopping = False
        self._aborted = False
        self._quiet = asyncio.Event()
        self._trusted = TrustedPeers(options.trusted)
        records = options.access is not None or options.request_id_header is not None
        #: What is kept of requests beside their answers; None where nothing is.
        self.records: Records | None = Records(self) if records else None
        self._errors = ErrorLog(options.on_error)
        self._root = options.root_path.rstrip("/").encode()

    def exchange(self, connection: Connection, request: Request) -> Exchange:
        """Make the exchange that calls the app for a request."""
        raise NotImplementedError

    async def start(self) -> Callable[[], asyncio.BaseProtocol]:
        """Run the app's start-up; see :class:`runner.apps.engines.contract.Engine`."""
        self.loop = asyncio.get_running_loop()
        await self._start_app()
        return lambda: Connection(self)

    async def stop(self, grace: float) -> None:
        """Answer what has begun within ``grace`` seconds, cut the rest, then shut the app down within as many."""
        self.stopping = True
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
        self._aborted = self.stopping = True
        for connection in tuple(self.connections):
            connection.abort()
        for exchange in tuple(self.running):
            exchange.cancel()
        self._quiet.set()

    # ---- what connections and exchanges say

    def left(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        self._look()

    def done(self, exchange: Exchange) -> None:
        """Forget a request whose call of the app has ended."""
        self.running.discard(exchange)
        self._look()

    def failed(self, exchange: Exchange, exc: BaseException | None) -> None:
        """End an exchange whose app raised, or (None) returned without a complete answer."""
        if self._is_quiet(exchange, exc):
            exchange.fail()
            return
        from runner.apps.tracebacks import app_traceback

        def told() -> str:
            return app_traceback(exc) if exc else "the app returned without a complete answer\n"

        request, peer = exchange.request, exchange.connection.client
        client = self.forwarded(peer, request)[0]
        self._errors.failed(
            request.method,
            request.target,
            client=client[0] if client else None,
            request_id=exchange.request_id,
            traceback=told,
        )
        if self.options.debug and peer and peer[0].startswith(_LOOPBACK) and not request.forwarded_for:
            exchange.fail(told().encode("utf-8", "backslashreplace"))
        else:
            exchange.fail()

    def forwarded(self, client: tuple[str, int] | None, request: Request) -> tuple[tuple[str, int] | None, str]:
        """Return client and scheme of a request as a trusted proxy tells them, else as they are."""
        said = "http"
        if self.trusts(client):
            if request.forwarded_proto is not None:
                said = scheme(request.forwarded_proto.decode("latin-1")) or said
            if request.forwarded_for is not None:
                host = self._trusted.client(request.forwarded_for.decode("latin-1"))
                client = (host, 0) if host else client
        return client, said

    def trusts(self, client: tuple[str, int] | None) -> bool:
        """Say whether what this peer says of a request is believed."""
        return self._trusted.trusts(client[0] if client else None)

    def mounted(self, path: bytes) -> bytes:
        """Return the path below ``root_path``, whether the proxy in front takes that prefix away or not."""
        root = self._root
        if not root or path == root or path.startswith(root + b"/"):
            return path
        return root + path

    # ---- inner life

    async def _start_app(self) -> None:
        """Run what the app does before its first request."""

    async def _stop_app(self, grace: float) -> None:
        """Run what the app does after its last request."""

    def _look(self) -> None:
        if self.stopping and not (self.connections or self.running):
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
        cause: BaseException | None = exc
        while cause is not None:
            if isinstance(cause, ClientDisconnected):
                return True
            cause = cause.__cause__ or cause.__context__
        return False
