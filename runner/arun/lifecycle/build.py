"""From settings to an app that is served: which app, the HTTP server for it, and the run of the server."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from functools import cache, partial

from arun.apps import provisions
from arun.core import exits, genuine
from arun.core.exits import PARTING
from arun.core.failures import FILE_UNUSABLE, StartupFailure
from arun.core.values import Value
from arun.lifecycle import listening
from arun.lifecycle.choice import choose_app
from arun.lifecycle.deadline import DeadlineReached
from arun.listen import sockets
from arun.settings import Settings
from arun.system import descriptors, environment, logs, process
from arun.system.stop_signals import StopRequested, StopSignals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from typing import Any

    from arun.apps.load import App
    from arun.core.outlook import Outlook
    from arun.http.access.line import AccessLog
    from arun.http.options import HttpOptions
    from arun.http.server import Application, HttpServer
    from arun.instance.instance import Instance
    from arun.lifecycle.deadline import Deadline
    from arun.lifecycle.detours import Detours
    from arun.listen.sockets import Listener
    from arun.listen.tls import Contexts
    from arun.recovery.way_back import LoopWayBack
    from arun.server.served_socket import ServedSocket
    from arun.server.server import Server, ServerEvents
    from arun.system.line_file import LineFile

__all__ = (
    "Loaded",
    "Reports",
    "access_file",
    "http_options",
    "http_server",
    "http_server_for",
    "load",
    "new_loop",
    "serve",
    "serve_in_this_process",
    "served_sockets",
    "surround",
)


def surround(settings: Settings) -> None:
    """Enter directory, umask, environment and import path as the settings name them.

    Raises:
        StartupFailure(DIRECTORY_UNUSABLE or FILE_UNUSABLE): the directory or the env file is not to be had.
    """
    if settings.chdir:
        environment.enter(settings.chdir, origin=settings.origin("chdir"))
    if settings.umask is not None:
        os.umask(settings.umask)
    if settings.env_file:
        from arun.system import env_file

        environment.change_environment(env_file.read(settings.env_file, origin=settings.origin("env_file")))
    environment.change_environment(settings.env)
    environment.extend_import_path(settings.pythonpath)


def access_file(settings: Settings, directory: str) -> LineFile | None:
    """Open the file of the access log, a relative path from ``directory``; None while the log is off.

    Raises:
        StartupFailure(FILE_UNUSABLE): it cannot be opened for writing.
    """
    path = settings.access_logfile
    if not settings.logs_requests:
        return None
    from arun.system.line_file import LineFile

    if path is None or path == "-":
        return LineFile("-", "the access log on standard output")
    path = os.path.join(directory, path)
    try:
        return LineFile(path, f"the access log {path}")
    except OSError as error:
        origin = settings.origin("access_logfile")
        raise StartupFailure(
            FILE_UNUSABLE, f"cannot write the access log {path}: {error.strerror or error}", origin=origin
        ) from error


def http_server_for(
    app: App, settings: Settings, access_file: LineFile | None, thread_lost: Callable[[str], None]
) -> HttpServer:
    """Return the HTTP server of an app, with the options that the settings make for its kind."""
    options = http_options(app.kind, settings, access_file, thread_lost)
    if app.kind == "aiohttp" and options.root_path:
        logs.warning("root-path does nothing for an aiohttp app: its add_subapp mounts one app in another")
    if app.kind == "wsgi" and options.timeout_request and not options.threads:
        logs.warning(
            "timeout-request does nothing with --threads 0: a WSGI app in the event loop cannot be interrupted"
        )
    return http_server(app.kind, app.object, options)


def http_server(kind: str, app: Any, options: HttpOptions) -> HttpServer:
    """Return the HTTP server of an app of this kind; what serves another kind is not imported."""
    from arun.http.http1.connection import Http1Connection
    from arun.http.server import HttpServer

    application: Application
    if kind == "asgi":
        from arun.apps.asgi.application import AsgiApplication

        application = AsgiApplication(app)
    elif kind == "aiohttp":
        from arun.apps.aiohttp import names

        names.require()  # before modules are imported that cannot be without them
        from arun.apps.aiohttp.application import AiohttpApplication

        application = of_aiohttp = AiohttpApplication(app, options)
        options = of_aiohttp.options
    elif options.threads:
        from arun.apps.wsgi.threaded import ThreadedApplication

        application = ThreadedApplication(app)
    else:
        from arun.apps.wsgi.inline import InlineApplication

        application = InlineApplication(app)
    return HttpServer(application, options, Http1Connection)


def http_options(
    kind: str, settings: Settings, access_file: LineFile | None, thread_lost: Callable[[str], None]
) -> HttpOptions:
    """Return the options of the HTTP server for an app of this kind: the settings of the same names, and what derives of them."""
    from arun.http.options import HttpOptions

    values = {name: getattr(settings, name) for name in HttpOptions._fields if hasattr(Settings, name)}
    if not settings.proxy_headers:
        values["forwarded_allow_ips"] = ()
    if settings.limit_connections is None:
        values["limit_connections"] = descriptors.connections_possible()
    if kind == "wsgi":
        values["timeout_request"] = settings.timeout_wsgi_request
    if not settings.names_requests:
        values["request_id_header"] = None
    values["measures"] = settings.measures_requests
    return HttpOptions(
        **values,
        access=None if access_file is None else _access_log(settings, access_file),
        on_error=logs.report,
        on_debug=_on_debug(),
        thread_lost=thread_lost,
    )


def _on_debug() -> Callable[[str], None] | None:
    """Return what takes the lines for debugging; None where none are written."""
    if not logs.debugs():
        return None
    from arun.http import refusals  # noqa: F401 - the first refusal needs it, and files may be away by then

    return logs.debug


def _access_log(settings: Settings, access_file: LineFile) -> AccessLog:
    from arun.http.access.log import access_log

    return access_log(settings.access_logformat, settings.access_log_quiet, access_file.write)


def served_sockets(listeners: Iterable[Listener], contexts: Contexts) -> list[ServedSocket]:
    """Return the listeners as a server takes them: each with the PROXY header and the TLS on its connections."""
    from arun.server.served_socket import ServedSocket

    served = []
    for listener in listeners:
        spec, proxies = listener.spec, None
        if spec.proxies:
            from arun.http.forwarded import TrustedPeers

            proxies = TrustedPeers(spec.proxies)
        context = None if spec.tls is None else contexts[spec.tls]
        served.append(ServedSocket(listener.socket, proxies, context))
    return served


def _deafen(leaving: Sequence[Listener]) -> None:
    """Let new connections go to those that are served."""
    for listener in leaving:
        sockets.deafen(listener)


def new_loop(settings: Settings) -> asyncio.AbstractEventLoop:
    """Return a new event loop of the kind that ``--loop`` names; it is closed when the process ends.

    Raises:
        StartupFailure(LOOP_UNAVAILABLE): it is uvloop, which cannot be used.
    """
    from arun.server import loops

    loop = loops.new_loop(settings.loop, origin=settings.origin("loop"))
    exits.on_leaving(partial(loops.close, loop))
    return loop


class Loaded(Value):
    """An app, and the loop on which it was made, if it was."""

    app: App
    loop: Callable[[], asyncio.AbstractEventLoop]

    def afresh(self, settings: Settings) -> Loaded:
        """Return it for a forked process: a loop cannot be shared."""
        return self._replace(loop=_one_loop(settings))


def load(instance: Instance, deadline: Deadline) -> Loaded:
    """Load the app.

    Raises:
        StartupFailure: one of the failures of the stage "load".
        StopRequested, DeadlineReached: what the import was interrupted with, also where the app has caught it.
    """
    settings, signals = instance.configuration.settings, instance.signals
    deadline.step(f"{settings.app or settings.wsgi_file or 'the app'} to be imported")
    loop = _one_loop(settings)
    app = choose_app(settings, instance.status.outlook, loop, instance.configuration.fallback.chain.welcome_html)
    genuine.settle_threads()
    signals.take_back()  # a loop that the app ran while it was imported may have taken them
    if signals.count:
        raise StopRequested  # and its code may have caught what it was interrupted with
    if deadline.expired:
        raise DeadlineReached
    return Loaded(app, loop)


def _one_loop(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop when it is asked for the first time."""
    return cache(partial(new_loop, settings))


def _ignore(_fd: int) -> bool:
    return False


class Reports(Value):
    """What is reported of a server while it serves, and to what: the status of the instance, or the supervisor of a worker.

    ``ready`` gets the server, which it may ask to retire or to stop. ``late`` gets the listeners that could be bound only
    now; without it another process looks after those. ``ask`` hands a connection, by its descriptor, to what answers for the
    state of the instance, and returns False where nothing does.
    """

    ready: Callable[[Server], None]
    stopping: Callable[[], None] | None = None
    thread_lost: Callable[[str], None] | None = None
    ask: Callable[[int], bool] = _ignore
    late: Callable[[Sequence[Listener]], None] | None = None


def serve_in_this_process(instance: Instance, deadline: Deadline) -> None:
    """Load the app and serve it without a supervisor.

    Raises:
        StartupFailure: as in ``load`` and ``serve``.
    """
    configuration, status, control = instance.configuration, instance.status, instance.control
    process.bind_to_cores(0, configuration.settings.cpu_affinity)
    environment.name_worker(0, 1)
    loaded = load(instance, deadline)
    app, served = loaded.app.target.text, configuration.listening.listeners
    way_back: LoopWayBack | None = None
    if instance.can_go_back:
        from arun.recovery.way_back import LoopWayBack

        way_back = LoopWayBack(instance)

    def ready(server: Server) -> None:
        if control is not None and control.is_asked:
            from arun.instance.serving import OneProcess

            loop = loaded.loop()
            serving = OneProcess(server.counters, loop.call_soon_threadsafe)
            serving.beat(loop.call_later)
            control.serve(serving)
        status.ready(app, served, instance.describe(app), instance.past.failures)
        instance.serving()
        instance.sockets.store()
        if way_back is not None:
            status.returns(configuration.fallback.chain.recover, instance.past.brake)
            way_back.begin(loaded.loop())

    def late(bound: Sequence[Listener]) -> None:
        status.ready_late(bound, instance.describe(app))
        instance.sockets.store()

    def stopping() -> None:
        if way_back is not None:
            way_back.end()
        status.leaving(returns=instance.signals.going_back and not instance.signals.count)

    serve(
        instance, loaded, deadline, Reports(ready, stopping, ask=_ignore if control is None else control.ask, late=late)
    )


def _events(  # noqa: C901 - one method for each event
    instance: Instance, loaded: Loaded, deadline: Deadline, reports: Reports, given_up: Sequence[Listener]
) -> ServerEvents:
    """Return what follows from the events of a server; ``given_up`` are the listeners that it serves for a last time."""
    from arun.server.server import ServerEvents

    held, claimed = instance.sockets, instance.configuration.listening

    class Events(ServerEvents):
        def ready(self, server: Server) -> None:
            deadline.finish()
            gc.freeze()  # what a start has loaded stays: the collector need not look at it again at every request
            gc.set_threshold(*instance.launch.gc_threshold)
            exits.release_descriptors()
            reports.ready(server)
            loop = loaded.loop()
            provisions.load_in_idle_time(loop, loaded.app.kind, goes_offline=instance.goes_offline)
            instance.status.stay_alive(loop.call_later)
            instance.outage.drive(loop.call_later)

        def stopping(self) -> None:
            if reports.stopping is not None:
                reports.stopping()

        def thread_lost(self, text: str) -> None:
            if reports.thread_lost is not None:
                reports.thread_lost(text)

        def leaving(self) -> None:
            _deafen(given_up)

        def left(self) -> None:
            held.let_go(given_up)

        def open_late(self) -> list[ServedSocket] | None:
            if reports.late is None or not held.busy:
                return None
            late = listening.bind_late(held, claimed.options)
            if late:
                reports.late(late)
            return served_sockets(late, claimed.contexts)

    return Events()


def serve(instance: Instance, loaded: Loaded, deadline: Deadline, reports: Reports) -> None:
    """Serve the app on the listeners until a stop signal comes, or the owner of the server asks for it.

    Raises:
        StartupFailure: the app's start-up has failed, or the access log cannot be written.
    """
    from arun.server import server

    settings, claimed, signals = instance.configuration.settings, instance.configuration.listening, instance.signals
    deadline.step("the app's own start-up")
    log = access_file(settings, instance.launch.directory)
    loop = loaded.loop()
    if logs.worker() <= 1:  # one of them is enough to tell
        logs.info(f"arun: {loaded.app.kind} on {_described(loop)}", "loop", kind=loaded.app.kind)

    def reopen() -> None:
        instance.output.reopen()
        if log is not None:
            log.reopen()

    # A worker that replaces another finds closed what was given up.
    leaving = [listener for listener in claimed.leaving if listener.socket.fileno() >= 0]
    events = _events(instance, loaded, deadline, reports, leaving)
    http = http_server_for(loaded.app, settings, log, events.thread_lost)
    page = instance.configuration.fallback.chain.welcome_html
    path = instance.configuration.status_path
    arrange = _arranging(http, path, instance.status.outlook, reports.ask, page)
    arrange()
    serving = server.Server(
        http,
        served_sockets(claimed.listeners, claimed.contexts),
        server.ServerOptions(settings.backlog, settings.drain_delay, settings.timeout_graceful_shutdown, PARTING),
        events,
        leaving=served_sockets(leaving, claimed.contexts),
        contexts=tuple(claimed.contexts.values()),
    )
    deadline.leave_signals_to_loop()
    logs.adopt_logging()
    signals.on_reopen(lambda: loop.call_soon_threadsafe(reopen))  # the access log is the loop's alone
    instance.status.on_outlook(partial(_rearrange, loop, arrange))
    try:
        _run(loop, serving.serve(signals), signals)
    finally:
        instance.status.on_outlook(None)
        signals.on_reopen(instance.output.reopen)
        if log is not None:
            log.close()


def _arranging(
    http: HttpServer, path: str | None, outlook: Callable[[], Outlook], ask: Callable[[int], bool], page: str
) -> Callable[[], None]:
    """Return what arranges the detours around an app by what holds now; they are loaded when there are any."""
    detours: Detours | None = None

    def arrange() -> None:
        nonlocal detours
        if detours is None and path is None and outlook().offline is None:
            return
        if detours is None:
            from arun.lifecycle.detours import Detours

            detours = Detours(http, path, outlook, ask, page)
        detours.arrange()

    return arrange


def _rearrange(loop: asyncio.AbstractEventLoop, arrange: Callable[[], None]) -> None:
    """Arrange the detours anew, soon; from any thread."""
    with contextlib.suppress(RuntimeError):  # the loop has been closed
        loop.call_soon_threadsafe(arrange)


def _described(loop: asyncio.AbstractEventLoop) -> str:
    """Return the name of a loop, with the version of what is no part of Python."""
    name = type(loop).__module__.partition(".")[0]
    version = getattr(sys.modules.get(name), "__version__", "")
    return f"{name} {version}".rstrip()


def _run(loop: asyncio.AbstractEventLoop, serving: Coroutine[Any, Any, None], signals: StopSignals) -> None:
    """Run the loop until ``serving`` has ended; a handler of the app's for a stop signal does not end it before.

    Such handlers, which the loop itself calls, often stop the loop or raise SystemExit: then the stop goes on in order.
    """
    task = loop.create_task(serving)
    while True:
        try:
            loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError):
            if task.done() or loop.is_closed() or not (signals.count or signals.going_back):
                raise
        else:
            return
