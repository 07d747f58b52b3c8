"""What all requests of an aiohttp app share while it serves."""

from __future__ import annotations

from arun.apps.aiohttp.head import Heads
from arun.system.tracebacks import app_traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from aiohttp.abc import AbstractAccessLogger

    from arun.apps.aiohttp.handler_args import HandlerArgs
    from arun.http.exchange import Exchange
    from arun.http.server import HttpServer

__all__ = ("Serving",)


class Serving:
    """An app that has started; ``handler`` answers a request and ``make_request`` makes one, both are aiohttp's."""

    __slots__ = ("access_log", "args", "handler", "heads", "http", "logger", "loop", "make_request", "nothing", "plain")

    def __init__(
        self,
        http: HttpServer,
        args: HandlerArgs,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        make_request: Callable[..., web.BaseRequest],
        *,
        plain: bool,
    ) -> None:
        self.http = http
        self.args = args
        self.handler = handler
        self.make_request = make_request
        self.loop = http.loop
        self.heads = Heads(server=http.options.server_header, date=http.options.date_header)
        #: A finished future, returned in place of a coroutine that has nothing to wait for.
        self.nothing: asyncio.Future[None] = http.loop.create_future()
        self.nothing.set_result(None)
        #: An access logger of the app's own, and a logger of its own that takes errors.
        self.access_log: AbstractAccessLogger | None = args.access_log
        #: Nobody looks at the responses of its handlers before they are sent, or when they were.
        self.plain = plain and args.access_log is None
        self.logger = args.logger if args.logger is not None and args.logger.hasHandlers() else None

    def report(self, exchange: Exchange, exc: BaseException) -> None:
        """Write the frame of a request that failed, and tell the app's own logger."""
        self.http.report(exchange, lambda: app_traceback(exc))
        if self.logger is not None:
            client = exchange.stream.connection.client
            self.logger.error("Error handling request from %s", client[0] if client else None, exc_info=exc)

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Call the app's own access logger; one that raises is not called again."""
        logger = self.access_log
        if logger is None:
            return
        try:
            logger.log(request, response, seconds)
        except Exception as exc:  # noqa: BLE001 - the app's; its request is answered
            self.access_log = None
            self.http.options.on_error(
                f"the app's access logger raised, and is not called any more\n{app_traceback(exc)}"
            )
