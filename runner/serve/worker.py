"""One worker: starts an engine, hands it the listeners, and stops it in order. It never exits the process."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.apps.engines.contract import Engine
    from runner.system.process import StopSignals

    ProtocolFactory = Callable[[], asyncio.BaseProtocol]

__all__ = ("Work", "serve")

#: Seconds that the app's shut-down may take beyond the grace for requests, before the worker goes without it.
_SHUTDOWN_MARGIN = 2.0
#: Turns of the loop until a connection that it has just accepted is known to the engine; asyncio takes four.
_ACCEPT_TURNS = 8


class Work(Value):
    """What a worker needs: an engine, bound sockets (they stay the caller's), and whom to tell when it serves."""

    engine: Engine
    sockets: Sequence[socket.socket]
    backlog: int
    #: Seconds to go on accepting after a stop signal, and then for what has begun to end.
    drain_delay: float
    grace: float
    on_ready: Callable[[], None]


async def serve(work: Work, signals: StopSignals) -> None:
    """Serve until a stop signal comes: the first asks, the second forces.

    The sockets are closed, unless the process goes back to its first start: then their clients wait for that one.

    Raises:
        AppStartupFailed: from the engine.
        OSError: a socket cannot listen.
    """
    loop = asyncio.get_running_loop()
    stopping, forced = asyncio.Event(), asyncio.Event()

    def tell(count: int) -> None:
        loop.call_soon_threadsafe(stopping.set if count == 1 else forced.set)

    factory = await _unless_stopped(work.engine, signals, tell, stopping)
    if factory is None:
        return
    servers = [await _listen(loop, factory, listener, work.backlog) for listener in work.sockets]
    work.on_ready()
    await stopping.wait()
    if work.drain_delay and not signals.going_back:
        work.engine.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(forced.wait(), work.drain_delay)
    await _stop_accepting(loop, servers)
    if not signals.going_back or signals.count:
        await _accept_waiting(loop, factory, work.sockets)
    stop = asyncio.ensure_future(work.engine.stop(work.grace))
    force = asyncio.ensure_future(forced.wait())
    await asyncio.wait({stop, force}, timeout=work.grace + _SHUTDOWN_MARGIN, return_when=asyncio.FIRST_COMPLETED)
    force.cancel()
    if not stop.done():
        work.engine.abort()
        await asyncio.wait({stop}, timeout=_SHUTDOWN_MARGIN)
    if stop.done():
        stop.result()


async def _unless_stopped(
    engine: Engine, signals: StopSignals, tell: Callable[[int], None], stopping: asyncio.Event
) -> ProtocolFactory | None:
    """Start the engine; a stop signal cancels the app's start-up, and then there is nothing to serve."""
    start = asyncio.ensure_future(engine.start())
    stop = asyncio.ensure_future(stopping.wait())
    signals.tell(tell)
    try:
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        return start.result() if start.done() else None
    finally:
        stop.cancel()
        start.cancel()
        with contextlib.suppress(BaseException):
            await start


async def _listen(
    loop: asyncio.AbstractEventLoop, factory: ProtocolFactory, listener: socket.socket, backlog: int
) -> asyncio.Server:
    own = listener.dup()  # loops close the socket they are given, and this one may have to survive an exec
    if listener.family == socket.AF_UNIX:
        return await loop.create_unix_server(factory, sock=own, backlog=backlog)
    return await loop.create_server(factory, sock=own, backlog=backlog)


async def _stop_accepting(loop: asyncio.AbstractEventLoop, servers: Sequence[asyncio.Server]) -> None:
    """Close the servers, so that what they have accepted in the last moment is served.

    asyncio hands an accepted connection over a few turns later, and drops it without a word if its server is closed by
    then (Server._attach asserts that it is open). So the listeners are not read any more, then there are some turns.
    """
    for server in servers:
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())  # without effect on uvloop, which hands over at once
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)
    for server in servers:
        server.close()
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)


async def _accept_waiting(
    loop: asyncio.AbstractEventLoop, factory: ProtocolFactory, listeners: Sequence[socket.socket]
) -> None:
    """Take in the connections that wait in the backlog: closing a listening socket would reset them."""
    for listener in listeners:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            connection.setblocking(False)
            await loop.connect_accepted_socket(factory, connection)
        listener.close()
