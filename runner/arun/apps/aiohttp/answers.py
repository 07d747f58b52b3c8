"""The writing half of a connection: aiohttp's writer, which holds every answer to RFC 9110 and 9112.

A faulty answer never becomes part of the next one: what may have no body gets none, a body is as long as announced.
"""

from __future__ import annotations

from aiohttp.client_exceptions import ClientConnectionResetError
from aiohttp.hdrs import CONNECTION, CONTENT_LENGTH, DATE, SERVER, TRANSFER_ENCODING, UPGRADE
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11, StreamWriter
from aiohttp.http_writer import _serialize_headers

from arun.http.fields import TOKEN_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from aiohttp.http_writer import Buffer
    from multidict import CIMultiDict

    from arun.apps.aiohttp.connection import GuardedConnection

__all__ = ("Answer",)

_NAME = "arun"
_SWITCHING = "101"
#: Bytes of a body up to which it is joined to its head, instead of being handed over beside it.
_JOINED = 2048
_DIGITS = 3
_LAST_CHUNK = b"0\r\n\r\n"
_BUSY = b"Service Unavailable\n"
_NO_BODY = frozenset(("204", "304"))
#: How an interim response begins (RFC 9110 section 15.2), and one that is none: after a 101 nothing follows.
_INTERIM, _NOT_INTERIM = b"HTTP/1.1 1", b"HTTP/1.1 101"
_HEAD_END = b"\r\n\r\n"
#: Bytes of an interim response, at most.
_INTERIM_SIZE = 65_536

#: Names of fields that were found to be tokens, how many are remembered, and how long they may be. A set: it is asked of
#: each field of each answer, and aiohttp's own kind of text costs a dict twice as much.
_names: set[str] = set()
_REMEMBERED, _LONGEST = 512, 256


class Answer(StreamWriter):
    """One answer on its way to the client; aiohttp's responses write to it."""

    #: The answer has no body, whatever the app writes.
    bodiless = False
    #: The app has written some of the body itself, so that what is left of its length is known.
    measured = False
    #: The request is a HEAD.
    is_head = False
    #: The answer says that it is the last one of its connection.
    is_last = False
    #: The access log has been told of it.
    told = False
    #: The status of a head that was taken, and bytes of heads and framing among those that were sent.
    status = 0
    overhead = 0
    #: The beginning of an interim response of which the app has written no more yet.
    _interim = b""
    _protocol: GuardedConnection

    @property
    def ends_with_connection(self) -> bool:
        """Whether nothing but the end of the connection tells the client where the body ends."""
        return self.length is None and not self.chunked and not self.bodiless

    @property
    def body_size(self) -> int:
        """Bytes of the body that were sent, as they were encoded and without their framing."""
        return max(0, self.output_size - self.overhead)

    @property
    def missing(self) -> int:
        """Bytes of the announced body that were not written."""
        return 0 if self.bodiless or self.length is None else self.length

    def decline(self, own_id: bytes) -> None:
        """Answer 503 in the app's place, which has sent nothing; the connection ends behind it (RFC 9110 section 15.6.4).

        ``own_id`` is the field that carries the id of the request.
        """
        from arun.http.fields import own_fields, status_line

        guard, transport = self._protocol.guard, self._protocol.transport
        if transport is None:
            return
        head = (
            b"%b%b%bretry-after: 1\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            % (
                status_line(503),
                own_fields(guard.server_header, guard.date_header),
                own_id,
                len(_BUSY),
            )
        )
        self.status, self.overhead, self.bodiless = 503, len(head), self.is_head
        data = head if self.is_head else head + _BUSY
        self.output_size = len(data)
        transport.write(data)

    # A plain function that returns what is done already saves each answer a coroutine; so does write_eof.
    def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> Awaitable[None]:  # type: ignore[override]
        """Take the head; the version and the connection are the server's to state.

        Raises:
            RuntimeError: an answer to this request has begun before.
            ConnectionError: it was answered in the app's place, which took too long.
            ValueError: the status is no final one, a name is no token, a length no number, or a field or the reason
                holds a control character.
        """
        if self.output_size or self._interim:
            raise self._out_of_turn()
        status = status_line.split(" ", 2)[1]
        _judge(status, headers)
        if self.is_head or status in _NO_BODY:
            self.bodiless = True
        if (TRANSFER_ENCODING in headers) is not self.chunked:
            if self.chunked:
                self.chunked = False  # from another response, which was given up
            else:
                del headers[TRANSFER_ENCODING]
        protocol = self._protocol
        guard = protocol.guard
        if headers.get(SERVER) == SERVER_SOFTWARE:  # aiohttp's own; what the app has said itself stays
            if guard.server_header:
                headers[SERVER] = _NAME
            else:
                del headers[SERVER]
        if not guard.date_header and headers.get(DATE) == rfc822_formatted_time():
            del headers[DATE]
        if status != _SWITCHING and protocol.is_last:
            headers[CONNECTION] = "close"
            self.is_last = True
        if status_line[7] == "0":  # RFC 9112 section 2.3
            status_line = f"HTTP/1.1{status_line[8:]}"
            headers.setdefault(CONNECTION, "close")
        self.status = int(status)
        self._headers_buf = head = _serialize_headers(status_line, headers)
        self.overhead = len(head)
        return guard.done

    def _out_of_turn(self) -> Exception:
        if self._interim:
            return ValueError(f"{self._interim[:80]!r} is no whole interim response")
        if self._protocol.transport is None:
            return ClientConnectionResetError("the request was answered in the app's place")
        return RuntimeError("a request is answered twice")

    async def write(self, chunk: Buffer, *, drain: bool = True, LIMIT: int = 0x10000) -> None:  # noqa: N803 - aiohttp's
        """Send a piece of the body, or an interim response before the head; a body is cut off where its length ends."""
        if not self.status:
            chunk = self._without_interim(chunk)
            if not chunk:
                return
        if self.bodiless:
            self.send_headers()
            return
        self.measured = True
        await super().write(chunk, drain=drain, LIMIT=LIMIT)

    def _without_interim(self, chunk: Buffer) -> bytes:
        """Send interim responses, which aiohttp's apps write as bytes; return what is none (RFC 9110 section 15.2).

        Raises:
            ConnectionError: nobody is there to take them.
            ValueError: one has no end.
        """
        data, self._interim = self._interim + bytes(chunk), b""
        while data and not self.output_size:
            is_interim = data.startswith(_INTERIM) or _INTERIM.startswith(data)
            if not is_interim or data.startswith(_NOT_INTERIM):
                break
            end = data.find(_HEAD_END) + len(_HEAD_END)
            if end < len(_HEAD_END):
                if len(data) > _INTERIM_SIZE:
                    raise ValueError(f"an interim response has more than {_INTERIM_SIZE} bytes")
                self._interim, data = data, b""
                break
            transport, request = self._protocol.transport, self._protocol.request
            if transport is None or transport.is_closing():
                raise ClientConnectionResetError("Cannot write to closing transport")
            if request is not None and request.version >= HttpVersion11:  # an older client knows none
                transport.write(data[:end])
            data = data[end:]
        return data

    def _write(self, chunk: Buffer) -> None:
        if chunk == _LAST_CHUNK and self.chunked:
            self.overhead += len(_LAST_CHUNK)
        super()._write(chunk)

    def _writelines(self, chunks: Iterable[Buffer]) -> None:
        pieces = tuple(chunks)
        if self.chunked:  # [head,] size, data ..., end; or head, end
            framing = pieces[1:] if self.output_size == 0 else pieces
            self.overhead += len(framing[-1]) + (len(framing[0]) if len(framing) > 1 else 0)
        super()._writelines(pieces)

    def write_eof(self, chunk: bytes = b"") -> Awaitable[None]:  # type: ignore[override]
        """Send the last piece of the body.

        Raises:
            ConnectionError: nobody is there to take it.
        """
        if type(chunk) is not bytes:
            chunk = bytes(chunk)  # whose length is its size, and which nobody changes meanwhile
        if self.bodiless:
            self.chunked = False
            self.set_eof()  # and the rest is nothing
        elif (length := self.length) is not None and chunk and self._compress is None:
            if len(chunk) > length:
                chunk = chunk[:length]
            self.length = length - len(chunk)
            self.measured = True
        protocol = self._protocol
        head, transport = self._headers_buf, protocol.transport
        if head is None or self.chunked or self._compress is not None or len(chunk) > _JOINED or transport is None:
            return super().write_eof(chunk)
        # Nearly every answer: a head and a short body, neither sent yet.
        if transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._headers_buf = None
        self._headers_written = self._eof = True
        self.output_size += len(head) + len(chunk)
        transport.write(head + chunk)
        if chunk and (notify := self.on_body_write) is not None:
            notify(len(chunk), self.output_size)
        return self.drain() if protocol._paused else protocol.guard.done  # noqa: SLF001 - its own too


def _judge(status: str, headers: CIMultiDict[str]) -> None:
    """Hold a head to RFC 9110 sections 5.1, 8.6 and 15; the same length said twice is said once.

    Raises:
        ValueError: it breaks one of them.
    """
    switches = status == _SWITCHING and UPGRADE in headers
    if len(status) != _DIGITS or not ("200" <= status <= "999" or switches):
        raise ValueError(f"{status} is not the status of an answer")
    for name in headers:
        if name not in _names:
            _judge_name(name)
    lengths = headers.getall(CONTENT_LENGTH, ())
    if not lengths:
        return
    length = lengths[0]
    if not (length.isascii() and length.isdigit()) or lengths.count(length) != len(lengths):
        raise ValueError(f"{', '.join(lengths)!r} is not a Content-Length")
    if len(lengths) > 1:
        headers[CONTENT_LENGTH] = length


def _judge_name(name: str) -> None:
    """Remember a name that is a token (RFC 9110 section 5.6.2), so that it is not judged again.

    Raises:
        ValueError: it is none.
    """
    if not name.isascii() or not name or name.encode().translate(None, TOKEN_BYTES):
        raise ValueError(f"{name!r} is not a header name")
    if len(_names) >= _REMEMBERED:
        _names.clear()
    if len(name) <= _LONGEST:
        _names.add(str(name))
