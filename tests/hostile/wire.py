"""A client that speaks bytes, and a reader of answers that forgives nothing (RFC 9112)."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Seconds after which what should have come counts as not coming; the machine may be slow.
PATIENCE = 30.0

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d) [\t \x21-\x7e\x80-\xff]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\x21-\x7e\x80-\xff][\t \x21-\x7e\x80-\xff]*)?)")
_CHUNK = re.compile(rb"([0-9a-fA-F]+)\r\n")


class MalformedError(AssertionError):
    """The server has sent what no server may send."""


class Answer(NamedTuple):
    """One final answer; ``complete`` says whether all of its body came."""

    status: int
    fields: dict[str, list[str]]
    body: bytes
    complete: bool
    continued: int

    @property
    def closes(self) -> bool:
        return "close" in ",".join(self.fields.get("connection", [])).lower()


def read_answers(raw: bytes, *, ended: bool, methods: Sequence[str] = ()) -> tuple[list[Answer], bytes]:
    """Split what came into answers and a rest that is no answer yet.

    ``ended``: nothing more will come. ``methods`` are those of the requests, GET where it has no more: the answer to
    HEAD has no body.

    Raises:
        MalformedError: what came is no HTTP/1.1.
    """
    answers: list[Answer] = []
    continued = 0
    while raw:
        head, end, rest = raw.partition(b"\r\n\r\n")
        if not end:
            break
        status, fields = _head(head)
        if status < 200:
            continued, raw = continued + 1, rest
            continue
        method = methods[len(answers)] if len(answers) < len(methods) else "GET"
        body, left = _body(status, fields, rest, bodiless=method == "HEAD", ended=ended)
        if left is None and not ended:
            break
        answers.append(Answer(status, fields, body, left is not None, continued))
        continued, raw = 0, left or b""
    return answers, raw


def _head(head: bytes) -> tuple[int, dict[str, list[str]]]:
    line, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(line)
    if status is None:
        raise MalformedError(f"no status line: {line[:200]!r}")
    fields: dict[str, list[str]] = {}
    for each in lines:
        field = _FIELD.fullmatch(each)
        if field is None:
            raise MalformedError(f"no header field: {each[:200]!r}")
        fields.setdefault(field[1].decode("latin-1").lower(), []).append(field[2].rstrip(b"\t ").decode("latin-1"))
    for name in ("content-length", "transfer-encoding", "date", "server"):
        if len(fields.get(name, [])) > 1:
            raise MalformedError(f"{name} is there twice: {fields[name]}")
    if "content-length" in fields and "transfer-encoding" in fields:
        raise MalformedError("Content-Length and Transfer-Encoding at once")
    return int(status[1]), fields


def _body(
    status: int, fields: dict[str, list[str]], rest: bytes, *, bodiless: bool, ended: bool
) -> tuple[bytes, bytes | None]:
    """Return the body and what follows it; None follows a body of which a part is missing."""
    if status in {204, 304} or bodiless:
        return b"", rest
    if "transfer-encoding" in fields:
        if fields["transfer-encoding"] != ["chunked"]:
            raise MalformedError(f"a coding that nobody asked for: {fields['transfer-encoding']}")
        return _chunks(rest)
    if "content-length" in fields:
        text = fields["content-length"][0]
        if not (text.isascii() and text.isdigit()):
            raise MalformedError(f"no length: {text!r}")
        length = int(text)
        return rest[:length], rest[length:] if len(rest) >= length else None
    return rest, b"" if ended else None


def _chunks(rest: bytes) -> tuple[bytes, bytes | None]:
    body = b""
    while True:
        size = _CHUNK.match(rest)
        if size is None:
            if len(rest) > 18 or (b"\r\n" in rest):
                raise MalformedError(f"no chunk: {rest[:40]!r}")
            return body, None
        length, rest = int(size[1], 16), rest[size.end() :]
        if not length:
            if rest[:2] == b"\r\n":
                return body, rest[2:]
            if len(rest) < 2:
                return body, None
            raise MalformedError(f"no end of the chunks: {rest[:40]!r}")
        body, after = body + rest[:length], rest[length : length + 2]
        if after != b"\r\n":
            if after and not b"\r\n".startswith(after):
                raise MalformedError(f"no end of a chunk: {after!r}")
            return body, None
        rest = rest[length + 2 :]


class Client:
    """One connection, and everything that has come on it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw = b""
        #: The server has closed its side, with a reset or without.
        self.ended = False
        self.reset = False

    def send(self, data: bytes) -> None:
        """Send; that the server takes nothing more is no failure of the client."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.reset = True

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def until_contains(self, text: bytes) -> None:
        """Read until the text has come."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.raw and not self.ended:
            self._read(deadline)

    def answers(self, count: int, methods: Sequence[str] = ()) -> list[Answer]:
        """Read until so many answers have come, or the server closes, and return all that came."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answers, _ = read_answers(self.raw, ended=self.ended, methods=methods)
            if self.ended or len(answers) >= count:
                return answers
            self._read(deadline)

    def read_to_end(self) -> bytes:
        """Read until the server closes."""
        deadline = time.monotonic() + PATIENCE
        while not self.ended:
            self._read(deadline)
        return self.raw

    def fileno(self) -> int:
        return self._socket.fileno()

    def readable(self, seconds: float) -> bool:
        """Wait until something has come, or so many seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def is_reset_within(self, seconds: float) -> bool:
        """Wait, without reading, until the server cuts the connection."""
        poll = select.poll()
        poll.register(self._socket, 0)  # errors and hang-ups are always told
        return bool(poll.poll(seconds * 1000))

    def is_reset_while_it_reads(self, size: int) -> bool:
        """Read so many bytes each hundredth of a second until the server cuts the connection, or its patience ends."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.is_reset_within(0.01):
                return True
            self._socket.recv(size)
        return False

    def _read(self, deadline: float) -> None:
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data = self._socket.recv(262_144)
        except ConnectionResetError:
            self.reset = True
            data = b""
        except TimeoutError:
            raise AssertionError(f"nothing more came within {PATIENCE} s, and no end: {self.raw[-2000:]!r}") from None
        self.ended = not data
        self.raw += data

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def client(address: str) -> Iterator[Client]:
    """Connect to an address, host:port."""
    with contextlib.closing(Client(address)) as connected:
        yield connected
