"""The reading half of a connection: aiohttp's parser, fed head by head, and every head and body judged.

llhttp frames the messages; what it leaves to a server by RFC 9112 is judged here, as are the limits on what a client
may send. The bytes are fed in pieces that end where a message does, so that a refusal comes after all that is good.
"""

from __future__ import annotations

from aiohttp.hdrs import CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, _ErrInfo

from arun.apps.aiohttp.messages import read_so_far
from arun.apps.aiohttp.refusals import BodyRefused, RequestRefused
from arun.http.targets import split_target, valid_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiohttp.http import RawRequestMessage
    from aiohttp.streams import StreamReader

    from arun.apps.aiohttp.exchanges import Exchanges
    from arun.http.limits import Limits

    Messages = list[tuple[Any, StreamReader]]

__all__ = ("UNBOUNDED", "Intake")

#: What aiohttp's parser is told where there is no limit; that of the whole head holds.
UNBOUNDED = 1 << 30
_HEAD_END, _SPACED = b"\r\n\r\n", b"  "
#: Bytes of a body that is parsed with its head in one go, at most.
_SHORT = 16_384
#: Bytes of chunk framing that one byte of a body may cost; what is beyond counts like a head.
_FRAMING_SHARE = 16
#: Bytes of a body that nobody read which are read and dropped, so that the connection can be used again.
_DISCARDED = 262_144


class Intake:
    """Stands where a connection of aiohttp has its parser; fulfils what ``RequestHandler`` asks of one."""

    __slots__ = (
        "_connection",
        "_discarded_at",
        "_edge",
        "_expects",
        "_fed",
        "_feed",
        "_host",
        "_in_fields",
        "_left",
        "_limits",
        "_line",
        "_short",
        "_small",
        "body",
        "feed_eof",
        "head",
        "message_consumed",
        "pause_reading",
        "refused",
        "rest",
        "set_upgraded",
    )

    def __init__(self, connection: Exchanges, parser: Any, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        #: A head of so many bytes exceeds no limit of sizes.
        self._small = min(filter(None, (limits.request_line, limits.request_field_size, limits.request_head)))
        #: Bytes of a body that are parsed with its head in one go; they fill no reader's buffer.
        self._short = min(_SHORT, connection._read_bufsize)  # noqa: SLF001 - of aiohttp's own class
        self._feed = parser.feed_data
        self.feed_eof = parser.feed_eof
        self.message_consumed = parser.message_consumed
        self.pause_reading = parser.pause_reading
        self.set_upgraded = parser.set_upgraded
        #: Bytes of a head that is incomplete.
        self.head = 0
        #: The body that is incomplete.
        self.body: StreamReader | None = None
        #: Nothing more is taken from this client.
        self.refused = False
        #: What has come and waits until the requests before it are answered.
        self.rest = b""
        self._edge = b""
        self._in_fields = False
        #: What has come of a request line that is not complete.
        self._line = b""
        self._expects = False
        #: Bytes that were fed for the body, and those still to come; None where chunks tell the end.
        self._fed = 0
        self._left: int | None = None
        #: Bytes of an unread body at which the connection is given up; 0 while a handler may read it.
        self._discarded_at = 0
        #: The last Host that was found valid.
        self._host: str | None = None

    @property
    def unread(self) -> bool:
        """Whether the client has sent, or still sends, what nobody will read."""
        return self.refused or self.body is not None or self.head > 0 or bool(self.rest)

    @property
    def expected(self) -> bool:
        """Whether a body is to come that its client may hold back (RFC 9110 section 10.1.1)."""
        return self._expects and self.body is not None and not self._fed

    @property
    def received(self) -> int:
        """Bytes that have come for the body that is incomplete."""
        return self._fed

    def feed_data(self, data: bytes) -> tuple[Any, bool, bytes]:
        """Parse what came, and return the messages, whether the connection is upgraded, and what follows then."""
        if self.refused:
            return (), False, b""
        if self.rest:
            data, self.rest = self.rest + data, b""
        if self.body is not None or self.head:
            return self._feed_pieces(data)
        if not data and not self._connection._buffer_paused:  # noqa: SLF001 - then the parser holds nothing back
            return (), False, b""  # a reader goes on that has all of its body
        head = data.find(_HEAD_END) + 4
        whole = head == len(data) or _ends_with_body(data, head, self._short)
        if head < len(_HEAD_END) or not whole or data.partition(_SPACED)[1]:  # a third of the cost of "in"
            return self._feed_pieces(data)
        # One whole request: nearly all that are short come like that.
        try:
            result: tuple[Any, bool, bytes] = self._feed(data)
        except HttpProcessingError as exc:
            return self._refused_by_parser(exc, data[:head]), False, b""
        for message, payload in result[0]:
            if status := self._judge(message, payload, head):
                return self._break_off(status, message), False, b""
        return result

    def discard_body(self) -> None:
        """Let the rest of a body go by that nobody will read, within a bound."""
        if self.body is not None:
            self._discarded_at = self.body.total_raw_bytes + _DISCARDED

    def break_body(self, status: int) -> None:
        """Take no more of the body, and tell the handler that reads it."""
        body, self.body = self.body, None
        self.refused = True
        self.rest = b""
        if body is not None:
            body.set_exception(BodyRefused(status))

    def let_go(self) -> None:
        """Drop what has come, and the parser, which refers to the connection: nothing more will come."""
        self.refused, self.body, self.rest, self.head = True, None, b"", 0
        self._feed = self.feed_eof = self.message_consumed = self.pause_reading = self.set_upgraded = _nothing

    # ---- pieces

    def _feed_pieces(self, data: bytes) -> tuple[Any, bool, bytes]:
        start = 0
        messages: Messages = []
        queued = len(self._connection._messages)  # noqa: SLF001 - of aiohttp's own class
        while True:
            start, upgraded, tail = self._feed_piece(data, start, messages)
            if self.refused:
                break
            if upgraded:
                return messages, True, tail + data[start:]
            # A body that is here, but not parsed as its reader is slow, is all that goes on; so is a full queue.
            waits = (self.body is not None and self._left == 0) or queued + len(messages) >= MAX_MSG_QUEUE_SIZE
            if waits or start >= len(data):
                self.rest = data[start:]
                break
        return messages, False, b""

    def _feed_piece(self, data: bytes, start: int, messages: Messages) -> tuple[int, bool, bytes]:
        """Parse up to the end of a head or a body; add what is found, or the refusal, and return where that end is."""
        in_body = self.body is not None
        if not (in_body or self.head):
            while data.startswith(b"\r\n", start):  # RFC 9112 section 2.2
                start += 2
        end = self._end_of_body(data, start) if in_body else self._end_of_head(data, start)
        piece = data[start:end]
        if not in_body and self._is_spaced(piece):
            messages += self._break_off(400)
            return end, False, b""
        try:
            found, upgraded, tail = self._feed(piece)
        except HttpProcessingError as exc:
            messages += self._break_off(400) if in_body else self._refused_by_parser(exc, piece)
            return end, False, b""
        status = 0
        if in_body:
            self._after_body(piece)
        else:
            status = self._after_head(piece, complete=bool(found))
        head = None
        for message, payload in found:
            head = message
            status = status or self._judge(message, payload, len(piece) if in_body else self.head)
            if not status:
                messages.append((message, payload))
        if found and (not in_body or self.body is not None):
            self.head = 0
        if status:
            messages += self._break_off(status, head)
        return end, upgraded, tail

    def _end_of_head(self, data: bytes, start: int) -> int:
        """Return where the head that begins, or goes on, at ``start`` ends; the end of the data if it does not."""
        if self._edge and (place := (self._edge + data[start : start + 3]).find(_HEAD_END)) >= 0:
            return start + place + 4 - len(self._edge)
        place = data.find(_HEAD_END, start)
        return place + 4 if place >= 0 else len(data)

    def _end_of_body(self, data: bytes, start: int) -> int:
        return len(data) if self._left is None else min(len(data), start + self._left)

    def _is_spaced(self, piece: bytes) -> bool:
        """Say whether a request line has two spaces in a row, which the parser takes for one (RFC 9112 section 3)."""
        if self._in_fields:
            return False
        line, end, _ = (self._line + piece).lstrip(b"\r\n").partition(b"\n")  # empty lines may precede (section 2.2)
        self._line = b"" if end else line
        return _SPACED in line

    def _after_head(self, piece: bytes, *, complete: bool) -> int:
        """Count a piece of a head; return 0, or the status if the head is too long."""
        self.head += len(piece)
        if complete:
            self._edge, self._in_fields = b"", False
        else:
            self._edge = (self._edge + piece[-3:])[-3:]
            self._in_fields = self._in_fields or b"\n" in piece
        return 431 if self.head > self._limits.request_head else 0

    def _after_body(self, piece: bytes) -> None:
        """Count a piece of a body, and break it if it, or its framing, is too long."""
        body, limit, chunked = self.body, self._limits.request_body, self._left is None
        if body is None:
            return
        self._fed += len(piece)
        if self._left is not None:
            self._left -= len(piece)
        if 0 < limit < body.total_bytes:
            self.break_body(413)
        elif body.is_eof():
            self.body, self._left = None, None
            if chunked:  # the next head may have begun behind the last chunk
                joined, self._edge = self._edge + piece, b""
                if tail := joined[joined.rfind(_HEAD_END) + len(_HEAD_END) :]:
                    self._after_head(tail, complete=False)
        elif 0 < self._discarded_at < body.total_raw_bytes:
            self._connection.linger()
            body.feed_eof()
        elif chunked:
            self._edge = (self._edge + piece[-3:])[-3:]
            brought = body.total_raw_bytes
            excess = self._fed - brought > self._limits.request_head + _FRAMING_SHARE * brought
            if excess and not self._connection._reading_paused:  # noqa: SLF001 - what is paused is not parsed
                self.break_body(400)

    # ---- judgement

    def _judge(self, message: RawRequestMessage, payload: StreamReader, size: int) -> int:
        """Return 0, or the status with which a message is refused whose head has ``size`` bytes; note its body."""
        headers, path = message.headers, message.path
        if (message.version is not HttpVersion11 or TRANSFER_ENCODING in headers) and (status := _framing(message)):
            return status
        host = headers.get(HOST)
        if host != self._host:
            if host is not None and not valid_host(host.encode("utf-8", "surrogateescape")):
                return 400  # RFC 9112 section 3.2
            self._host = host
        if (path[0] != "/" or "#" in path or message.method == "CONNECT") and (status := _target(message)):
            return status
        if size > self._small and (status := self._sizes(message, size)):
            return status
        return self._expect_body(message, payload) if payload is not EMPTY_PAYLOAD else 0

    def _sizes(self, message: RawRequestMessage, size: int) -> int:
        """Return 0, or the status for a head of ``size`` bytes that is longer than it may be."""
        limits = self._limits
        if 0 < limits.request_line < len(message.method) + len(message.path) + 10:  # two spaces and the version
            return 414
        longest = limits.request_field_size
        wide = longest > 0 and any(len(name) + len(value) > longest for name, value in message.raw_headers)
        return 431 if wide or size > limits.request_head else 0

    def _expect_body(self, message: RawRequestMessage, payload: StreamReader) -> int:
        self._fed = self._discarded_at = 0
        self._left = None
        self._expects = EXPECT in message.headers
        if not message.chunked:
            length = int(message.headers[CONTENT_LENGTH])
            if 0 < self._limits.request_body < length:
                return 413
            self._left = length - payload.total_raw_bytes
        if not payload.is_eof():
            self.body = payload
        elif 0 < self._limits.request_body < payload.total_bytes:
            return 413  # unpacked
        return 0

    def _status_of(self, exc: HttpProcessingError, piece: bytes) -> int:
        """Return the status for what aiohttp's parser refused."""
        if isinstance(exc, LineTooLong):
            line = piece.find(b"\r\n")
            longest = self._limits.request_line
            return 431 if self._in_fields or (line >= 0 and (not longest or line <= longest)) else 414
        return 431 if exc.message.startswith("Too many headers") else 400

    def _refused_by_parser(self, exc: HttpProcessingError, piece: bytes) -> Messages:
        status = self._status_of(exc, piece)
        known = not self.head and status != 414  # noqa: PLR2004 - which says that the line is too long
        return self._break_off(status, read_so_far(piece) if known else None)

    def _break_off(self, status: int, head: RawRequestMessage | None = None) -> Messages:
        """Take no more from this client; return the refusal of ``head`` as a message, unless a handler is told."""
        if self.body is not None and not self.body.is_eof():
            self.break_body(status)
            return []
        self.refused = True
        self.rest, self.head = b"", 0
        return [(_ErrInfo(status, RequestRefused(status, head), ""), EMPTY_PAYLOAD)]


def _nothing(*_: object) -> None:
    """Do what a parser does for a connection that is gone."""


def _ends_with_body(data: bytes, head: int, most: int) -> bool:
    """Whether the data is a head of so many bytes and the body of ``most`` bytes that it announces as usual."""
    length = len(data) - head
    if head < len(_HEAD_END) or length > most:
        return False
    field = b"ontent-Length: %d\r\n" % length
    return data.find(b"\r\nC" + field, 0, head) >= 0 or data.find(b"\r\nc" + field.lower(), 0, head) >= 0


def _framing(message: RawRequestMessage) -> int:
    """Return 0, or the status for a version or a coding that is not served (RFC 9112 sections 2.3 and 6.1)."""
    headers, version = message.headers, message.version
    if version not in {HttpVersion10, HttpVersion11}:
        return 505
    coding = headers.get(TRANSFER_ENCODING)
    if coding is None:
        return 0
    if version == HttpVersion10 or not coding or CONTENT_LENGTH in headers:
        return 400
    return 0 if coding.lower() == "chunked" else 501


def _target(message: RawRequestMessage) -> int:
    """Return 0, or the status for a target that is no plain path (RFC 9112 section 3.2)."""
    if message.method == "CONNECT":
        return 501
    try:
        split_target(message.path.encode("utf-8", "surrogateescape"))
    except ValueError:
        return 400
    return 0
