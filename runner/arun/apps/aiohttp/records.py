"""Access log and request ids of aiohttp apps: what aiohttp's server tells of a request, in the words of the others."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_protocol import ERROR
from multidict import CIMultiDict, CIMultiDictProxy

from arun.http.request_log import RequestIds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Any

    from aiohttp.http_parser import RawRequestMessage

    from arun.apps.aiohttp.answers import Answer
    from arun.http.options import HttpOptions

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    RequestFactory = Callable[..., web.BaseRequest]

__all__ = ("AccessLogger", "Records", "failing")

_SWITCHING = 101
#: The request whose handler has just raised, in the task in which aiohttp then logs that.
failing: ContextVar[web.BaseRequest | None] = ContextVar("failing", default=None)


class Records:
    """What is kept of requests beside their answers.

    ``trusts`` judges the address of a peer that sends an id; ``of_app`` is an access logger of the app's own.
    """

    def __init__(
        self, options: HttpOptions, trusts: Callable[[str | None], bool], of_app: AbstractAccessLogger | None = None
    ) -> None:
        header = options.request_id_header
        self._access = options.access
        self._ids = None if header is None else RequestIds(header)
        self._trusts = trusts
        self._of_app = of_app
        self._on_error = options.on_error

    def for_aiohttp(self) -> dict[str, Any]:
        """Return the arguments of ``web.AppRunner`` that make its server tell of its answers."""
        tells = self._access is not None or self._of_app is not None
        return {"access_log": self if tells else None, "access_log_class": AccessLogger}

    def prepare(self, app: web.Application) -> None:
        """Let the answers of an app that is not started yet carry the ids."""
        ids = self._ids
        if ids is None:
            return

        async def add_id(request: web.Request, response: web.StreamResponse) -> None:
            response.headers[ids.header] = request.headers[ids.header]

        app.on_response_prepare.append(add_id)

    def named(self, factory: RequestFactory) -> RequestFactory:
        """Wrap the making of requests, so that each has its id among its header fields."""
        ids = self._ids
        return factory if ids is None else _naming(factory, ids, self._trusts)

    def watched(self, handler: Handler) -> Handler:
        """Wrap the app, so that the access log knows of answers that were cut.

        aiohttp itself says nothing of a request whose handler is cancelled, or raises when an answer has begun.
        """
        if self._access is None:
            return handler
        now = asyncio.get_running_loop().time

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            began = now()
            try:
                return await handler(request)
            except web.HTTPException:
                raise
            except BaseException as exc:
                if request.writer.output_size or isinstance(exc, asyncio.CancelledError):
                    self.tell(request, None, now() - began)
                raise

        return handle

    def id_of(self, request: web.BaseRequest) -> str | None:
        """Return the id of a request, None where requests have none."""
        return None if self._ids is None else request.headers.get(self._ids.header)

    def id_line(self, request: web.BaseRequest) -> bytes:
        """Return the header line that carries the id of a request in its answer; empty where requests have none."""
        own = self.id_of(request)
        return b"" if self._ids is None or own is None else self._ids.line(own.encode())

    def tell_answered(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Write the line of a request that was answered, and call the app's own access logger, if there are any."""
        self.tell(request, response, seconds)
        if self._of_app is None:
            return
        try:
            self._of_app.log(request, response, seconds)
        except Exception as exc:  # noqa: BLE001 - the app's; its request is answered
            from arun.system.tracebacks import app_traceback

            self._of_app = None
            self._on_error(f"the app's access logger raised, and is not called any more\n{app_traceback(exc)}")

    def tell_cut(self, request: web.BaseRequest, seconds: float) -> None:
        """Write the line of a request that is not waited for any longer; no other one follows."""
        self.tell(request, None, seconds)
        answer: Answer = request._payload_writer  # type: ignore[assignment] # noqa: SLF001 - of Exchanges
        answer.told = True

    def tell(self, request: web.BaseRequest, response: web.StreamResponse | None, seconds: float) -> None:
        """Write the line of a request, if there is an access log; without ``response`` it was cut."""
        if self._access is None:
            return
        unread = request.method == ERROR.method  # what stands for a request that could not be read
        version = request.version
        answer: Answer = request._payload_writer  # type: ignore[assignment] # noqa: SLF001 - of Exchanges
        if answer.told:
            return
        self._access(
            request.remote or None,
            "" if unread else request.method,
            request.raw_path.encode("utf-8", "surrogateescape"),
            f"{version.major}.{version.minor}",
            answer.status if answer.output_size else 0,
            _sent(answer, response),
            seconds,
            () if unread else _lowered(request),
            () if response is None else _said(response),
            request.scheme,
            None if unread else self.id_of(request),
        )


class AccessLogger(AbstractAccessLogger):
    """What aiohttp calls when an answer has ended; in the place of a logger it is given :class:`Records`."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Tell of a request that was answered in ``time`` seconds."""
        records: Records = self.logger  # type: ignore[assignment] # as the class says
        records.tell_answered(request, response, time)


def _naming(factory: RequestFactory, ids: RequestIds, trusts: Callable[[str | None], bool]) -> RequestFactory:
    def make(message: RawRequestMessage, payload: Any, protocol: web.RequestHandler, *more: Any) -> web.BaseRequest:
        if message.method == ERROR.method:
            return factory(message, payload, protocol, *more)
        peer = protocol.peername
        fields = [(field.lower(), value) for field, value in message.raw_headers]
        own = ids.take(fields, trusted=trusts(peer[0] if isinstance(peer, tuple) else None))
        headers = CIMultiDict(message.headers)
        headers[ids.header] = own.decode()
        raw = [pair for pair in message.raw_headers if pair[0].lower() != ids.name]
        named = message._replace(headers=CIMultiDictProxy(headers), raw_headers=(*raw, (ids.header.encode(), own)))
        return factory(named, payload, protocol, *more)

    return make


def _lowered(request: web.BaseRequest) -> Iterator[tuple[bytes, bytes]]:
    for name, value in request.raw_headers:
        yield name.lower(), value


def _said(response: web.StreamResponse) -> Iterator[tuple[bytes, bytes]]:
    for name, value in response.headers.items():
        yield name.lower().encode(), value.encode("utf-8", "surrogateescape")


def _sent(answer: Answer, response: web.StreamResponse | None) -> int:
    """Bytes of the body; of what the kernel sends from a file only the length is known."""
    if answer.bodiless or answer.status == _SWITCHING:
        return 0
    if isinstance(response, web.FileResponse) and response.content_length is not None:
        return response.content_length
    return answer.body_size
