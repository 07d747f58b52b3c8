"""The requests of one HTTP/1 connection: bytes are parsed (RFC 9112), checked, and handed on request by request."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from arun.core.native import Protocol
from arun.http.bounded_cache import BoundedCache
from arun.http.pace import Pace, Rate
from arun.http.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.http.exchange import Exchange
    from arun.http.server import HttpServer

__all__ = ("RequestParser",)

#: Bytes given to httptools at once, but for the rest of a body of known length: how far ahead of its own responses one
#: client can make us parse.
_SLICE = 16_384
#: Bytes of a request body that wait for the app before the client has to.
_BODY_WAITING = 65_536
#: Bytes of an unread body that are read and dropped, so that the connection can be used again.
_DISCARDED = 262_144
#: Bytes of chunk framing that one byte of a body may cost; beyond that it counts as overhead.
_FRAMING_SHARE = 16
_LF, _SPACED = 10, b"  "
#: What follows a target in the first line of a request of HTTP/1.1.
_VERSION_1_1 = b" HTTP/1.1\r\n"


class Owner(Protocol):
    """The connection whose requests are parsed."""

    #: When what the connection waits for began or last moved, in the coarse time of the server.
    since: float

    @property
    def client(self) -> tuple[str, int] | None:
        """Address of the client, None where it has none."""

    def accept(self, request: Request) -> Exchange:
        """Begin to answer a request, or queue it behind those before it."""

    def pause(self) -> None:
        """Read no more for now: the client is ahead of the server."""

    def drained(self) -> None:
        """Note that the rest of a request has come whose response was complete before."""

    def refuse(self, status: int, broken: Exchange | None) -> None:
        """Refuse what the client sends, after the responses before; ``broken`` is the request that it broke off."""

    def close(self, *, linger: bool = False) -> None:
        """Close when everything is sent; lingering, what the client still sends is dropped."""


class _ReadingOver(Exception):  # noqa: N818 - no error: it stops httptools, which has no other way
    """Nothing more is read from this connection."""


class RequestParser:
    """What a connection has received: the head or body that is incomplete, and bytes that must wait their turn."""

    __slots__ = (
        "_body_size",
        "_discarded",
        "_fed",
        "_head",
        "_head_open",
        "_headers",
        "_http",
        "_known_host",
        "_line",
        "_options",
        "_overhead",
        "_owner",
        "_pace",
        "_parser",
        "_reframe",
        "_refusal",
        "_target",
        "held",
        "over",
        "paused",
        "receiving",
        "upgrading",
    )
    __deletable__ = ("_owner",)

    def __init__(self, owner: Owner, http: HttpServer) -> None:
        self._owner = owner
        self._http = http
        self._options = http.options
        #: No further request is taken from this connection.
        self.over = False
        #: The client is ahead of the server and has to wait; what came already is held.
        self.paused = False
        #: A head has begun and is not complete.
        self._head_open = False
        #: The exchange whose request body is incomplete.
        self.receiving: Exchange | None = None
        self.held: memoryview | None = None
        #: An upgrade is being taken: what comes now is for the protocol that follows, and never a request.
        self.upgrading = False
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        #: What has come of a request line that is not complete.
        self._line = b""
        self._target = b""
        #: What was received with the head that is parsed now, if it begins with that head; else empty.
        self._head = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._refusal = 0
        #: Bytes given to httptools last, without those of a body; and the bytes before, since the last progress.
        self._fed = self._overhead = 0
        #: Bytes of the body that has not come whole: all, and those that were dropped; and how fast it comes, None until it
        #: is waited for.
        self._body_size = self._discarded = 0
        self._pace: Pace | None = None
        self._known_host: bytes | None = None
        #: The framing field of an upgrade request whose body httptools leaves unread.
        self._reframe = b""

    @property
    def has_pending(self) -> bool:
        """Whether a request is here that is not complete, or not parsed."""
        return self.in_head or self.receiving is not None or self.held is not None

    @property
    def in_head(self) -> bool:
        """Whether the first byte of a head has come, and not the last."""
        return self._head_open or bool(self._line)

    @property
    def is_full(self) -> bool:
        """Whether as much of a body waits for the app as may."""
        receiving = self.receiving
        if self.upgrading:
            return True
        return receiving is not None and not receiving.answered and receiving.buffered >= _BODY_WAITING

    # ---- called by the connection

    def feed(self, data: bytes) -> None:
        """Parse what came; what comes while the client should wait is held."""
        if self.paused or (len(data) > _SLICE and not self.upgrading):
            if not self.over:
                self.held = memoryview(data if self.held is None else bytes(self.held) + bytes(data))
                self.go_on()
            return
        if self._line or data[-1] != _LF or data.partition(_SPACED)[1]:  # a third of the cost of "in"
            self._walk(data)
        else:  # nearly always: every line is complete, and none has two spaces in a row
            if not self._head_open and self.receiving is None:
                self._head = data
            self._parse(data)
            self._head = b""

    def go_on(self) -> None:
        """Parse what was held, as far as it goes."""
        while self.held is not None and not (self.paused or self.over or self.upgrading):
            size = _SLICE
            if self.receiving is not None:
                size = max(size, (self.receiving.request.length or 0) - self._body_size)
            piece, rest = self.held[:size], self.held[size:]
            self.held = rest if len(rest) else None
            self._walk(piece)

    def decline_upgrade(self) -> None:
        """Go on with HTTP: the upgrade was answered like the plain request that it also is (RFC 9110 section 7.8)."""
        self.upgrading = False
        self._parser = HttpRequestParser(self)
        self.go_on()

    def end(self) -> None:
        """Take nothing more from this connection."""
        self.over = True
        self._head_open = False
        self.held = None

    def let_go(self) -> None:
        """End, and drop the references to httptools and the connection, which refer back."""
        self.end()
        self._parser = self.receiving = None
        if hasattr(self, "_owner"):
            del self._owner

    def break_off(self, status: int, broken: Exchange | None = None, why: str = "") -> None:
        """Take nothing more from a client that breaks the rules or exceeds the limits, with what comes or with ``broken``.

        ``why`` is for the log.
        """
        self.end()
        if broken is None or broken is self.receiving:
            broken, self.receiving = self.receiving, None
        if self._options.on_debug is not None:
            from arun.http import refusals

            head = self.head_so_far() if broken is None else broken.request
            self._options.on_debug(refusals.told(status, head, self._owner.client, self._options, why))
        self._owner.refuse(status, broken if broken is not None and not broken.answered else None)

    def body_is_overdue(self, now: float) -> bool:
        """Return whether a body does not come, or too slowly, while it is waited for; to be asked at each look of the clock."""
        exchange, pace, options = self.receiving, self._pace, self._options
        if exchange is None or self.paused or not (exchange.answered or exchange.expecting):
            if pace is not None:
                pace.rest()
            return False
        if pace is None:
            pace = self._pace = Pace(Rate(options.min_body_rate, options.rate_grace))
        return pace.look(now, self._body_size) or 0 < options.timeout_body <= now - self._owner.since

    def head_so_far(self) -> Request | None:
        """Return what was read of a head that is incomplete, or was refused; None if its first line is not whole."""
        parser = self._parser
        if parser is None or not (self._headers or self._refusal):
            return None
        method, version = parser.get_method().decode(), parser.get_http_version()
        request = Request(method, version, self._target, self._headers, False)
        request.validate(None)  # for the forwarding headers
        return request

    # ---- called by httptools

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        if self.receiving is not None:
            return  # the stand-in for an upgrade's head
        if not self._head_open:
            self._head_open = True
            self._owner.since = self._http.now
            self._target = url
        else:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; a trailer is dropped, as merging it is dangerous (RFC 9110 section 6.5.1)."""
        if self.receiving is None:
            self._headers.append((_names.get(name) or _names[name], value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Check the head, and hand the request on."""
        parser = self._parser
        if parser is None:
            return
        if self._reframe:
            self._reframe = b""
            return
        method, target, headers = _methods[parser.get_method()], self._target, self._headers
        if self._head.startswith(_VERSION_1_1, len(method) + 1 + len(target)):
            version = "1.1"
        else:
            version = parser.get_http_version()  # ten times the cost: it formats a text
        self._head = b""  # a second head does not begin where these bytes do
        request = Request(method, version, target, headers, parser.should_keep_alive())
        refusal, http, size = request.validate(self._known_host), self._http, self._overhead + self._fed
        if request.length is not None or size > http.small_head or len(headers) > http.few_fields:
            refusal = refusal or request.exceeds(self._options, size)
        if refusal:
            self._refusal = refusal
            raise _ReadingOver
        request.size = size
        self._headers = []
        self._known_host = request.host
        if parser.should_upgrade():
            self._reframe = request.framing
            self.upgrading = request.upgrades = self._http.application.takes_upgrade(request)
        self._head_open, self._overhead = False, 0
        self.receiving = self._owner.accept(request)

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body for its exchange, or drop it when that is answered."""
        exchange = self.receiving
        if exchange is None:
            return
        size = len(data)
        self._fed -= size
        self._overhead = max(0, self._overhead - size * _FRAMING_SHARE)
        self._body_size += size
        if 0 < self._options.limit_request_body < self._body_size:
            self._refusal = 413
            raise _ReadingOver
        if not exchange.answered:
            exchange.feed(data)
            if exchange.buffered >= _BODY_WAITING and self._body_size != exchange.request.length:
                self._owner.pause()
            return
        self._discarded += size
        if self._discarded > _DISCARDED:
            self._owner.close(linger=True)
            raise _ReadingOver

    def on_chunk_complete(self) -> None:
        """Note that a chunk of the body has come whole."""
        if self.receiving is not None:
            self.receiving.end_chunk()

    def on_message_complete(self) -> None:
        """Complete a request; after one that asks for it, the client's side of the connection is over."""
        exchange = self.receiving
        if exchange is None or self._reframe:
            return
        self.receiving = self._pace = None
        if self._body_size:
            self._overhead = self._body_size = self._discarded = 0
        exchange.received = True
        if not exchange.request.keep_alive:
            self.over = True
        if exchange.answered:
            self._owner.drained()
        else:
            exchange.changed()

    # ---- inner life

    def _walk(self, data: bytes | memoryview) -> None:
        """Parse what came message by message: each begins with a line that is checked here (RFC 9112 section 3).

        httptools takes two spaces for one, silently. A line that comes with the end of chunks is not checked.
        """
        if self._parser is None or (
            self.receiving is not None and (self.receiving.request.length or 0) - self._body_size >= len(data)
        ):
            self._parse(data)
            return
        data = bytes(data)
        start = 0
        while start < len(data) and not self.over and self._parser is not None:
            if self.receiving is not None and self.receiving.request.length is not None:
                end = start + self.receiving.request.length - self._body_size
            elif self._line or not (self._head_open or self.receiving is not None):
                end = self._behind_line(data, start)
            elif self.receiving is not None:
                # of chunks: an empty line in them would be a piece each, and their client chooses how many
                end = len(data)
            else:
                end = _behind_empty_line(data, start)
            if end == start:
                self.break_off(400, why="two spaces in a row in the request line (RFC 9112 section 3)")
                return
            self._parse(data[start:end])
            start = end
        if self.upgrading and start < len(data):
            later, self.held = self.held, None
            self._hold(data[start:] + bytes(later or b""))

    def _behind_line(self, data: bytes, start: int) -> int:
        """Check a request line, or what has come of it; return where its head ends, or ``start`` if it is refused."""
        end = data.find(b"\n", start) + 1
        if not self._line:
            self._owner.since = self._http.now
        self._line += data[start : end or len(data)]
        if _SPACED in self._line:
            return start
        if not end:
            return len(data)
        line, self._line = self._line, b""
        return _behind_empty_line(data, end) if line.strip(b"\r\n") else end  # empty lines may precede (section 2.2)

    def _parse(self, data: bytes | memoryview) -> None:
        parser = self._parser
        if self.over or parser is None:
            if self.upgrading:
                self._hold(data)
            return
        self._fed = len(data)
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._go_on_after_upgrade(data[upgrade.args[0] :])
        except HttpParserError as error:
            if not self.over:
                self.break_off(self._refusal or 400, why="" if self._refusal else str(error))
        else:
            if self._head_open or self.receiving is not None:
                self._weigh()

    def _weigh(self) -> None:
        """Count what came towards the limit of what brings no progress, and note that a body moves."""
        if self.receiving is not None:
            self._owner.since = self._http.now
        self._overhead += self._fed
        if self._overhead > self._options.limit_request_head and not self.over:
            status = 400
            if self._head_open:
                status = 431 if self._headers or len(self._target) < self._options.limit_request_line else 414
            self.break_off(status, why="too much framing for so little of a body" if status == 400 else "")  # noqa: PLR2004

    def _hold(self, data: bytes | memoryview) -> None:
        """Keep what is for the protocol that follows; a client that runs far ahead of the response has to wait."""
        if len(data):
            self.held = memoryview(bytes(self.held or b"") + bytes(data))
            if len(self.held) > _BODY_WAITING:
                self._owner.pause()

    def _go_on_after_upgrade(self, rest: bytes | memoryview) -> None:
        """Treat an upgrade that is not taken as the plain request it also is (RFC 9110 section 7.8).

        httptools stops after such a head, and leaves the body unread; a new parser is given its framing.
        """
        if self.upgrading:
            self._parser = None
            later, self.held = self.held, None
            self._hold(bytes(rest) + bytes(later or b""))
            return
        self._parser = HttpRequestParser(self)
        if self._reframe:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n" + self._reframe + b"\r\n\r\n")
        if len(rest) and not self.over:
            self.feed(bytes(rest))


#: The names of fields in lower case. One object for each keeps its hash: a name is looked up several times on its way.
_names: BoundedCache[bytes, bytes] = BoundedCache(bytes.lower)
#: The names of methods as text; httptools takes those of a list only.
_methods: BoundedCache[bytes, str] = BoundedCache(bytes.decode)


def _behind_empty_line(data: bytes, start: int) -> int:
    """Return where the next empty line ends, also one whose beginning came before; the end of the data without one."""
    if data.startswith((b"\n", b"\r\n"), start):
        return data.index(b"\n", start) + 1
    found = data.find(b"\r\n\r\n", start)
    return found + 4 if found >= 0 else len(data)
