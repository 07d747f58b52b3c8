"""What is kept of a request beside its answer: its id, and its line in the access log. Made only where one is on."""

from __future__ import annotations

from time import perf_counter

from runner.apps.engines.access.log import Entry
from runner.apps.engines.request_id import RequestIds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.apps.engines.h1_engine.engine import H1Engine
    from runner.apps.engines.h1_engine.exchange import Exchange
    from runner.apps.engines.h1_engine.protocol import Connection

__all__ = ("Record", "Records")


class Record:
    """What is kept of one request; ``sent`` counts the bytes of the answer's body, without their framing."""

    __slots__ = ("_began", "_records", "id_line", "request_id", "sent")

    def __init__(self, records: Records, request_id: bytes | None, id_line: bytes) -> None:
        self._records = records
        self._began = perf_counter()
        self.request_id = request_id
        self.id_line = id_line
        self.sent = 0

    def end(self, exchange: Exchange, status: int = 0) -> None:
        """Write the line of an exchange; ``status`` is 101 where it has become a websocket that has ended."""
        self._records.write(exchange, status or exchange.status, self, perf_counter() - self._began)


class Records:
    """Gives requests their ids when they begin, and writes their lines when they end."""

    def __init__(self, engine: H1Engine) -> None:
        header = engine.options.request_id_header
        self._engine = engine
        self._access = engine.options.access
        self._ids = None if header is None else RequestIds(header)

    def begin(self, exchange: Exchange) -> None:
        """Note when a request begins, and give it its id; the app finds that among the header fields."""
        ids, request = self._ids, exchange.request
        if ids is None:
            exchange.record = Record(self, None, b"")
            return
        own = ids.take(request.headers, trusted=self._engine.trusts(exchange.connection.client))
        request.headers = ids.placed(request.headers, own)
        exchange.record = Record(self, own, ids.line(own))

    def write(self, exchange: Exchange, status: int, record: Record, seconds: float) -> None:
        """Write the line of a request that has ended."""
        if self._access is None:
            return
        request, connection = exchange.request, exchange.connection
        client, scheme = connection.client, connection.scheme
        if request.was_forwarded:
            client, scheme = self._engine.forwarded(connection, request)
        self._access(
            Entry(
                client[0] if client else None,
                request.method,
                request.target,
                request.version,
                status,
                record.sent,
                seconds,
                request.headers,
                exchange.answer_fields(),
                scheme,
                None if record.request_id is None else record.request_id.decode(),
            )
        )

    def refused(self, connection: Connection, status: int, sent: int) -> None:
        """Write the line of what never became a request: whose it was, and what it was answered."""
        if self._access is not None:
            client = connection.client
            self._access(Entry(client[0] if client else None, "", b"", "", status, sent, 0.0))
