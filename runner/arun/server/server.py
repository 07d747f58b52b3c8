"""One worker: starts an engine, hands it the listeners, and stops it in order. It never exits the process."""

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

    from arun.http.contract import Engine
    from arun.listen.certificates import LiveContext
    from arun.server.gate import Gate, Rules
    from arun.system.process import StopSignals

    ProtocolFactory = Callable[..., asyncio.BaseProtocol]

__all__ = ("Entrance", "Leaving", "Orders", "Work", "serve")

#: Seconds that the app's shut-down may take beyond the grace for requests, before the worker goes without it.
_SHUTDOWN_MARGIN = 2.0
#: Turns of the loop until a connection that it has just accepted is known to the engine; asyncio takes four.
_ACCEPT_TURNS = 8
#: Seconds between two looks at the signals, which a task of the app's may take at any time.
_LOOK = 1.0
#: Seconds that a connection gets at a stop for what stands before its first request.
_PASSING = 1.0
#: Seconds for a handshake that has begun at a listener which is given up: one that loses a packet sends it again after
#: one (RFC 6298 section 2).
_HANDSHAKE = 2.0
#: Seconds between two looks at such a listener of a worker that retires.
_GLANCE = 0.05
#: Seconds between two tries to bind what is busy.
_RETRY = 1.0
#: A server would remove the file of a unix socket when it is closed, from Python 3.13 on; a successor may serve there.
_KEEPS_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class Entrance(Value):
    """A bound socket, and the rules of the gate in front of it; None where HTTP begins with the first byte."""

    socket: socket.socket
    rules: Rules | None = None


class Leaving(Value):
    """Sockets that are given up: who waits there is still served. ``begin`` and ``end`` are called around that."""

    entrances: Sequence[Entrance]
    begin: Callable[[], None]
    end: Callable[[], None]


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
    on_ready: Callable[[Orders], None]
    contexts: Sequence[LiveContext] = ()
    #: Seconds that an idle connection stays open.
    keep_alive: float = 0.0
    #: Seconds in which kept connections are told to come back on another one, before the process goes back.
    parting: float = 0.0
    #: Called when a stop begins.
    on_stop: Callable[[], None] | None = None
    #: What is given up for others in ``entrances``.
    leaving: Leaving | None = None
    #: Returns what could be bound meanwhile of addresses that were busy; None when there is no such address any more.
    open_late: Callable[[], Sequence[Entrance] | None] | None = None


class Orders(Value):
    """What whoever started a worker may ask of it while it serves.

    ``retire`` lets its clients go in peace, ``stop`` is what a stop signal does; ``requests`` tells how many have begun.
    """

    retire: Callable[[], None]
    stop: Callable[[], None]
    requests: Callable[[], int]


async def serve(work: Work, signals: StopSignals) -> None:
    """Serve until a stop signal comes, of which the first asks and the second forces, or until it is ordered to retire.

    Who retires accepts nothing any more, and stops when its clients have gone by themselves: nobody loses a request that
    was on its way on a kept connection. The sockets are closed, unless the process goes back to its first start: then
    their clients wait for that one.

    Raises:
        StartupFailure(APP_STARTUP_FAILED): from the engine.
        OSError: a socket cannot listen.
    """
    loop = asyncio.get_running_loop()
    stopping, forced, retiring = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def tell(count: int) -> None:
        loop.call_soon_threadsafe(stopping.set)
        if count > 1:
            loop.call_soon_threadsafe(forced.set)

    _keep_signals(signals)
    factory = await _unless_stopped(work.engine, signals, tell, stopping)
    if factory is None:
        return
    signals.take_back()
    doors = await _open(factory, work.entrances, work.backlog)
    changes = []
    if work.leaving is not None:
        changes.append(asyncio.ensure_future(_leave(work, work.leaving, factory, signals)))
    if work.open_late is not None:
        changes.append(asyncio.ensure_future(_open_late(work, doors)))
    with _renewed(work.contexts, signals):
        work.on_ready(Orders(retiring.set, stopping.set, lambda: work.engine.requests))
        await _first_of(stopping.wait(), retiring.wait())
        if work.on_stop is not None:
            work.on_stop()
        if stopping.is_set():
            await _delay(work, signals, forced)
    await _end(changes)
    await _close(work, doors, forced, takes_in=not _stays(signals), lingers=not stopping.is_set())
    if not stopping.is_set():
        work.engine.drain()
        await _first_of(stopping.wait(), work.engine.quiet(work.keep_alive + work.grace))
    await _stop(work, forced)


def _keep_signals(signals: StopSignals) -> None:
    """Take the signals back from the app now, and again and again: its start-up may take long, and leave tasks."""
    signals.take_back()
    asyncio.get_running_loop().call_later(_LOOK, _keep_signals, signals)


class Doors(Value):
    """What accepts connections for a protocol factory: servers on plain sockets, gates on the others."""

    factory: ProtocolFactory
    entrances: list[Entrance]
    servers: list[asyncio.Server]
    gates: list[Gate]


async def _open(factory: ProtocolFactory, entrances: Sequence[Entrance], backlog: int) -> Doors:
    plain = [entrance.socket for entrance in entrances if entrance.rules is None]
    servers = [await _listen(factory, listener, backlog) for listener in plain]
    return Doors(factory, list(entrances), servers, _open_gates(factory, entrances, backlog))


async def _close(work: Work, doors: Doors, forced: asyncio.Event, *, takes_in: bool, lingers: bool = False) -> None:
    """Accept no more: who waits is taken in, and the sockets are closed, or both is left to a successor.

    With ``lingers`` handshakes that have begun at a socket which was given up for another one may end before that.
    """
    for gate in doors.gates:
        gate.close()
    await _stop_accepting(doors.servers)
    if takes_in:
        await _take_in(doors, doors.entrances)
        given_up = [one for one in doors.entrances if sockets.is_deaf(one.socket)] if lingers else []
        until = asyncio.get_running_loop().time() + _HANDSHAKE
        while given_up and not forced.is_set() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_GLANCE)
            await _take_in(doors, given_up)
    await _pass_gates(doors.gates, forced, min(_PASSING, work.grace))
    if takes_in:
        for entrance in doors.entrances:
            entrance.socket.close()


async def _take_in(doors: Doors, entrances: Sequence[Entrance]) -> None:
    among = {entrance.socket for entrance in entrances}
    for gate in doors.gates:
        if gate.listener in among:
            gate.take_in()
    await _accept_waiting(doors.factory, [one.socket for one in entrances if one.rules is None])


def _stays(signals: StopSignals) -> bool:
    """Tell whether the sockets stay open, and who waits there waits for the first start."""
    return signals.going_back and not signals.count


async def _leave(work: Work, leaving: Leaving, factory: ProtocolFactory, signals: StopSignals) -> None:
    """Serve who waits at the sockets that are given up, and whose handshake has begun there; then close them."""
    doors = await _open(factory, leaving.entrances, work.backlog)
    leaving.begin()
    try:
        await asyncio.sleep(_HANDSHAKE)
    finally:
        await _close(work, doors, asyncio.Event(), takes_in=not _stays(signals))
    leaving.end()


async def _open_late(work: Work, doors: Doors) -> None:
    """Try again and again to bind what is busy, and serve it."""
    while work.open_late is not None:
        await asyncio.sleep(_RETRY)
        entrances = work.open_late()
        if entrances is None:
            return
        late = await _open(doors.factory, entrances, work.backlog)
        doors.entrances.extend(late.entrances)
        doors.servers.extend(late.servers)
        doors.gates.extend(late.gates)


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _stop(work: Work, forced: asyncio.Event) -> None:
    """Let the engine finish what has begun, within the grace or until it is forced."""
    stop = asyncio.ensure_future(work.engine.stop(work.grace))
    force = asyncio.ensure_future(forced.wait())
    await asyncio.wait({stop, force}, timeout=work.grace + _SHUTDOWN_MARGIN, return_when=asyncio.FIRST_COMPLETED)
    force.cancel()
    if not stop.done():
        work.engine.abort()
        await asyncio.wait({stop}, timeout=_SHUTDOWN_MARGIN)
    if stop.done():
        stop.result()


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for the first to end, and cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    await asyncio.wait(tasks)


async def _unless_stopped(
    engine: Engine, signals: StopSignals, tell: Callable[[int], None], stopping: asyncio.Event
) -> ProtocolFactory | None:
    """Start the engine; a stop signal cancels the app's start-up, and then there is nothing to serve."""
    start = asyncio.ensure_future(engine.start())
    stop = asyncio.ensure_future(stopping.wait())
    signals.on_stop(tell)
    try:
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        return start.result() if start.done() else None
    finally:
        stop.cancel()
        start.cancel()
        with contextlib.suppress(BaseException):
            await start


async def _listen(factory: ProtocolFactory, listener: socket.socket, backlog: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    own = listener.dup()  # loops close the socket they are given, and this one may have to survive an exec
    if listener.family == socket.AF_UNIX:
        return await loop.create_unix_server(factory, sock=own, backlog=backlog, **_KEEPS_FILE)
    return await loop.create_server(factory, sock=own, backlog=backlog)


async def _delay(work: Work, signals: StopSignals, forced: asyncio.Event) -> None:
    """Go on for a moment, until proxies have noticed the stop.

    Who goes back to the first start is as polite to kept connections: a request that is on its way when an idle one is
    closed is lost, and clients of a fallback ask again and again.
    """
    if signals.going_back:
        work.engine.drain()
        await _first_of(forced.wait(), work.engine.quiet(work.parting))
    elif work.drain_delay:
        work.engine.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(forced.wait(), work.drain_delay)


def _open_gates(factory: ProtocolFactory, entrances: Sequence[Entrance], backlog: int) -> list[Gate]:
    gated = [(entrance.socket, entrance.rules) for entrance in entrances if entrance.rules is not None]
    if not gated:
        return []
    from arun.server.gate import Gate

    gates = []
    for listener, rules in gated:
        listener.listen(backlog)
        gates.append(Gate(listener, rules, factory))
        gates[-1].open()
    return gates


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


async def _stop_accepting(servers: Sequence[asyncio.Server]) -> None:
    """Close the servers, so that what they have accepted in the last moment is served.

    asyncio hands an accepted connection over a few turns later, and drops it without a word if its server is closed by
    then (Server._attach asserts that it is open). So the listeners are not read any more, then there are some turns.
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())  # without effect on uvloop, which hands over at once
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)
    for server in servers:
        server.close()
    for _ in range(_ACCEPT_TURNS):
        await asyncio.sleep(0)


async def _accept_waiting(factory: ProtocolFactory, listeners: Sequence[socket.socket]) -> None:
    """Take in the connections that wait in the backlog: closing a listening socket would reset them."""
    for listener in listeners:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(factory, connection)
