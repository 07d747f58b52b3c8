"""A WSGI app that is called in the loop's own thread, one call at a time: for apps that never wait.

The request body is there before the app is called; what the app yields is taken as fast as the client takes it.
"""

from __future__ import annotations

from io import BytesIO

from runner.apps.engines.h1_engine.environ import environ_of
from runner.apps.engines.h1_engine.exchange import ClientDisconnected
from runner.apps.engines.h1_engine.wsgi import WsgiExchange, close_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from tempfile import SpooledTemporaryFile

    from runner.apps.engines.h1_engine.protocol import Connection
    from runner.apps.engines.h1_engine.request import Request
    from runner.apps.engines.h1_engine.wsgi_engine import WsgiEngine

__all__ = ("InlineExchange",)

#: Bytes of a request body that are kept in memory; a longer one goes to a temporary file.
_IN_MEMORY = 1_048_576
#: A client that takes all at once does not hold the loop: others get their turn after so many bytes ...
_STREAK = 262_144
#: ... where each piece counts as so many.
_PIECE = 1024


class InlineExchange(WsgiExchange):
    """A request that is answered by one call in the loop's thread."""

    __slots__ = ("_context", "_gathered", "_pieces")

    def __init__(self, connection: Connection, request: Request, engine: WsgiEngine) -> None:
        WsgiExchange.__init__(self, connection, request, engine)
        self._gathered: SpooledTemporaryFile[bytes] | None = None
        #: The context variables of this request; every part of its call runs in them.
        self._context = engine.context.copy()
        self._pieces: Iterator[bytes]

    def _go(self) -> None:
        """Call the app once the body is complete."""
        if self.abandoned:
            self._finish(None, None)
        elif self.received and self._gathered is None:
            self._context.run(self._call, BytesIO(self.take()))
        else:
            try:
                self._gather()
            except BaseException as exc:  # noqa: BLE001 - a disk is full
                self._finish(None, exc)

    def _gather(self) -> None:
        from tempfile import SpooledTemporaryFile

        gathered = self._gathered
        if gathered is None:
            gathered = self._gathered = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - it is the app's
        while data := self.take():  # taking lets more in
            gathered.write(data)
        if self.received:
            gathered.seek(0)
            self._context.run(self._call, gathered)
        elif self.connection.eof:
            raise ClientDisconnected("the request ended before its body was complete")
        else:
            self.expect_body()
            self._waits_for = self._go

    def _call(self, request_body: BytesIO | SpooledTemporaryFile[bytes]) -> None:
        try:
            body = self.engine.app(environ_of(self, request_body), self.start_response)
            if type(body) is list or type(body) is tuple:
                last = b"".join(body)
                self._check_begun()
            else:
                self._body = body
                part = self._part_of(body)
                if part is not None:
                    self._send_file(part)
                    return
                self._pieces = iter(body)
                last = None
        except BaseException as exc:  # noqa: BLE001 - SystemExit in one request is no reason to end the process
            self._close(exc)
            return
        if last is None:
            self._iterate()
        else:
            self._finish(last, None)

    def _go_on(self) -> None:
        self._context.run(self._iterate)

    def _iterate(self) -> None:
        """Send pieces until the client or the others have to be waited for."""
        streak = 0
        try:
            for piece in self._pieces:
                if piece:
                    self._send(piece)
                    streak += len(piece)
                streak += _PIECE
                if self.connection.write_paused:
                    self._waits_for = self._go_on
                    return
                if streak > _STREAK:
                    self.engine.calls.later(self._go_on)
                    return
            self._check_begun()
            if not self.abandoned:
                self.write(b"", more=False)
        except BaseException as exc:  # noqa: BLE001 - see above
            self._close(exc)
        else:
            self._close(None)

    def _send(self, data: bytes) -> None:
        if self.abandoned:
            raise ClientDisconnected("the client has gone")
        self._check_begun()
        self._sent = True
        self.write(b"".join((data,)), more=True)

    def _finish(self, last: bytes | None, raised: BaseException | None) -> None:
        try:
            if self._gathered is not None:
                self._gathered.close()
        except BaseException as exc:  # noqa: BLE001 - what could not be written is written again, to a full disk
            raised = raised or exc
        super()._finish(last, raised)

    def _file_sent(self, raised: BaseException | None) -> None:
        self._context.run(self._close, raised)

    def _close(self, raised: BaseException | None) -> None:
        self._finish(None, close_body(self._body, raised))
