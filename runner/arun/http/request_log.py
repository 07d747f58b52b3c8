"""What is kept of requests: ids, lines in the access log, numbers for metrics, and frames in the error log for those that fail."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from time import perf_counter

from arun.core.failures import printable
from arun.http.access.line import Entry
from arun.http.exchange import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

    from arun.http.exchange import Exchange, Stream
    from arun.http.forwarded import Forwarding
    from arun.http.measures import Measures
    from arun.http.options import HttpOptions

__all__ = ("ErrorLog", "RequestIds", "RequestLog")

#: When a proxy has taken a request.
REQUEST_START: Final = b"x-request-start"
_LONGEST_ID = 128
_ID_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#: Frames that are written in one second; more of them would say the same, and take the time of requests that work.
_FRAMES: Final = 20


class RequestLog(Record):
    """Ids, access log and measures of all requests. It is the record of each request itself, unless requests have ids.

    The server has one only where one of them is on.
    """

    request_id: bytes | None = None
    #: The header line that carries the id to the client.
    id_line = b""

    def __init__(self, options: HttpOptions, forwarding: Forwarding) -> None:
        header, access = options.request_id_header, options.access
        self._forwarding = forwarding
        self._access = access
        #: What is said of the request whose line is written now: there is one, as a new one would cost as much as the line.
        self._entry = Entry()
        self._ids = None if header is None else RequestIds(header)
        #: What is measured for metrics; None while nothing is.
        self.measures: Measures | None = None
        if options.measures:
            from arun.http.measures import Measures

            self.measures = Measures()
        #: Whether anything asks how long a request takes: most lines do not.
        self._timed = options.measures or options.on_debug is not None or (access is not None and access.needs_seconds)

    def start_record(self, exchange: Exchange) -> None:
        """Note when a request begins, and give it its id, which the app finds among the header fields."""
        exchange.started_at = exchange.taken = perf_counter() if self._timed else 0.0
        exchange.sent = 0
        ids, request = self._ids, exchange.request
        if self.measures is not None:
            exchange.queued = 0.0
            for name, value in request.headers:  # in this place, as a call costs more than the fields
                if name == REQUEST_START:
                    exchange.queued = self._queued_before(exchange, value)
        if ids is None:
            exchange.record = self
            return
        own = ids.take(request.headers, trusted=self._forwarding.trusts(exchange.stream.connection.client))
        request.headers = ids.placed(request.headers, own)
        exchange.record = _NamedRecord(self, own, ids.line(own))

    def end(self, exchange: Exchange, status: int = 0) -> None:
        """Write the line of a request; ``status`` is that of a response which is not the app's, as 101 is."""
        if not status and exchange.head_sent and isinstance(exchange.status, int):
            status = exchange.status
        seconds = perf_counter() - exchange.started_at if self._timed else 0.0
        if self.measures is not None:
            self.measures.add(exchange, status, seconds)
        access = self._access
        if access is None:
            return
        request, connection, entry = exchange.request, exchange.stream.connection, self._entry
        client = connection.client
        entry.scheme = connection.scheme
        if request.was_forwarded:
            client, entry.scheme = self._forwarding.ends_of(client, entry.scheme, request)
        entry.client = client[0] if client else None
        entry.method = request.method
        entry.target = request.target
        entry.version = request.version
        entry.status = status
        entry.sent = exchange.sent
        entry.seconds = seconds
        entry.request_fields = request.headers
        if access.needs_response_fields:
            entry.response_fields = list(exchange.response_fields())
        if self._ids is not None and exchange.record is not None:
            own = exchange.record.request_id
            entry.request_id = None if own is None else own.decode()
        access.log(entry)

    def _queued_before(self, exchange: Exchange, value: bytes) -> float:
        """Return the seconds for which a proxy has had the request, as it says; 0 where the proxy is not trusted."""
        from arun.http.measures import queued_since

        return queued_since(value) if self._forwarding.trusts(exchange.stream.connection.client) else 0.0

    def refused(self, stream: Stream, status: int, sent: int) -> None:
        """Write the line of what was refused before it became a request."""
        if self.measures is not None:
            self.measures.refused(status, sent)
        if self._access is not None:
            client = stream.connection.client
            self._access.log(Entry(client[0] if client else None, status=status, sent=sent))


class _NamedRecord(Record):
    """The record of a request that has an id."""

    __slots__ = ("_log", "id_line", "request_id")

    def __init__(self, log: RequestLog, request_id: bytes, id_line: bytes) -> None:
        self._log = log
        self.request_id: bytes | None = request_id
        self.id_line = id_line

    def end(self, exchange: Exchange, status: int = 0) -> None:
        """Write the line of a request, as :meth:`RequestLog.end`."""
        self._log.end(exchange, status)


class RequestIds:
    """Gives every request an id, which app, response and logs share; ``header`` is the field that carries it.

    An id is 16 random hexadecimal digits, the same for all requests of a process, and a counter: unique among processes,
    cheap, easy to search for, and no secret.
    """

    def __init__(self, header: str) -> None:
        self.header = header
        self.name = header.lower().encode()
        self._prefix = os.urandom(8).hex()
        self._numbers = count(1)

    def take(self, fields: Iterable[tuple[bytes, bytes]], *, trusted: bool) -> bytes:
        """Return the id of a request with these header fields: that of a ``trusted`` client, else a new one.

        A trusted id of other than 1 to 128 letters, digits, ``.``, ``_`` and ``-`` is replaced as well, and so are several.
        """
        if trusted:
            given = [value for name, value in fields if name == self.name]
            if len(given) == 1 and 0 < len(given[0]) <= _LONGEST_ID and not given[0].translate(None, _ID_BYTES):
                return given[0]
        return b"%b%08x" % (self._prefix.encode(), next(self._numbers))

    def placed(self, fields: Iterable[tuple[bytes, bytes]], own: bytes) -> list[tuple[bytes, bytes]]:
        """Return the header fields with the id ``own`` as the only one."""
        return [*(field for field in fields if field[0] != self.name), (self.name, own)]

    def line(self, own: bytes) -> bytes:
        """Return the header line of a response that carries the id."""
        return b"%b: %b\r\n" % (self.header.encode(), own)


class ErrorLog:
    """The error log of requests: one frame for each that failed, few when all do. It belongs to the loop's thread.

    ``write`` takes one text for each frame.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        #: Failures within this second.
        self._count = 0

    def failed(  # noqa: PLR0913 - all by name, but for the request line
        self,
        method: str,
        target: bytes,
        *,
        client: str | None,
        request_id: bytes | None,
        traceback: Callable[[], str],
        how: str = "failed",
    ) -> None:
        """Write the frame of a request whose app failed: request line, client, id, and the result of ``traceback``.

        Beyond 20 in a second only their number is written, when it is over.
        """
        if not self._count:
            asyncio.get_running_loop().call_later(1.0, self._next_second)
        self._count += 1
        if self._count > _FRAMES:
            return
        known = [f"client {client}" if client else "", f"request id {request_id.decode()}" if request_id else ""]
        where = ", ".join(filter(None, known))
        line = f"{method} {printable(target.decode('latin-1'))} {how}"
        self._write(f"{line} ({where})\n{traceback()}" if where else f"{line}\n{traceback()}")

    def _next_second(self) -> None:
        more, self._count = self._count - _FRAMES, 0
        if more > 0:
            self._write(f"... and {more} more requests failed in that second\n")
