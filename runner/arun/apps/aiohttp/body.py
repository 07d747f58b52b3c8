"""The body of a request as aiohttp's ``StreamReader``: its flow control becomes that of the connection."""

from __future__ import annotations

from aiohttp.http_parser import DeflateBuffer
from aiohttp.streams import EmptyStreamReader, StreamReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Protocol

    class Source(Protocol):
        """What a body comes from."""

        #: Above 0 while the reader holds as much as it may.
        buffered: int

        def await_body(self) -> None:
            """Note that the app waits for more of the body."""
            ...


__all__ = ("Body", "NoBody")

#: Content codings that are decoded, as aiohttp's parser does.
_CODINGS = frozenset(("gzip", "deflate", "br", "zstd"))


class NoBody(EmptyStreamReader):
    """The body of a request that has none, one for each: aiohttp's own is one for all, and remembers that it was read.

    What it begins with stands in the class, as most are never read.
    """

    _read_eof_chunk = False
    total_bytes = 0

    __init__ = object.__init__


class Body(StreamReader):
    """A request body; its source stands where aiohttp has its protocol.

    ``size`` is that of the buffer in bytes: twice as much makes the client wait.
    """

    def __init__(self, source: Source, size: int, coding: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(source, size, loop=loop)  # type: ignore[arg-type] # it has what is asked of it
        self._source = source
        self._decoder = DeflateBuffer(self, coding) if coding in _CODINGS else None
        #: The decoder holds more than the reader may have; all of the body has come.
        self._holds = self._complete = False

    def take(self, data: bytes) -> None:
        """Take a piece as it was sent.

        Raises:
            ContentEncodingError: it cannot be decoded.
        """
        if self._decoder is None:
            self.feed_data(data)
        else:
            self._holds = bool(self._decoder.feed_data(data, len(data)))

    def complete(self) -> None:
        """Note that all has come.

        Raises:
            ContentEncodingError: what has come cannot be decoded.
        """
        self._complete = True
        if self._decoder is None:
            self.feed_eof()
        else:
            self.decode()

    def decode(self) -> None:
        """Decode what the decoder holds, as far as the reader takes it.

        Raises:
            ContentEncodingError: it cannot be decoded.
        """
        decoder = self._decoder
        if decoder is None:
            return
        while self._holds and not self._source.buffered:
            self._holds = bool(decoder.feed_data(b"", 0))
        if self._complete and not self._holds and not self.is_eof():
            decoder.feed_eof()

    async def _wait(self, func_name: str) -> None:
        self._source.await_body()
        await super()._wait(func_name)
