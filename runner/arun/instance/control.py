"""Where an instance is asked about its state and told what to do: the control socket, the status listener.

Both survive an exec with the process, so that they answer while it becomes its fallback, its primary or its upgraded self. One
process answers in a thread, from its settings to its end; a supervisor answers in its own loop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from arun import __version__
from arun.control import places
from arun.control.places import INSTALL
from arun.core import addresses
from arun.core.addresses import Unix
from arun.core.exits import start_thread
from arun.core.failures import StartupFailure
from arun.core.genuine import sleep
from arun.core.listen_spec import ListenSpec
from arun.instance.handover import Handover, InheritedListener
from arun.listen import sockets
from arun.listen.places import resolve
from arun.settings import entries
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Iterable
    from typing import Any, Protocol

    from arun.control.responder import Responder
    from arun.control.state import InstanceState, Offline
    from arun.control.thread import ResponderThread
    from arun.core.addresses import Address
    from arun.instance.serving import Serving
    from arun.instance.status import Status
    from arun.listen.held import Sockets
    from arun.listen.sockets import Listener
    from arun.settings import Settings
    from arun.system.launch import Launch
    from arun.system.privileges import Identity
    from arun.system.stop_signals import StopSignals

    class Asked(Protocol):
        """The instance that is asked: see instance/instance.py."""

        launch: Launch
        past: Handover
        signals: StopSignals
        sockets: Sockets
        status: Status
        configuration: Any

        @property
        def is_fallback(self) -> bool: ...

        @property
        def can_go_back(self) -> bool: ...

        @property
        def shown_name(self) -> str: ...


__all__ = ("Control",)

#: The channels: orders are taken on the first alone.
_CONTROL, _STATUS, _APP = "control", "status", "app"
_BACKLOG = 128
#: The folder of arun's own files, from which the workers load the page when the app is taken offline.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: Seconds that those who have connected get before an exec.
_SETTLE = 0.1
#: Seconds from a stop by force until a loop that does not turn is interrupted.
_INSIST = 0.6
#: Characters of the text of an offline app: it is on the page, in the log and in the state.
_LONGEST_TEXT = 2000
#: Only the user that the instance runs as, and root.
_MODE = 0o600


class Control:
    """The control socket and the status listener of an instance; ``past`` is what a predecessor has handed over."""

    def __init__(self, past: Handover | None = None) -> None:
        past = past or Handover()
        self._listeners: dict[str, tuple[Listener, ...]] = {
            _CONTROL: _adopted(past.control),
            _STATUS: _adopted(past.status),
        }
        self._began = time.time()
        self._responder: Responder | None = None
        self._thread: ResponderThread | None = None
        #: Those that a thread has kept which did not end.
        self._abandoned: list[Responder] = []
        #: Whether orders can come; a worker keeps it though it has no socket.
        self.takes_orders = bool(self._listeners[_CONTROL])
        self._instance: Asked | None = None
        self._serving: Serving | None = None

    # ---- its listeners

    def open(self, instance: Asked, settings: Settings, identity: Identity | None = None) -> None:
        """Be where the settings say from now on; what is held there already is kept, and other listeners are closed.

        A fallback that does not say it stays where the failed start was. Where it is not to be had, that is only logged,
        unless it is a first start, and an option names it.

        Raises:
            StartupFailure: one of the failures of the stage "listen".
        """
        self._instance = instance
        directory, environ = instance.launch.directory, instance.launch.environ
        named: dict[str, ListenSpec | None] = {_CONTROL: None, _STATUS: None}
        explicit = {_CONTROL: settings.control is not None, _STATUS: settings.status is not None}
        if settings.control is not None and settings.control != places.NONE:
            path = os.path.join(directory, settings.control.removeprefix("unix:"))
            named[_CONTROL] = ListenSpec(Unix(path), origin=settings.origin("control"))
        elif settings.control is None and not (instance.is_fallback and self._listeners[_CONTROL]):
            place = places.default(environ, settings.state_dir, directory)
            if place is not None:
                named[_CONTROL] = ListenSpec(Unix(place.path), origin=place.origin)
        if settings.status is not None:
            named[_STATUS] = ListenSpec(
                addresses.absolute(settings.status, directory), origin=settings.origin("status")
            )
        owner = (identity.uid, identity.gid) if identity is not None and os.geteuid() == 0 else None
        for channel, spec in named.items():
            if spec is None and not explicit[channel] and instance.is_fallback:
                continue
            try:
                self._move(channel, spec, owner)
            except StartupFailure as failure:
                if explicit[channel] and not instance.is_fallback:
                    raise
                logs.warning(f"no {channel} socket: {failure.sentence}; {failure.hint}")
        self.takes_orders = bool(self._listeners[_CONTROL])
        self._listen(answers_app=instance.configuration.status_path is not None)
        if settings.measures_requests and not _has_prometheus_client():
            logs.warning(f"no metrics: prometheus-client is not installed ({INSTALL})")

    def _move(self, channel: str, spec: ListenSpec | None, owner: tuple[int, int] | None) -> None:
        held = self._listeners[channel]
        if spec is not None and held and all(one.spec.address == spec.address and one.is_open for one in held):
            return
        found: tuple[Listener, ...] = ()
        if spec is not None:
            mode = _MODE if channel == _CONTROL else None
            options = sockets.Options(_BACKLOG, mode=mode, owner=owner if channel == _CONTROL else None)
            found = tuple(sockets.bind(place, spec, options) for place in resolve(spec.address, spec.origin))
        for listener in held:
            self._leave(listener)
            listener.remove_file()
        self._listeners[channel] = found

    def _leave(self, listener: Listener) -> None:
        if self._responder is not None:
            self._responder.leave(listener.socket.fileno())
        listener.socket.close()

    def _listen(self, *, answers_app: bool) -> None:
        if self._responder is None and (any(self._listeners.values()) or answers_app):
            self._responder = self._new_responder()
        self._listen_everywhere()

    def _new_responder(self) -> Responder:
        from arun.control import answers  # as files of arun may be away when a question comes
        from arun.control.responder import Responder

        return Responder(lambda request, channel: answers.answer(request, channel, self.look, self), _CONTROL)

    def _listen_everywhere(self) -> None:
        if self._responder is not None:
            for channel, listeners in self._listeners.items():
                for listener in listeners:
                    self._responder.listen(listener.socket.fileno(), channel)

    @property
    def path(self) -> str | None:
        """The path of the control socket; None for none."""
        for listener in self._listeners[_CONTROL]:
            if isinstance(listener.spec.address, Unix):
                return listener.spec.address.path
        return None

    def handed_over(self) -> tuple[tuple[InheritedListener, ...], tuple[InheritedListener, ...]]:
        """Return the listeners for a successor, those of control and of status, when those who have connected have a response."""
        self.settle()
        control, status = (
            tuple(InheritedListener(one.socket.fileno(), one.spec) for one in self._listeners[channel] if one.is_open)
            for channel in (_CONTROL, _STATUS)
        )
        return control, status

    # ---- in one process: a thread

    def start(self) -> None:
        """Answer in a thread of its own, if anything can be asked."""
        if self._responder is not None and self._thread is None:
            from arun.control.thread import ResponderThread

            self._thread = ResponderThread(self._responder)
            if not self._thread.start():
                self._thread = None

    def stop(self) -> None:
        """End that thread, before a fork: a supervisor goes on with its clients; with those to come, if it does not end."""
        thread, self._thread = self._thread, None
        if thread is not None and not thread.stop() and self._responder is not None:
            self._abandoned.append(self._responder)
            self._responder = self._new_responder()
            self._listen_everywhere()

    def settle(self) -> None:
        """Respond to those who have connected, before an exec and at the end; others wait at the listeners."""
        self.stop()
        if self._responder is not None:
            self._responder.settle(_SETTLE)

    def remove(self) -> None:
        """Close everything and remove the files: the instance ends."""
        self.settle()
        for channel, listeners in self._listeners.items():
            for listener in listeners:
                listener.remove_file()
                self._leave(listener)
            self._listeners[channel] = ()
        self._responder = None

    def ask(self, fd: int) -> bool:
        """Answer on a connection that comes from the app's listeners; return False where nothing answers."""
        thread, responder = self._thread, self._responder
        if thread is None or responder is None:
            return False
        own = os.dup(fd)
        thread.call(lambda: responder.adopt(own, _APP))
        return True

    # ---- in a supervisor: its loop (supervisor/contract.py)

    @property
    def seconds(self) -> float | None:
        """Seconds until a turn is due in any case; None while nothing is."""
        return None if self._responder is None else self._responder.seconds

    def register(self, waiting: select.poll) -> None:
        """Add what a turn waits for."""
        if self._responder is not None:
            self._responder.register(waiting)

    def turn(self, ready: Iterable[tuple[int, int]]) -> None:
        """Do what can be done now."""
        if self._responder is not None:
            self._responder.turn(ready)

    def adopt(self, fd: int) -> None:
        """Answer on a connection that a worker hands over."""
        if self._responder is None:
            os.close(fd)
        else:
            self._responder.adopt(fd, _APP)

    def close(self) -> None:
        """Close every descriptor, in a forked child; the files stay."""
        for responder in (self._responder, *self._abandoned):
            if responder is not None:
                responder.drop_clients()
        for listeners in self._listeners.values():
            for listener in listeners:
                self._leave(listener)
        self._listeners = {_CONTROL: (), _STATUS: ()}
        self._responder = None

    # ---- what is said

    def serve(self, serving: Serving) -> None:
        """Ask this about workers, and for reloads, from now on."""
        self._serving = serving

    @property
    def is_asked(self) -> bool:
        """Whether it can be asked."""
        return self._responder is not None

    def look(self) -> InstanceState:
        """Return the state of the instance now; another thread may ask."""
        from arun.control.state import InstanceState, Offline, Reload, Waiting

        instance, serving = self._instance, self._serving
        assert instance is not None  # noqa: S101 - it cannot be asked before it is open
        status = instance.status
        outlook, past = status.outlook(), instance.past
        state = InstanceState(
            state=status.state,
            since=status.since,
            reason="",
            began=self._began,
            arun=__version__,
            python=sys.version.split(" ")[0],
            pid=os.getpid(),
            config=instance.shown_name,
            app=status.app,
            level=len(past.tried),
            listeners=tuple(_shown(one) for one in tuple(instance.sockets.listeners)),
            waiting=tuple(Waiting(_url(one.place, one.wanted), one.failure.sentence) for one in instance.sockets.busy),
            failures=outlook.failures,
            next_try=outlook.next_try,
            attempts=outlook.attempts,
            trying=outlook.trying,
            offline=None if outlook.offline is None else Offline(outlook.offline, outlook.allowed),
            fallbacks=past.fallbacks,
        )
        if serving is not None:
            state = state._replace(
                is_supervised=serving.is_supervised,
                generation=serving.generation,
                workers=serving.workers(),
                gone=serving.gone(),
                restarts=serving.restarts,
                reloads=serving.reloads.done,
                failed_reloads=serving.reloads.failed,
                begun_reloads=serving.reloads.begun,
                last_reload=None if serving.reloads.last is None else Reload(*serving.reloads.last),
            )
        settings = instance.configuration.validated
        waiting_for = (serving.waiting_for if serving is not None else "") or status.waiting_for
        return _judged(state, waiting_for, 0.0 if settings is None else settings.worker_timeout)

    # ---- its orders, see control/answers.py

    def reload(self) -> str:
        """Do what SIGHUP does.

        Raises:
            Refused: this instance cannot reload now.
        """
        from arun.control.answers import Refused

        instance, serving = self._instance, self._serving
        if instance is None or serving is None or instance.status.state == "starting":
            raise Refused("the start goes on: there is nothing to reload yet")
        if instance.status.state in {"draining", "stopping"}:
            raise Refused("the instance is stopping")
        if instance.can_go_back:
            serving.call(instance.signals.hang_up)
            return "the first start is tried again"
        if instance.is_fallback:
            raise Refused("this process serves the page itself, as it could not become its fallback: restart it")
        if not serving.is_supervised and not any(one.spec.tls for one in instance.sockets.listeners):
            raise Refused("reloading takes --supervise, or more than one worker")
        serving.call(instance.signals.hang_up)
        if not serving.is_supervised:
            return "certificates are read again; reloading the app takes --supervise, or more than one worker"
        return "reloading"

    def stop_instance(self, *, forced: bool) -> str:
        """Do what SIGTERM does, or SIGQUIT."""
        os.kill(os.getpid(), signal.SIGQUIT if forced else signal.SIGTERM)
        if forced and self._thread is not None:
            with contextlib.suppress(RuntimeError):  # no further thread can be had
                start_thread(_insist, self._serving)
        return "stopping at once" if forced else "stopping"

    def take_offline(self, offline: Offline | None) -> str:
        """Take the app offline, or (None) bring it back.

        Raises:
            Refused: it allows what is no address and no network, the text is too long, or the files of the page are away.
        """
        from arun.control.answers import Refused

        instance = self._instance
        assert instance is not None  # noqa: S101 - as in look()
        instead = "; a fallback serves in place of the app" if instance.is_fallback else ""
        if offline is None:
            instance.status.foresee(offline=None, allowed=())
            logs.info(f"arun: online{instead or ': the app answers all requests'}")
            return f"online{instead}"
        if len(offline.text) > _LONGEST_TEXT:
            raise Refused(f"the text has {len(offline.text)} characters, and a page wants {_LONGEST_TEXT} at most")
        from ipaddress import ip_network

        for one in offline.allow:
            try:
                ip_network(one, strict=False)
            except ValueError:
                raise Refused(f"{one!r} is no IP address and no network") from None
        if not all(map(os.path.exists, (os.path.join(_PACKAGE, "__init__.py"), entries.welcome_config()))):
            raise Refused(
                "arun's own files are away, and with them the page: nothing has changed; is it being installed?"
            )
        instance.status.foresee(offline=offline.text, allowed=offline.allow)
        but = f", but to {', '.join(offline.allow)}" if offline.allow else ""
        logs.info(f"arun: offline{but}{instead}: {offline.text}")
        return f"offline{but}{instead}"


def _insist(serving: Serving | None) -> None:
    """Interrupt an app that holds the loop, so that the loop cannot stop: the third signal does not ask it."""
    sleep(_INSIST)
    if serving is not None and any(one.silent for one in serving.workers()):
        os.kill(os.getpid(), signal.SIGQUIT)


def _judged(state: InstanceState, waiting_for: str, timeout: float) -> InstanceState:
    """Return the state with the reason why the instance is not ready."""
    name, reason = state.state, ""
    workers = [one for one in state.workers if one.state == "serving"]
    silent = min((one.silent for one in workers), default=0.0)
    if name in {"serving", "fallback", "offline"} and 0 < timeout < silent:
        reason = f"the loop has not turned for {silent:.0f} s (--worker-timeout)"
        return state._replace(reason=reason, is_stuck=True)
    if name == "starting":
        reason = f"waiting for {waiting_for}" if waiting_for else "the start goes on"
    elif name in {"draining", "stopping"}:
        reason = f"waiting for {waiting_for}" if waiting_for else "the instance ends"
    elif name == "fallback":
        reason = state.failures[0].identifier if state.failures else "a start has failed"
    elif name == "offline" and state.offline is not None:
        reason = " ".join(state.offline.text.split()) or "an operator has taken it offline"
    elif not workers:
        reason = "no worker serves"
    return state._replace(reason=reason)


def _has_prometheus_client() -> bool:
    """Return whether it is there; it is loaded when metrics are asked for."""
    from importlib.util import find_spec

    try:
        return find_spec("prometheus_client") is not None
    except (ImportError, ValueError):
        return False


def _shown(listener: Listener) -> str:
    try:
        address = listener.address
    except OSError:  # the app has closed it
        address = listener.spec.address
    return _url(address, listener.spec)


def _url(address: Address, spec: ListenSpec) -> str:
    return addresses.url(address, "https" if spec.tls else "http")


def _adopted(handed_over: Iterable[InheritedListener]) -> tuple[Listener, ...]:
    adopted = []
    for fd, spec in handed_over:
        try:
            adopted.append(sockets.adopt(fd, spec))
        except OSError:
            continue  # the app has closed it: it is bound again
    return tuple(adopted)
