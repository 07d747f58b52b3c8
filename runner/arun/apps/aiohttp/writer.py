"""The writing half of an exchange, as aiohttp's responses know it: what they write is sent as our connection frames it.

A faulty response never becomes part of the next one: what may have no body gets none, and a body ends where its
announced length does.
"""

from __future__ import annotations

from aiohttp.abc import AbstractStreamWriter
from aiohttp.hdrs import CONNECTION, UPGRADE

from arun.apps.aiohttp.departures import ConnectionLost
from arun.apps.aiohttp.head import first_lines, plain_head, plain_heads
from arun.http.exchange import Exchange
from arun.http.fields import CLOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aiohttp.compression_utils import ZLibCompressor
    from multidict import CIMultiDict

    from arun.apps.aiohttp.serving import Serving
    from arun.http.exchange import Stream
    from arun.http.request import Request

__all__ = ("SWITCHING", "Writer")

SWITCHING = 101
#: The lowest status of a response that is not interim.
_FINAL = 200
#: How an interim response begins (RFC 9110 section 15.2), and one that is none: after a 101 nothing follows.
_INTERIM, _NOT_INTERIM = b"HTTP/1.1 1", b"HTTP/1.1 101"
_STATUS, _STATUS_END = 9, 12
_LINE_END, _HEAD_END = b"\r\n", b"\r\n\r\n"
#: Bytes of an interim response, at most.
_INTERIM_SIZE = 65_536


class Writer(Exchange):
    """An exchange to which aiohttp's responses write; fulfils :class:`aiohttp.abc.AbstractStreamWriter`.

    It is none by inheritance: a second object, or a dict for this one, would be felt in every request.
    """

    __slots__ = ("_compress", "_interim", "chunked", "output_size", "serving", "switched")

    buffer_size = 0
    on_body_write: Callable[[int, int], None] | None = None

    def __init__(self, stream: Stream, request: Request, serving: Serving) -> None:
        Exchange.__init__(self, stream, request)
        self.serving = serving
        #: The app wants a chunked body, also where its size is known.
        self.chunked = False
        #: Bytes of the response that were written, without its framing.
        self.output_size = 0
        #: The connection has gone over to another protocol.
        self.switched = False
        self._compress: ZLibCompressor | None = None
        #: The beginning of an interim response of which the app has written no more yet.
        self._interim = b""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport of the connection, None when it is gone."""
        return None if self.abandoned else self.stream.connection.transport

    def enable_chunking(self) -> None:
        """Send the body in chunks, if the client takes them."""
        self.chunked = True

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Compress what is written from now on."""
        from aiohttp.compression_utils import ZLibCompressor

        self._compress = ZLibCompressor(encoding=encoding, strategy=strategy)

    # Plain functions that return what is done already save each response a coroutine.
    def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> Awaitable[None]:
        """Take the head; the version, the framing and the connection are the server's to state.

        Raises:
            RuntimeError: a response to this request has begun before.
            ConnectionLost: the client has gone.
            ValueError: the status is no final one, a name is no token, a length no number, or a field or the reason
                holds a control character.
        """
        if self.abandoned:
            raise ConnectionLost("Cannot write to closing transport")
        if self._interim:
            raise ValueError(f"{self._interim[:80]!r} is no whole interim response")
        if self.fields is not None or self.answered:
            raise RuntimeError("a request is answered twice")
        serving = self.serving
        self.status, self.line = status, line = first_lines.get(status_line) or first_lines[status_line]
        heads, fields = serving.heads, tuple(headers.items())
        block, self.length, self.flags = heads.known.get(fields) or heads.read(fields)
        if status_line[7] == "0" and CONNECTION not in headers:  # aiohttp means the end of the connection by that
            self.flags |= CLOSE
        self.output_size = len(line) + len(block)
        if status < _FINAL:
            if status != SWITCHING or UPGRADE not in headers:
                raise ValueError(f"{status} is not the status of a response")
            self.switch(line + block + b"connection: upgrade\r\n\r\n")
        else:
            self.fields = block
        return serving.nothing

    def switch(self, head: bytes) -> None:
        """Answer 101 and leave the connection to the protocol that follows."""
        raise NotImplementedError

    def send_headers(self) -> None:
        """Send the head now, whose body comes later."""
        if not self.head_sent:
            self.stream.send(self, b"", True)

    async def write(
        self,
        chunk: bytes | bytearray | memoryview,
        *,
        drain: bool = True,
        LIMIT: int = 0x10000,  # noqa: N803, ARG002 - aiohttp's
    ) -> None:
        """Send a piece of the body, or an interim response before the head.

        Raises:
            ConnectionLost: the client has gone.
            ResponseInvalid: the body is longer than announced; it is cut off there.
        """
        data = chunk if type(chunk) is bytes else bytes(chunk)
        if self.switched:
            self.write_raw(data)
            return
        if self.fields is None:
            data = self._without_interim(data)
            if not data:
                return
        if self._compress is not None:
            data = await self._compress.compress(data)
            if not data:
                return
        if self.abandoned or self.stream.closing:
            raise ConnectionLost("Cannot write to closing transport")
        self.output_size += len(data)
        self.stream.send(self, data, True)
        if drain and self.stream.write_paused:
            await self.drain()

    def write_eof(self, chunk: bytes | bytearray | memoryview = b"") -> Awaitable[None]:
        """Send the last piece of the body.

        Raises:
            ConnectionLost: the client has gone.
            ResponseInvalid: the body is not as long as announced.
        """
        if self.abandoned:
            raise ConnectionLost("Cannot write to closing transport")
        if self._compress is not None:
            return self._end_compressed(bytes(chunk))
        if not self.answered:
            self._end(chunk if type(chunk) is bytes else bytes(chunk))
        return self.serving.nothing

    async def drain(self) -> None:
        """Wait until the client has taken enough that more may be written.

        Raises:
            ConnectionLost: the client has gone.
        """
        await self.writable()
        if self.abandoned:
            raise ConnectionLost("Connection lost")

    async def send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send part of an open file as the whole body.

        Raises:
            ConnectionLost: the client has gone.
            ClientDisconnected: it takes too little.
            OSError: the file cannot be read.
        """
        if self.abandoned:
            raise ConnectionLost("Cannot write to closing transport")
        await self.stream.send_file(self, descriptor, offset, size)
        self.output_size += size

    def write_raw(self, data: bytes) -> None:
        """Send bytes of another protocol."""
        raise NotImplementedError

    def drop_head(self) -> None:
        """Forget a response of which nothing was sent: another one takes its place."""
        self.fields = self._compress = None
        self.chunked, self.output_size, self._interim = False, 0, b""

    def send_plain(self, response: Any) -> bool:
        """Send a ``web.Response`` whole of which aiohttp has nothing left to decide; return False if it has.

        Of most responses only status, reason, fields and a body of bytes are set. What ``prepare`` and ``write_eof`` would add
        to such a one the connection adds for every app: its length, the date and the name of the server. ``response`` is left as
        one that was sent; only its fields stay those of the app.

        Raises:
            ValueError: the head cannot be sent, see ``write_headers``.
        """
        body = response._body  # noqa: SLF001 - see names; a property costs ten times as much
        if (
            type(body) is not bytes
            or not body
            or response._payload_writer is not None  # noqa: SLF001 - see names
            or response._eof_sent  # noqa: SLF001 - see names
            or response._keep_alive is not None  # noqa: SLF001 - see names
            or response._chunked  # noqa: SLF001 - see names
            or response._compression  # noqa: SLF001 - see names
            or response._cookies  # noqa: SLF001 - see names
        ):
            return False
        request = self.request
        if self.fields is not None or self.answered or self._interim or self._compress is not None or self.chunked:
            return False
        if request.method == "HEAD":
            return False
        key = (response._status, response._reason, *response._headers.items())  # noqa: SLF001 - see names
        status, line, fields = plain_heads.get(key) or plain_head(key)
        if not status:
            return False
        self.status, self.line, self.fields, self.flags = status, line, fields, 0
        self.length = size = len(body)
        self.output_size = size = len(line) + len(fields) + size
        self.stream.send(self, body, False)
        response._eof_sent = True  # noqa: SLF001 - see names
        response._keep_alive = request.keep_alive  # noqa: SLF001 - see names
        response._body_length = size  # noqa: SLF001 - see names
        return True

    # ---- inner life

    def _end(self, data: bytes) -> None:
        self.output_size += len(data)
        if self.chunked and not self.head_sent:
            self.stream.send(self, data, True)
            data = b""
        self.stream.send(self, data, False)

    async def _end_compressed(self, chunk: bytes) -> None:
        compress, self._compress = self._compress, None
        if compress is not None:
            data = await compress.compress(chunk) if chunk else b""
            if not self.answered:
                self._end(data + compress.flush())

    def _without_interim(self, chunk: bytes) -> bytes:
        """Send interim responses, which aiohttp's apps write as bytes; return what is none (RFC 9110 section 15.2).

        Raises:
            ConnectionLost: the client has gone.
            ValueError: one has no end.
        """
        data, self._interim = self._interim + chunk, b""
        while data:
            is_interim = data.startswith(_INTERIM) or _INTERIM.startswith(data)
            if not is_interim or data.startswith(_NOT_INTERIM):
                break
            end = data.find(_HEAD_END) + len(_HEAD_END)
            if end < len(_HEAD_END):
                if len(data) > _INTERIM_SIZE:
                    raise ValueError(f"an interim response has more than {_INTERIM_SIZE} bytes")
                self._interim, data = data, b""
                break
            if self.abandoned or self.stream.closing:
                raise ConnectionLost("Cannot write to closing transport")
            line, _, fields = data[: end - len(_LINE_END)].partition(_LINE_END)
            status = line[_STATUS:_STATUS_END]
            if not status.isdigit():
                raise ValueError(f"{line[:80]!r} is not the first line of an interim response")
            self.stream.send_informational(self, int(status), fields)
            self.request.expects = False
            data = data[end:]
        return data


AbstractStreamWriter.register(Writer)
