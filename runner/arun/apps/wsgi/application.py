"""A WSGI app, and what its requests share; where it is called is up to a subclass (threaded.py, inline.py)."""

from __future__ import annotations

from functools import partial

from arun.apps.wsgi.error_stream import ErrorStream
from arun.apps.wsgi.pool import LoopCalls
from arun.apps.wsgi.spool import LONGER, Room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arun.http.exchange import Exchange, Stream
    from arun.http.request import Request
    from arun.http.server import HttpServer

__all__ = ("WsgiApplication",)


class WsgiApplication:
    """A WSGI app; a subclass fulfils :class:`arun.http.server.Application`."""

    cancellable: bool
    interruptible: bool
    http: HttpServer
    #: ``SCRIPT_NAME``: the path under which a proxy shows the app, as WSGI writes text.
    root: str
    #: Calls into the loop's thread.
    calls: LoopCalls

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app
        #: ``wsgi.errors``, the same for all requests.
        self.errors = ErrorStream(self.log)
        #: What longer request bodies may have of the memory.
        self.room = Room(LONGER)

    async def start(self, http: HttpServer) -> None:
        """Take the server of all requests; WSGI has no start-up of its own."""
        self.http = http
        self.root = http.options.root_path.encode().decode("latin-1")
        self.calls = LoopCalls()

    async def retire(self, grace: float) -> None:
        """Do nothing: a WSGI app does not hear of a stop."""

    async def stop(self, grace: float) -> None:
        """Do nothing: WSGI has no shut-down of its own."""

    def abort(self) -> None:
        """Do nothing, as ``stop`` does."""

    def exchange(self, stream: Stream, request: Request) -> Exchange:
        """Return the exchange of one request."""
        raise NotImplementedError

    def takes_upgrade(self, request: Request) -> bool:  # noqa: ARG002 - WSGI has no upgrades
        """Return False: a WSGI app cannot take a connection over."""
        return False

    def log(self, text: str) -> None:
        """Write to the error log from any thread; in the loop's, as the log belongs to it."""
        self.calls.post(partial(self.http.options.on_error, text))
