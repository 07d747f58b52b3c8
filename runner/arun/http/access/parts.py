"""The parts of a line: most of their texts were written before, and are kept.

A text is kept under everything that it follows from, and is made of nothing else; so it can tell nothing of another request.
"""

from __future__ import annotations

from time import time

from arun.http.access.line import AccessLog, Entry, field
from arun.http.bounded_cache import BoundedCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arun.http.access.line import Clock

__all__ = ("BY_CLIENT", "BY_FIELDS", "BY_REQUEST", "FRESH", "LineLog", "Piece")

#: What a value follows from: the client, or the second; request line, scheme, status and size; header fields of the request; or
#: anything else, which makes it another one in every line.
BY_CLIENT, BY_REQUEST, BY_FIELDS, FRESH = range(4)
#: How many texts a part keeps, and the longest of them, in characters: together a quarter of a megabyte at most.
_KEPT = 512
_LONGEST = 512


class Piece:
    """A value in a line. ``text`` returns it, written so that no client can forge another one.

    ``follows`` is what it follows from; with the header field ``unless`` in the request it follows from that too, and is not kept.
    ``field`` is a header field of the request in which it is sought.
    """

    __slots__ = ("field", "follows", "needs_response_fields", "needs_seconds", "text", "unless")

    def __init__(  # noqa: PLR0913 - all by name, but for two
        self,
        text: Callable[[Entry], str],
        follows: int = FRESH,
        *,
        field: bytes | None = None,
        unless: bytes | None = None,
        needs_seconds: bool = False,
        needs_response_fields: bool = False,
    ) -> None:
        self.text = text
        self.follows = follows
        self.field = field
        self.unless = unless
        self.needs_seconds = needs_seconds
        self.needs_response_fields = needs_response_fields


class Part:
    """Pieces that follow one another in a line, and follow from the same."""

    __slots__ = ("_pieces", "_unless", "needs_response_fields", "needs_seconds")

    def __init__(self, pieces: list[str | Piece]) -> None:
        values = [piece for piece in pieces if isinstance(piece, Piece)]
        self._pieces = pieces
        self._unless = next((value.unless for value in values if value.unless is not None), None)
        #: Whether this holds ``Entry.seconds`` and ``Entry.response_fields``.
        self.needs_seconds = any(value.needs_seconds for value in values)
        self.needs_response_fields = any(value.needs_response_fields for value in values)

    def write(self, entry: Entry, texts: list[str]) -> None:
        """Add what this part says of a request to the ``texts`` of its line."""
        raise NotImplementedError

    def written(self, entry: Entry) -> str:
        """Return what this part says of a request, which is not kept."""
        return "".join([piece if isinstance(piece, str) else piece.text(entry) for piece in self._pieces])


class FreshPart(Part):
    """One value that is another one in every line."""

    __slots__ = ("_text",)

    def __init__(self, piece: Piece) -> None:
        Part.__init__(self, [piece])
        self._text = piece.text

    def write(self, entry: Entry, texts: list[str]) -> None:
        """Add the text for a request."""
        texts.append(self._text(entry))


class ClientPart(Part):
    """What follows from the client and the second."""

    __slots__ = ("_clock", "_second", "_texts")

    def __init__(self, pieces: list[str | Piece], clock: Clock) -> None:
        Part.__init__(self, pieces)
        self._clock = clock
        self._second = 0.0
        self._texts: BoundedCache[str | None, str] = BoundedCache(self._of_client, entries=_KEPT)

    def write(self, entry: Entry, texts: list[str]) -> None:
        """Add the text for a request."""
        if self._unless is not None and field(entry.request_fields, self._unless) is not None:
            texts.append(self.written(entry))
            return
        if self._second != self._clock.since:
            self._second = self._clock.since
            self._texts.clear()
        texts.append(self._texts.get(entry.client) or self._texts[entry.client])

    def _of_client(self, client: str | None) -> str:
        return self.written(Entry(client))


class _Asked:
    """A request that had the ``text``."""

    __slots__ = ("method", "scheme", "sent", "status", "text", "version")

    def __init__(self, entry: Entry, text: str) -> None:
        self.method = entry.method
        self.version = entry.version
        self.status = entry.status
        self.sent = entry.sent
        self.scheme = entry.scheme
        self.text = text


class RequestPart(Part):
    """What follows from request line, scheme, status and size; of each target the last text is kept."""

    __slots__ = ("_asked",)

    def __init__(self, pieces: list[str | Piece]) -> None:
        Part.__init__(self, pieces)
        self._asked: dict[bytes, _Asked] = {}

    def write(self, entry: Entry, texts: list[str]) -> None:
        """Add the text for a request."""
        asked = self._asked.get(entry.target)
        if (
            asked is not None
            and asked.sent == entry.sent
            and asked.status == entry.status
            and asked.method == entry.method
            and asked.version == entry.version
            and asked.scheme == entry.scheme
        ):
            texts.append(asked.text)
        else:
            texts.append(self._of_request(entry))

    def _of_request(self, entry: Entry) -> str:
        seen = Entry(None, entry.method, entry.target, entry.version, entry.status, entry.sent, scheme=entry.scheme)
        text = self.written(seen)
        if len(entry.target) + len(text) <= _LONGEST:
            if len(self._asked) >= _KEPT:
                self._asked.clear()
            self._asked[entry.target] = _Asked(entry, text)
        return text


class FieldsPart(Part):
    """What follows from header fields of the request."""

    __slots__ = ("_names", "_texts")

    def __init__(self, pieces: list[str | Piece]) -> None:
        Part.__init__(self, pieces)
        self._names = frozenset(piece.field for piece in pieces if isinstance(piece, Piece))
        self._texts: dict[tuple[tuple[bytes, bytes], ...], str] = {}

    def write(self, entry: Entry, texts: list[str]) -> None:
        """Add the text for a request."""
        if self._unless is not None and field(entry.request_fields, self._unless) is not None:
            texts.append(self.written(entry))
            return
        found: list[tuple[bytes, bytes]] = []
        for one in entry.request_fields:
            if one[0] in self._names:
                found.append(one)  # noqa: PERF401 - a comprehension is a call, before Python 3.12
        key = tuple(found)
        texts.append(self._texts.get(key) or self._of_fields(key))

    def _of_fields(self, found: tuple[tuple[bytes, bytes], ...]) -> str:
        text = self.written(Entry(request_fields=list(found)))
        if len(text) <= _LONGEST:
            if len(self._texts) >= _KEPT:
                self._texts.clear()
            self._texts[found] = text
        return text


class LineLog(AccessLog):
    """Writes a line of each request: these ``pieces``, literal texts and values."""

    __slots__ = ("_clock", "_parts", "_write")

    def __init__(self, pieces: Iterable[str | Piece], clock: Clock, write: Callable[[str], None]) -> None:
        parts = _parts(pieces, clock)
        AccessLog.__init__(
            self,
            needs_seconds=any(part.needs_seconds for part in parts),
            needs_response_fields=any(part.needs_response_fields for part in parts),
        )
        self._parts = parts
        self._clock = clock
        self._write = write

    def log(self, entry: Entry) -> None:
        """Write the line of a request."""
        clock = self._clock
        clock.now = now = time()
        if not clock.since <= now < clock.until:
            clock.turn()
        texts: list[str] = []
        for part in self._parts:
            part.write(entry, texts)
        self._write("".join(texts))


def _parts(pieces: Iterable[str | Piece], clock: Clock) -> list[Part]:
    """Return the parts of a line of these pieces, literal texts and values; an end is added to it."""
    made: list[Part] = []
    group: list[str | Piece] = []
    #: What the group follows from; None while it has no value.
    follows: int | None = None
    for piece in (*pieces, "\n"):
        if isinstance(piece, str):
            group.append(piece)
            continue
        if group and (piece.follows == FRESH or follows not in {None, piece.follows}):
            made.append(_kept(group, follows, clock))
            group = []
        if piece.follows == FRESH:
            made.append(FreshPart(piece))
            follows = None
        else:
            group.append(piece)
            follows = piece.follows
    return [*made, _kept(group, follows, clock)]


def _kept(pieces: list[str | Piece], follows: int | None, clock: Clock) -> Part:
    if follows == BY_REQUEST:
        return RequestPart(pieces)
    return FieldsPart(pieces) if follows == BY_FIELDS else ClientPart(pieces, clock)
