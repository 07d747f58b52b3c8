"""What is kept of a request beside its answer: its id, and its line in the access log. Made only where one is on."""

from __future__ import annotations

from time import perf_counter

from arun.http.request_id import RequestIds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.http.exchange import Exchange
    from arun.http.http1.connection import Connection
    from arun.http.server import H1Engine

__all__ = ("Record", "Records")


class Records:
    """Keeps what is the same for all requests: it is the record of each, unless they have ids."""

    request_id: bytes | None = None
    #: The field that tells the client the id.
    id_line = b""

    def __init__(self, engine: H1Engine) -> None:
        header = engine.options.request_id_header
        self._engine = engine
        self._access = engine.options.access
        self._ids = None if header is None else RequestIds(header)

    def begin(self, exchange: Exchange) -> None:
        """Note when a request begins, and give it its id; the app finds that among the header fields."""
        exchange.began = perf_counter()
        exchange.sent = 0
        ids, request = self._ids, exchange.request
        if ids is None:
            exchange.record = self
            return
        own = ids.take(request.headers, trusted=self._engine.trusts(exchange.connection.client))
        request.headers = ids.placed(request.headers, own)
        exchange.record = Record(self, own, ids.line(own))

    def end(self, exchange: Exchange, status: int = 0) -> None:
        """Write the line of an exchange; ``status`` is that of an answer which is not the app's, as 101 is."""
        access = self._access
        if access is None:
            return
        request, connection = exchange.request, exchange.connection
        client, scheme = connection.client, connection.scheme
        if request.was_forwarded:
            client, scheme = self._engine.forwarded(connection, request)
        own = exchange.record.request_id if exchange.record else None
        access(
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
            None if own is None else own.decode(),
        )

    def refused(self, connection: Connection, status: int, sent: int) -> None:
        """Write the line of what was answered without ever becoming a request."""
        if self._access is not None:
            client = connection.client
            self._access(client[0] if client else None, "", b"", "", status, sent, 0.0)


class Record:
    """What is kept of a request that has an id."""

    __slots__ = ("_records", "id_line", "request_id")

    def __init__(self, records: Records, request_id: bytes, id_line: bytes) -> None:
        self._records = records
        self.request_id: bytes | None = request_id
        self.id_line = id_line

    def end(self, exchange: Exchange, status: int = 0) -> None:
        """Write the line of an exchange, as :meth:`Records.end`."""
        self._records.end(exchange, status)
