"""What is kept of a request beside its answer: its id, and its line in the access log. Made only where one is on."""

from __future__ import annotations

from time import perf_counter

from runner.apps.engines.access_log import Entry
from runner.apps.engines.request_id import RequestIds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.apps.engines.h1_engine.engine import H1Engine
    from runner.apps.engines.h1_engine.exchange import Exchange
    from runner.apps.engines.h1_engine.protocol import Connection

__all__ = ("Records",)


class Records:
    """Gives requests their ids when they begin, and writes their lines when they end."""

    def __init__(self, engine: H1Engine) -> None:
        header = engine.options.request_id_header
        self._engine = engine
        self._access = engine.options.access
        self._ids = None if header is None else RequestIds(header)

    def begin(self, exchange: Exchange) -> None:
        """Note when a request begins, and give it its id; the app finds that among the header fields."""
        if self._access is not None:
            exchange.began = perf_counter()
        ids = self._ids
        if ids is not None:
            request = exchange.request
            own = ids.take(request.headers, trusted=self._engine.trusts(exchange.connection.client))
            request.headers = ids.placed(request.headers, own)
            exchange.request_id, exchange.id_line = own, ids.line(own)

    def end(self, exchange: Exchange, status: int = 0) -> None:
        """Write the line of an exchange; ``status`` is 101 where it has become a websocket that has ended."""
        if self._access is None:
            return
        request, client, scheme = exchange.request, exchange.connection.client, "http"
        if request.forwarded_for is not None or request.forwarded_proto is not None:
            client, scheme = self._engine.forwarded(client, request)
        request_id = exchange.request_id
        self._access(
            Entry(
                client[0] if client else None,
                request.method,
                request.target,
                request.version,
                status or exchange.status,
                exchange.sent,
                perf_counter() - exchange.began,
                request.headers,
                exchange.answer_fields(),
                scheme,
                None if request_id is None else request_id.decode(),
            )
        )

    def refused(self, connection: Connection, status: int, sent: int) -> None:
        """Write the line of what never became a request: whose it was, and what it was answered."""
        if self._access is not None:
            client = connection.client
            self._access(Entry(client[0] if client else None, "", b"", "", status, sent, 0.0))
