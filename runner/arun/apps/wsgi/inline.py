"""A WSGI app that is called in the loop's own thread, one call at a time: for apps that never wait.

What the app yields is taken as fast as the client takes it.
"""

from __future__ import annotations

from arun.apps.wsgi.application import WsgiApplication
from arun.apps.wsgi.exchange import Absence, WsgiExchange, close_body
from arun.http.errors import ClientDisconnected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import Context
    from io import BufferedIOBase
    from typing import Any, Final

    from arun.http.exchange import Stream
    from arun.http.request import Request

__all__ = ("InlineApplication", "InlineExchange")

#: A client that takes all at once does not hold the loop: others get their turn after so many bytes ...
_STREAK: Final = 262_144
#: ... where each piece counts as so many.
_PIECE: Final = 1024


class InlineApplication(WsgiApplication):
    """A WSGI app in the loop's own thread; fulfils :class:`arun.http.server.Application`."""

    #: No call runs while the server stops; but each one holds up the loop.
    cancellable = True
    interruptible = False

    def exchange(self, stream: Stream, request: Request) -> InlineExchange:
        """Return the exchange of one request."""
        return InlineExchange(stream, request, self)


class InlineExchange(WsgiExchange):
    """A request whose app is called in the loop's thread."""

    __slots__ = ("_absence", "_context", "_pieces")

    #: The context variables of this request; every part of its call runs in them.
    _context: Context
    _pieces: Iterator[Any]
    _absence: Absence

    def _call_app(self, request_body: BufferedIOBase) -> None:
        self._context = context = self.application.http.context.copy()
        context.run(self._call, request_body)

    def _call(self, request_body: BufferedIOBase) -> None:
        app = self.application.app  # not called as a method, which CPython would look for on the class
        try:
            body = app(self._environ(request_body), self.start_response)
            if type(body) is list or type(body) is tuple:
                last = b"".join(body)
                self._check_started()
            else:
                self._body = body
                part = self._part_of(body)
                if part is not None:
                    self._send_file(part)
                    return
                self._pieces = iter(body)
                self._absence = Absence()
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
                    self._absence.end()
                    streak += len(piece) + _PIECE
                else:
                    self._absence.look(self)
                    streak = _STREAK + 1  # it waits for something: others may use the time
                if self.stream.write_paused:
                    self._waits_for = self._go_on
                    return
                if streak > _STREAK:
                    self.application.calls.later(self._go_on)
                    return
            self._check_started()
            if not self.abandoned:
                self.stream.send(self, b"", False)
        except BaseException as exc:  # noqa: BLE001 - see above
            self._close(exc)
        else:
            self._close(None)

    def _send(self, data: Any) -> None:
        if self.abandoned:
            raise ClientDisconnected("the client has gone")
        self._check_started()
        self._sent = True
        self.stream.send(self, b"".join((data,)), True)

    def _file_sent(self, raised: BaseException | None) -> None:
        self._context.run(self._close, raised)

    def _close(self, raised: BaseException | None) -> None:
        self._finish(None, close_body(self._body, raised))
