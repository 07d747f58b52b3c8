"""One worker: starts an engine, hands it the listeners, and stops it in order. It never exits the process."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runner.apps.engines.contract import Engine
    from runner.serve.gate import Gate, Rules
    from runner.system.certificates import LiveContext
    from runner.system.process import StopSignals

    ProtocolFactory = Callable[..., asyncio.BaseProtocol]

__all__ = ("Entrance", "Work", "serve")

#: Seconds that the app's shut-down may take beyond the grace for requests, before the worker goes without it.
_SHUTDOWN_MARGIN = 2.0
#: Turns of the loop until a connection that it has just accepted is known to the engine; asyncio takes four.
_ACCEPT_TURNS = 8
#: Seconds that a connection gets at a stop for what stands before its first request.
_PASSING = 1.0


class Entrance(Value):
    """A bound socket, and the rules of the gate in front of it; None where HTTP begins with the first byte."""

    socket: socket.socket
    rules: Rules | None = None


class Work(Value):
    """What a worker needs: an engine, bound sockets (they stay the caller's), and whom to tell when it serves.

    ``contexts`` are those of TLS, to be reread when their files change or at a SIGHUP.
    """

    engine: Engine
    entrances: Sequence[Entrance]
    backlog: int
    #: Seconds to go on accepting after a stop signal, and then for what has begun to end.
    drain_delay: float
    grace: float
    on_ready: Callable[[], None]
    contexts: Sequence[LiveContext] = ()


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
    plain = [entrance.socket for entrance in work.entrances if entrance.rules is None]
    servers = [await _listen(loop, factory, listener, work.backlog) for listener in plain]
    gates = _open_gates(work, factory)
    with _renewed(work.contexts, signals):
        work.on_ready()
        await stopping.wait()
        await _delay(work, signals, forced)
    for gate in gates:
        gate.close()
    await _stop_accepting(loop, servers)
    if not signals.going_back or signals.count:
        for gate in gates:
            gate.take_in()
        await _accept_waiting(loop, factory, plain)
    await _pass_gates(gates, forced, min(_PASSING, work.grace))
    if not signals.going_back or signals.count:
        for entrance in work.entrances:
            entrance.socket.close()
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


async def _delay(work: Work, signals: StopSignals, forced: asyncio.Event) -> None:
    """Go on for a moment, until proxies have noticed the stop."""
    if work.drain_delay and not signals.going_back:
        work.engine.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(forced.wait(), work.drain_delay)


def _open_gates(work: Work, factory: ProtocolFactory) -> list[Gate]:
    gated = [(entrance.socket, entrance.rules) for entrance in work.entrances if entrance.rules is not None]
    if not gated:
        return []
    from runner.serve.gate import Gate

    gates = []
    for listener, rules in gated:
        listener.listen(work.backlog)
        gates.append(Gate(listener, rules, factory))
        gates[-1].open()
    return gates


@contextlib.contextmanager
def _renewed(contexts: Sequence[LiveContext], signals: StopSignals) -> Iterator[None]:
    """Reread certificates when they change, or at a SIGHUP."""
    if not contexts:
        yield
        return
    from runner.serve.renewal import Renewal

    renewal = Renewal(contexts)
    signals.tell_hangup(renewal.reread)
    try:
        yield
    finally:
        signals.tell_hangup(None)
        renewal.stop()


async def _pass_gates(gates: Sequence[Gate], forced: asyncio.Event, seconds: float) -> None:
    """Let the connections at the gates through, or cut them, before the engine looks whom it still has to answer."""
    if not gates:
        return
    force: asyncio.Future[object] = asyncio.ensure_future(forced.wait())
    drain: asyncio.Future[object] = asyncio.ensure_future(_drain(gates, seconds))
    await asyncio.wait({drain, force}, return_when=asyncio.FIRST_COMPLETED)
    force.cancel()
    drain.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await drain


async def _drain(gates: Sequence[Gate], seconds: float) -> None:
    await asyncio.gather(*(gate.drain(seconds) for gate in gates))


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
