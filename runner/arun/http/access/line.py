"""A line of the access log: what it says of a request, and how it is put together from texts that come again and again.

Most of a line was written before: what stands before the time is the same for a client, and what follows it for a request
that is asked for often. So a line is two look-ups and what is never the same, such as its duration, in between.
"""

from __future__ import annotations

from time import time

from arun.http.bounded_cache import BoundedCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Fields = Sequence[tuple[bytes, bytes]]
    #: Method, target, version, status, size, scheme, and the fields in which values are sought.
    _Key = tuple[str, bytes, str, int, int, str, tuple[tuple[bytes, bytes], ...]]

__all__ = ("BY_CLIENT", "BY_REQUEST", "FRESH", "AccessLog", "Clock", "Entry", "LineLog", "Piece", "field")

#: What the text of a piece follows from, nothing else: client and second; request line, status, size, scheme and the header
#: fields that pieces name; or anything.
BY_CLIENT, BY_REQUEST, FRESH = 0, 1, 2
#: How many texts are kept of each kind, and the longest of a request, in characters: together half a megabyte at most.
_KEPT = 512
_LONGEST = 512


class Entry:
    """What a line says of one request that has ended: answered, refused, or cut.

    ``client`` is an IP address, None on a unix socket. ``method`` is empty where the request line could not be read, ``status``
    0 where no response was sent. ``sent`` counts the bytes of the body, without head and framing, that were handed to
    the connection; ``seconds`` go from the complete head to the end of the response. Header fields have names in lower case.
    """

    __slots__ = (
        "client",
        "method",
        "request_fields",
        "request_id",
        "response_fields",
        "scheme",
        "seconds",
        "sent",
        "status",
        "target",
        "version",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - the values of a line
        self,
        client: str | None = None,
        method: str = "",
        target: bytes = b"",
        version: str = "",
        status: int = 0,
        sent: int = 0,
        seconds: float = 0.0,
        request_fields: Fields = (),
        response_fields: Fields = (),
        scheme: str = "http",
        request_id: str | None = None,
    ) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.version = version
        self.status = status
        self.sent = sent
        self.seconds = seconds
        self.request_fields = request_fields
        self.response_fields = response_fields
        self.scheme = scheme
        self.request_id = request_id


class AccessLog:
    """What is told of each request that has ended, in the loop's thread."""

    __slots__ = ("needs_response_fields", "needs_seconds")

    def __init__(self, *, needs_seconds: bool, needs_response_fields: bool) -> None:
        #: Whether lines hold ``Entry.seconds`` and ``Entry.response_fields``: else neither has to be found out.
        self.needs_seconds = needs_seconds
        self.needs_response_fields = needs_response_fields

    def log(self, entry: Entry) -> None:
        """Take what is said of a request; the entry is the caller's, who may use it again."""
        raise NotImplementedError


class Clock:
    """The time of a line as text, made once a second by ``form``."""

    __slots__ = ("_form", "now", "since", "text", "until")

    def __init__(self, form: Callable[[int], str]) -> None:
        self._form = form
        #: Seconds since the epoch; those of ``text`` go from ``since`` to before ``until``.
        self.now = self.since = self.until = 0.0
        self.text = ""

    def turn(self) -> None:
        """Go to the second that it is now; a clock that was set goes back as well."""
        second = int(self.now)
        self.since = float(second)
        self.until = self.since + 1.0
        self.text = self._form(second)


class Piece:
    """A value in a line. ``text`` returns it, written so that no client can forge another one.

    ``follows`` is what the text follows from. ``field`` is the header field of the request in which the value is sought.
    """

    __slots__ = ("field", "follows", "needs_response_fields", "needs_seconds", "text")

    def __init__(
        self,
        text: Callable[[Entry], str],
        follows: int = FRESH,
        field: bytes | None = None,
        *,
        needs_seconds: bool = False,
        needs_response_fields: bool = False,
    ) -> None:
        self.text = text
        self.follows = follows
        self.field = field
        self.needs_seconds = needs_seconds
        self.needs_response_fields = needs_response_fields


class LineLog(AccessLog):
    """Writes a line of ``pieces``, literal texts and values, for each request.

    A text that is kept is made of its key and nothing else, so that it can tell nothing of another request.
    """

    __slots__ = (
        "_after",
        "_before",
        "_client_fields",
        "_client_texts",
        "_clock",
        "_fields",
        "_fresh",
        "_request_texts",
        "_write",
    )

    def __init__(self, pieces: Iterable[str | Piece], clock: Clock, write: Callable[[str], None]) -> None:
        #: The beginning, as far as it follows from client and second; then what follows from the request, in several parts
        #: with one fresh value between each two of them.
        self._before: list[str | Piece] = []
        self._after: list[list[str | Piece]] = []
        self._fresh: list[Callable[[Entry], str]] = []
        values = []
        for piece in pieces:
            part = self._after[-1] if self._after else self._before
            if isinstance(piece, Piece):
                values.append(piece)
                if piece.follows == FRESH or (self._after and piece.follows == BY_CLIENT):
                    self._fresh.append(piece.text)
                    self._after += [[]] if self._after else [[], []]
                    continue
                if piece.follows == BY_REQUEST and not self._after:
                    part = []
                    self._after.append(part)
            part.append(piece)
        self._after = self._after or [[]]
        self._after[-1].append("\n")
        AccessLog.__init__(
            self,
            needs_seconds=any(value.needs_seconds for value in values),
            needs_response_fields=any(value.needs_response_fields for value in values),
        )
        #: Header fields in which values are sought; with one of the first, the beginning follows from more than the client.
        self._client_fields = frozenset(_fields(self._before))
        self._fields = self._client_fields.union(*map(_fields, self._after))
        self._clock = clock
        self._write = write
        self._client_texts: BoundedCache[str | None, str] = BoundedCache(self._client_text, entries=_KEPT)
        self._request_texts: dict[_Key, list[str]] = {}

    def log(self, entry: Entry) -> None:
        """Write the line of a request."""
        clock = self._clock
        clock.now = now = time()
        if not clock.since <= now < clock.until:
            clock.turn()
            self._client_texts.clear()
        known, wanted = True, self._fields
        fields: list[tuple[bytes, bytes]] = []
        for one in entry.request_fields:
            name = one[0]
            if name in wanted:
                if name in self._client_fields:
                    known = False
                else:
                    fields.append(one)
        if known:
            line = self._client_texts.get(entry.client) or self._client_texts[entry.client]
        else:
            line = _joined(self._before, entry)
        key = (entry.method, entry.target, entry.version, entry.status, entry.sent, entry.scheme, tuple(fields))
        texts = self._request_texts.get(key)
        if texts is None:
            texts = self._request_texts_of(key)
        if self._fresh:
            for text, fresh in zip(texts, self._fresh):  # noqa: B905 - one text is left
                line += text + fresh(entry)
        self._write(line + texts[-1])

    def _client_text(self, client: str | None) -> str:
        return _joined(self._before, Entry(client))

    def _request_texts_of(self, key: _Key) -> list[str]:
        method, target, version, status, sent, scheme, fields = key
        entry = Entry(None, method, target, version, status, sent, 0.0, fields, (), scheme)
        texts = [_joined(part, entry) for part in self._after]
        if len(target) + sum(map(len, texts)) <= _LONGEST:
            if len(self._request_texts) >= _KEPT:
                self._request_texts.clear()
            self._request_texts[key] = texts
        return texts


def field(fields: Fields, name: bytes) -> bytes | None:
    """Return the value of a header field, the last one of several; None where there is none."""
    found = None
    for one, value in fields:
        if one == name:
            found = value
    return found


def _joined(part: Iterable[str | Piece], entry: Entry) -> str:
    return "".join([piece if isinstance(piece, str) else piece.text(entry) for piece in part])


def _fields(part: Iterable[str | Piece]) -> list[bytes]:
    return [piece.field for piece in part if isinstance(piece, Piece) and piece.field is not None]
