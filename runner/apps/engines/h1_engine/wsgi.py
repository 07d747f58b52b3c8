"""WSGI: how a request becomes a call of a WSGI app in a thread (PEP 3333).

The thread and the loop hold a conversation: the thread asks (for a piece of the body, or to send something), the
loop answers when it can; so both directions wait for the slower side, and nothing is shared.
"""

from __future__ import annotations

from queue import SimpleQueue

from runner.apps.engines.h1_engine.environ import environ_of
from runner.apps.engines.h1_engine.exchange import ClientDisconnected, Exchange
from runner.apps.engines.h1_engine.heads import AnswerInvalid
from runner.apps.engines.h1_engine.wsgi_input import Input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    from runner.apps.engines.h1_engine.protocol import Connection
    from runner.apps.engines.h1_engine.request import Request
    from runner.apps.engines.h1_engine.wsgi_engine import WsgiEngine

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Head = tuple[int, list[tuple[bytes, bytes]], bytes]

__all__ = ("WsgiExchange",)


class WsgiExchange(Exchange):
    """A request that is answered by one call of a WSGI app in a thread of the pool."""

    _waits_for: Callable[[], None] | None = None

    def __init__(self, connection: Connection, request: Request, engine: WsgiEngine) -> None:
        super().__init__(connection, request)
        self.engine = engine
        self._answers: SimpleQueue[bytes | BaseException] = SimpleQueue()

    # ---- in the loop's thread

    def start(self) -> None:
        """Hand the request to the pool."""
        self.engine.running.add(self)
        self.engine.threads.run(self._call)

    def changed(self) -> None:
        """Look again at what the thread waits for; later, as the parser that may have called cannot be re-entered."""
        if self._waits_for is not None:
            self.engine.loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        waits_for, self._waits_for = self._waits_for, None
        if waits_for is not None:
            waits_for()

    def _give_body(self) -> None:
        if self._chunks or self.received:
            self._answers.put(self.take())
        elif self.abandoned or self.answered or self.connection.eof:
            self._answers.put(ClientDisconnected("the client has gone before its request was complete"))
        else:
            self.expect_body()
            self._waits_for = self._give_body

    def _send_piece(self, head: Head | None, data: bytes, more: bool) -> None:  # noqa: FBT001 - a loop's callback
        try:
            if self.abandoned:
                raise ClientDisconnected("the client has gone")  # noqa: TRY301 - it travels to the thread
            if head is not None:
                self.begin(*head)
            self.write(data, more=more)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is raised again where the thread waits
            self._answers.put(exc)
        else:
            self._confirm()

    def _confirm(self) -> None:
        if self.connection.write_paused and not self.abandoned:
            self._waits_for = self._confirm
        else:
            self._answers.put(b"")

    def _end(self, exc: BaseException | None) -> None:
        if exc is not None or not self.answered:
            self.engine.failed(self, exc)
        self.engine.done(self)

    # ---- in a thread of the pool

    def log(self, text: str) -> None:
        """Write to the error log; in the loop's thread, as the log's own."""
        self._tell(self.engine.options.on_error, text)

    def _call(self) -> None:
        raised: BaseException | None = None
        try:
            _Response(self).run(self.engine.app, environ_of(self, Input(self._fetch)))
        except BaseException as exc:  # noqa: BLE001 - SystemExit in one request is no reason to end the thread
            raised = exc
        self._tell(self._end, raised)

    def _fetch(self) -> bytes:
        return self._ask(self._give_body)

    def send(self, head: Head | None, data: bytes, *, more: bool) -> None:
        """Send a piece of the answer from the thread; returns when the client has taken enough of it.

        Raises:
            ClientDisconnected: nobody is there to read it.
            AnswerInvalid: it breaks HTTP.
        """
        self._ask(self._send_piece, head, data, more)

    def _ask(self, question: Callable[..., None], *arguments: object) -> bytes:
        if not self._tell(question, *arguments):
            raise ClientDisconnected("the server has stopped")
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _tell(self, what: Callable[..., None], *arguments: object) -> bool:
        try:
            self.engine.loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:  # the loop is closed: this call outlived the grace of a stop
            return False
        return True


class _Response:
    """What start_response and write know of one answer while the app runs."""

    def __init__(self, exchange: WsgiExchange) -> None:
        self._exchange = exchange
        self._head: Head | None = None
        self._started = False
        self._sent = False

    def run(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
        """Call the app and send what it returns; its ``close`` is called whatever happens."""
        body = app(environ, self._start_response)
        try:
            if isinstance(body, (list, tuple)):
                self._send(b"".join(body), more=False)  # all of it is there: one piece, with its length
                return
            for piece in body:
                if piece:
                    self._send(piece, more=True)
            self._send(b"", more=False)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            if self._sent and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._started:
            raise AnswerInvalid("start_response was called before; an error handler passes exc_info")
        code, _, reason = status.partition(" ")
        if len(code) != 3 or not (code.isascii() and code.isdigit()):  # noqa: PLR2004 - RFC 9112 section 4
            raise AnswerInvalid(f"{status!r} is not a status such as '200 OK'")
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._head = (int(code), fields, reason.encode("latin-1"))
        self._started = True
        return self._write

    def _write(self, data: bytes) -> None:
        if data:
            self._send(data, more=True)

    def _send(self, data: bytes, *, more: bool) -> None:
        if not self._started:
            raise AnswerInvalid("the app did not call start_response before its body")
        head, self._head, self._sent = self._head, None, True
        self._exchange.send(head, data, more=more)
