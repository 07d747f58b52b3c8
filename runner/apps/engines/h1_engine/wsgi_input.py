"""``wsgi.input``: the request body as a file that is read from a thread while it arrives (PEP 3333)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("Input",)


class Input:
    """A file of the request body; its end is the end of the body, whether that has a length or comes in chunks.

    Each method may raise ClientDisconnected when the client goes before its body is complete.
    """

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch = fetch
        self._buffer = b""
        self._ended = False

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end; without a size, all that is left."""
        wanted = -1 if size is None or size < 0 else size
        pieces, have = [self._buffer], len(self._buffer)
        while (wanted < 0 or have < wanted) and (piece := self._more()):
            pieces.append(piece)
            have += len(piece)
        return self._split(b"".join(pieces), have if wanted < 0 else wanted)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its end, or ``size`` bytes of it."""
        limit = -1 if size is None or size < 0 else size
        data, searched = self._buffer, 0
        while (end := data.find(b"\n", searched)) < 0 and (limit < 0 or len(data) < limit):
            searched = len(data)
            piece = self._more()
            if not piece:
                break
            data += piece
        length = end + 1 if end >= 0 else len(data)
        return self._split(data, length if limit < 0 else min(length, limit))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines that are left, or no more than it takes to have ``hint`` bytes."""
        lines, have = [], 0
        for line in self:
            lines.append(line)
            have += len(line)
            if hint is not None and 0 < hint <= have:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _split(self, data: bytes, size: int) -> bytes:
        self._buffer = data[size:]
        return data[:size]

    def _more(self) -> bytes:
        if self._ended:
            return b""
        piece = self._fetch()
        self._ended = not piece
        return piece
