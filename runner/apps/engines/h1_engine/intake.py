"""The reading half of a connection: bytes become requests, and bodies reach the exchange they belong to.

Framing (RFC 9112) is llhttp's work, as strict as it comes; what it leaves to a server is judged in ``request``.
Nothing is written here, and no app is known.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from runner.apps.engines.h1_engine.request import NOTED, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.apps.engines.h1_engine.exchange import Exchange
    from runner.apps.engines.h1_engine.protocol import Connection

__all__ = ("Intake",)

#: Bytes given to the parser at once: what one client can make us parse ahead of its own answers.
_SLICE = 16_384
#: Bytes of a request body that wait for the app before the client has to.
_BODY_WAITING = 65_536
#: Bytes of a head, of chunk framing or of trailers without anything to show for it.
_HEAD_LIMIT = 65_536
#: Bytes of a body that nobody read which are read and dropped, so that the connection can be used again.
_DISCARDED = 262_144


class _ReadingOver(Exception):  # noqa: N818 - no error: it stops the parser, which knows no other way
    """Nothing more is read from this connection."""


class Intake:
    """What a connection has received: the head or body that is incomplete, and bytes that must wait their turn."""

    #: No further request is taken from this connection.
    over = False
    #: The client is ahead of us and has to wait; what came already is held.
    paused = False
    #: The exchange whose request body is incomplete.
    receiving: Exchange | None = None
    held: memoryview | None = None
    _request: Request | None = None
    _refusal = 0
    _overhead = 0
    _discarded = 0
    _known_host: bytes | None = None
    #: The framing field of an upgrade request whose body the parser leaves unread.
    _reframe = b""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parser: HttpRequestParser | None = HttpRequestParser(self)

    @property
    def has_begun(self) -> bool:
        """Whether a request is here that is not complete, or not parsed."""
        return self._request is not None or self.receiving is not None or self.held is not None

    @property
    def is_full(self) -> bool:
        """Whether as much of a body waits for the app as may."""
        receiving = self.receiving
        return receiving is not None and not receiving.answered and receiving.buffered >= _BODY_WAITING

    def feed(self, data: bytes) -> None:
        """Parse what came; what comes while the client should wait is held."""
        if self.over:
            return
        if self.paused or len(data) > _SLICE:
            self.held = memoryview(data if self.held is None else bytes(self.held) + data)
            self.go_on()
        else:
            self._parse(data)

    def go_on(self) -> None:
        """Parse what was held, as far as it goes."""
        while self.held is not None and not (self.paused or self.over):
            piece, rest = self.held[:_SLICE], self.held[_SLICE:]
            self.held = rest if len(rest) else None
            self._parse(piece)

    def end(self) -> None:
        """Take nothing more from this connection."""
        self.over = True
        self.held = self._request = None

    def close(self) -> None:
        """Let go of the parser, which refers to us."""
        self.end()
        self._parser = self.receiving = None

    # ---- what the parser says

    def on_message_begin(self) -> None:
        """Begin a request with its first byte."""
        if not self._reframe:
            self._request = Request()
            self._overhead = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        if self._request is not None:
            self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; a trailer is dropped, as merging it is dangerous (RFC 9110 section 6.5.1)."""
        request = self._request
        if request is None:
            return
        name, value = name.lower(), value.rstrip(b" \t")
        request.headers.append((name, value))
        if name in NOTED:
            request.note(name, value)

    def on_headers_complete(self) -> None:
        """Judge the head, and hand the request on."""
        request, parser = self._request, self._parser
        if request is None or parser is None:
            self._reframe = b""
            return
        request.method = parser.get_method().decode()
        request.version = parser.get_http_version()
        self._refusal = request.judge(self._known_host)
        if self._refusal:
            raise _ReadingOver
        self._known_host = request.host
        request.keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            self._reframe = request.framing
        self._request, self._discarded = None, 0
        self.receiving = self._connection.accept(request)

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body for its exchange, or drop it when that is answered."""
        self._overhead = 0
        exchange = self.receiving
        if exchange is None:
            return
        if not exchange.answered:
            exchange.feed(data)
            if exchange.buffered >= _BODY_WAITING:
                self._connection.pause()
            return
        self._discarded += len(data)
        if self._discarded > _DISCARDED:
            self._connection.close(linger=True)
            raise _ReadingOver

    def on_message_complete(self) -> None:
        """Complete a request; after one that asks for it, the client's side of the connection is over."""
        exchange = self.receiving
        if exchange is None or self._reframe:
            return
        self.receiving, self._overhead = None, 0
        exchange.received = True
        if not exchange.request.keep_alive:
            self.over = True
        if exchange.answered:
            self._connection.drained()
        else:
            exchange.changed()

    # ---- inner life

    def _parse(self, data: bytes | memoryview) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._go_on_after_upgrade(data[upgrade.args[0] :])
        except HttpParserError:
            if not self.over:
                self._break_off(self._refusal or 400)
        else:
            self._overhead += len(data)
            if self._overhead > _HEAD_LIMIT and not self.over:
                self._break_off(431 if self._request is not None else 400)

    def _go_on_after_upgrade(self, rest: bytes | memoryview) -> None:
        """Treat an upgrade that is not taken as the plain request it also is (RFC 9110 section 7.8).

        The parser stops after such a head, and leaves the body unread; a new one is told its framing.
        """
        self._parser = HttpRequestParser(self)
        if self._reframe:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n" + self._reframe + b"\r\n\r\n")
        if len(rest) and not self.over:
            self._parse(rest)

    def _break_off(self, status: int) -> None:
        """Take nothing more from a client that breaks the rules."""
        self.end()
        broken, self.receiving = self.receiving, None
        self._connection.refuse(status, broken if broken is not None and not broken.answered else None)
