"""One server's life: start the app, accept on the sockets, drain and stop in order. It never exits the process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

from arun.core.values import Value
from arun.listen import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from typing import Any

    from arun.core.counters import Counters
    from arun.http.server import HttpServer
    from arun.listen.certificates import LiveContext
    from arun.server.gate import Gate
    from arun.server.served_socket import ServedSocket
    from arun.system.stop_signals import StopSignals

    ProtocolFactory = Callable[..., asyncio.BaseProtocol]

__all__ = ("Server", "ServerEvents", "ServerOptions")

#: Seconds that the app's shut-down may take beyond the grace for requests, before the server goes without it.
_SHUTDOWN_MARGIN = 2.0
#: Turns of the loop until a connection that it has just accepted is registered; asyncio takes four.
_ACCEPT_TURNS = 8
#: Seconds between two looks at the signals, which a task of the app's may take at any time.
_LOOK = 1.0
#: Seconds that a connection gets at a stop for what comes before its first request.
_PASSING = 1.0
#: Seconds for a handshake that has begun at a listener which is given up: one that loses a packet sends it again after
#: one (RFC 6298 section 2).
_HANDSHAKE = 2.0
#: Seconds between two looks at such a listener of a server that retires.
_GLANCE = 0.05
#: Seconds between two tries to bind what is busy.
_RETRY = 1.0
#: asyncio would remove the file of a unix socket when it is closed, from Python 3.13 on; a successor may serve there.
_KEEPS_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class ServerOptions(Value):
    """The options of a server's life, by their names; times in seconds."""

    backlog: int = 2048
    #: To go on accepting after a stop signal, and then for what has begun to end.
    drain_delay: float = 0.0
    timeout_graceful_shutdown: float = 8.0
    #: In which clients are asked to reconnect before the process goes back to its primary config; no option.
    parting: float = 0.0


class ServerEvents:
    """What a server reports to its owner, in the loop's thread; each method returns at once."""

    def ready(self, server: Server) -> None:
        """The app has started, and the sockets are served."""

    def stopping(self) -> None:
        """A stop begins, or the server retires."""

    def thread_lost(self, text: str) -> None:
        """A thread is lost to a request of a WSGI app, as the sentence says."""

    def leaving(self) -> None:
        """The sockets that are given up are served for a last time."""

    def left(self) -> None:
        """They are closed."""

    def open_late(self) -> Sequence[ServedSocket] | None:
        """Return the sockets that could be bound since the last call, of addresses that were busy; None when none is left."""
        return None


class Server:
    """Serves one app on bound sockets, from its start-up to its shut-down.

    ``leaving`` are sockets that are given up for others: clients that wait there are still served. ``contexts`` are those of
    TLS, to be reread when their files change or at a SIGHUP.
    """

    def __init__(  # noqa: PLR0913 - the last two by name
        self,
        http: HttpServer,
        listeners: Sequence[ServedSocket],
        options: ServerOptions,
        events: ServerEvents,
        *,
        leaving: Sequence[ServedSocket] = (),
        contexts: Sequence[LiveContext] = (),
    ) -> None:
        self._http = http
        self._listeners = listeners
        self._options = options
        self._events = events
        self._leaving = leaving
        self._contexts = contexts
        self._stopping, self._forced, self._retiring = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def counters(self) -> Counters:
        """Return what is counted of requests so far; another thread may ask."""
        return self._http.counters()

    def retire(self) -> None:
        """Accept nothing more, and stop when all clients have gone by themselves."""
        self._retiring.set()

    def stop(self) -> None:
        """Stop, as a stop signal does."""
        self._stopping.set()

    async def serve(self, signals: StopSignals) -> None:
        """Serve until a stop signal comes, of which the first asks and the second forces, or until ``stop`` or ``retire``.

        A server that retires loses no request that was on its way on a kept connection. The sockets are closed, unless the
        process goes back to its primary config: then their clients wait for that one.

        Raises:
            StartupFailure(APP_STARTUP_FAILED): from the app.
            OSError: a socket cannot listen.
        """
        loop = asyncio.get_running_loop()

        def on_stop(count: int) -> None:
            loop.call_soon_threadsafe(self._stopping.set)
            if count > 1:
                loop.call_soon_threadsafe(self._forced.set)

        _keep_signals(signals)
        factory = await self._start(signals, on_stop)
        if factory is None:
            return
        signals.take_back()
        accepting = _Accepting(self._http, factory, self._options.backlog)
        await accepting.open(self._listeners)
        changes = [asyncio.ensure_future(self._open_late(accepting))]
        if self._leaving:
            changes.append(asyncio.ensure_future(self._leave(factory, signals)))
        with _renewed(self._contexts, signals):
            self._events.ready(self)
            await _first_of(self._stopping.wait(), self._retiring.wait())
            self._events.stopping()
            if self._stopping.is_set():
                await self._delay(signals)
        await _end(changes)
        await self._close(accepting, self._forced, signals, lingers=not self._stopping.is_set())
        if not self._stopping.is_set():
            self._http.drain()
            quiet = self._http.options.timeout_keep_alive + self._options.timeout_graceful_shutdown
            await _first_of(self._stopping.wait(), self._http.quiet(quiet))
        await self._stop()

    async def _start(self, signals: StopSignals, on_stop: Callable[[int], None]) -> ProtocolFactory | None:
        """Start the app; a stop signal cancels its start-up, and then there is nothing to serve."""
        start = asyncio.ensure_future(self._http.start())
        stop = asyncio.ensure_future(self._stopping.wait())
        signals.on_stop(on_stop)
        try:
            await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
            return start.result() if start.done() else None
        finally:
            stop.cancel()
            start.cancel()
            with contextlib.suppress(BaseException):
                await start

    async def _leave(self, factory: ProtocolFactory, signals: StopSignals) -> None:
        """Serve the clients that wait at the sockets that are given up, or whose handshake has begun; then close them."""
        accepting = _Accepting(self._http, factory, self._options.backlog)
        await accepting.open(self._leaving)
        self._events.leaving()
        try:
            await asyncio.sleep(_HANDSHAKE)
        finally:
            await self._close(accepting, asyncio.Event(), signals)
        self._events.left()

    async def _open_late(self, accepting: _Accepting) -> None:
        """Try again and again to bind what is busy, and serve it."""
        while True:
            await asyncio.sleep(_RETRY)
            late = self._events.open_late()
            if late is None:
                return
            await accepting.open(late)

    async def _delay(self, signals: StopSignals) -> None:
        """Go on for a moment, until proxies have noticed the stop.

        Before the process goes back to its primary config, kept connections are treated as well: a request that is on its way
        when an idle one is closed is lost, and clients of a fallback retry.
        """
        if signals.going_back:
            self._http.drain()
            await _first_of(self._forced.wait(), self._http.quiet(self._options.parting))
        elif self._options.drain_delay:
            self._http.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._forced.wait(), self._options.drain_delay)

    async def _close(
        self, accepting: _Accepting, forced: asyncio.Event, signals: StopSignals, *, lingers: bool = False
    ) -> None:
        """Stop accepting: waiting clients are taken in and the sockets closed, or both is left to a successor.

        With ``lingers``, handshakes that have begun at a socket which was given up for another one may end before that.
        """
        takes_in = not signals.going_back or bool(signals.count)
        await accepting.stop()
        if takes_in:
            await accepting.take_in()
            given_up = [one for one in accepting.served if sockets.is_deaf(one.socket)] if lingers else []
            until = asyncio.get_running_loop().time() + _HANDSHAKE
            while given_up and not forced.is_set() and asyncio.get_running_loop().time() < until:
                await asyncio.sleep(_GLANCE)
                await accepting.take_in(given_up)
        await accepting.pass_gates(forced, min(_PASSING, self._options.timeout_graceful_shutdown))
        if takes_in:
            for one in accepting.served:
                one.socket.close()

    async def _stop(self) -> None:
        """Let what has begun end, within the grace or until it is forced."""
        grace = self._options.timeout_graceful_shutdown
        stop = asyncio.ensure_future(self._http.stop(grace))
        force = asyncio.ensure_future(self._forced.wait())
        await asyncio.wait({stop, force}, timeout=grace + _SHUTDOWN_MARGIN, return_when=asyncio.FIRST_COMPLETED)
        force.cancel()
        if not stop.done():
            self._http.abort()
            await asyncio.wait({stop}, timeout=_SHUTDOWN_MARGIN)
        if stop.done():
            stop.result()


class _Accepting:
    """What accepts connections on some sockets: servers of the loop on plain ones, gates on the others."""

    def __init__(self, http: HttpServer, factory: ProtocolFactory, backlog: int) -> None:
        self._http = http
        self._factory = factory
        self._backlog = backlog
        self.served: list[ServedSocket] = []
        self._servers: list[asyncio.Server] = []
        self._gates: list[Gate] = []

    async def open(self, served: Sequence[ServedSocket]) -> None:
        """Accept on these sockets as well.

        Raises:
            OSError: a socket cannot listen.
        """
        self.served.extend(served)
        for one in served:
            if one.is_plain:
                self._servers.append(await self._listen(one.socket))
        for one in served:
            if not one.is_plain:
                from arun.server.gate import Gate

                one.socket.listen(self._backlog)
                gate = Gate(one, self._http.options, self._factory)
                self._gates.append(gate)
                gate.open()

    async def stop(self) -> None:
        """Accept no more, so that what was accepted in the last moment is served.

        asyncio hands an accepted connection over a few turns later, and drops it silently if its server is closed by
        then (Server._attach asserts that it is open). So the listeners are not read any more, then there are some turns.
        """
        for gate in self._gates:
            gate.close()
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())  # without effect on uvloop, which hands over at once
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)

    async def take_in(self, served: Sequence[ServedSocket] | None = None) -> None:
        """Take in the connections that wait in the backlogs: closing a listening socket would reset them."""
        among = self.served if served is None else served
        listeners = {one.socket for one in among}
        for gate in self._gates:
            if gate.listener in listeners:
                gate.take_in()
        for one in among:
            while one.is_plain:
                try:
                    connection, _ = one.socket.accept()
                except OSError:
                    break
                connection.setblocking(False)
                await asyncio.get_running_loop().connect_accepted_socket(self._factory, connection)

    async def pass_gates(self, forced: asyncio.Event, seconds: float) -> None:
        """Let the connections at the gates through, or cut them, before the requests that are left are counted."""
        if not self._gates:
            return
        force = asyncio.ensure_future(forced.wait())
        drain = asyncio.gather(*(gate.drain(seconds) for gate in self._gates))
        await asyncio.wait((drain, force), return_when=asyncio.FIRST_COMPLETED)
        force.cancel()
        drain.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drain

    async def _listen(self, listener: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        own = listener.dup()  # loops close the socket they are given, and this one may have to survive an exec
        if listener.family == socket.AF_UNIX:
            return await loop.create_unix_server(self._factory, sock=own, backlog=self._backlog, **_KEEPS_FILE)
        return await loop.create_server(self._factory, sock=own, backlog=self._backlog)


def _keep_signals(signals: StopSignals) -> None:
    """Take the signals back from the app now, and again and again: its start-up may take long, and leave tasks."""
    signals.take_back()
    asyncio.get_running_loop().call_later(_LOOK, _keep_signals, signals)


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for the first to end, and cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    await asyncio.wait(tasks)


@contextlib.contextmanager
def _renewed(contexts: Sequence[LiveContext], signals: StopSignals) -> Iterator[None]:
    """Reread certificates when they change, or at a SIGHUP."""
    if not contexts:
        yield
        return
    from arun.listen.renewal import Renewal

    renewal = Renewal(contexts)
    signals.on_hangup(renewal.reread)
    try:
        yield
    finally:
        signals.on_hangup(None)
        renewal.stop()
