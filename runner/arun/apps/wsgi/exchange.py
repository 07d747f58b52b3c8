"""WSGI: how a request becomes a call of a WSGI app (PEP 3333); a subclass decides where it is called."""

from __future__ import annotations

import os
from io import BytesIO
from time import monotonic

from arun.apps.wsgi.environ import environ_of
from arun.apps.wsgi.file_wrapper import file_part
from arun.apps.wsgi.head import STATUSES, read_text_fields
from arun.apps.wsgi.spool import IN_MEMORY, GatheredBody
from arun.core.failures import printable
from arun.http.errors import ClientDisconnected, ResponseInvalid
from arun.http.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from io import BufferedIOBase
    from typing import Any, Final

    from arun.apps.wsgi.application import WsgiApplication
    from arun.http.exchange import Stream
    from arun.http.file_part import FilePart
    from arun.http.request import Request


__all__ = ("Absence", "WsgiExchange", "close_body")

#: Seconds for which an app may yield nothing to a client that has closed its side.
_ABSENT: Final = 1.0


class WsgiExchange(Exchange):
    """A request and its one call of a WSGI app."""

    __slots__ = ("_body", "_gathered", "_sending", "_sent", "_waits_for", "application")

    def __init__(self, stream: Stream, request: Request, application: WsgiApplication) -> None:
        Exchange.__init__(self, stream, request)  # twice as fast as super(), for every request
        self.application = application
        #: What the app returned, when it has still to be closed after this call.
        self._body: object = None
        #: The request body, if it was not complete at once, or is long.
        self._gathered: GatheredBody | None = None
        #: Something of the body was sent, so that the head cannot be replaced.
        self._sent = False
        self._waits_for: Callable[[], None] | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Call the app soon: not now, as the parser that may have called cannot be re-entered."""
        self.application.calls.later(self._go)

    def changed(self) -> None:
        """Look again at what waits for the client; soon, see above."""
        waits_for = self._waits_for
        if waits_for is not None:
            self._waits_for = None
            self.application.calls.later(waits_for)
        if self._sending is not None and self.abandoned:
            self._sending.cancel()

    def cancel(self) -> None:
        """Stop sending a file; a call of the app cannot be ended from outside."""
        if self._sending is not None:
            self._sending.cancel()

    # ---- what the app calls

    def start_response(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Take status and header fields, and return the ``write`` of old; see PEP 3333.

        Raises:
            ResponseInvalid: they break HTTP, or this is the second call and no error handler's.
        """
        if exc_info is not None:
            if self._sent and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
            self.fields = None
        elif self.fields is not None:
            raise ResponseInvalid("start_response was called before; an error handler passes exc_info")
        self.status, self.line = STATUSES.get(status) or STATUSES[status]
        self.fields, self.length, self.flags = read_text_fields(headers)
        return self._write_piece

    def _write_piece(self, data: Any) -> None:
        if data:
            self._send(data)

    def _send(self, data: Any) -> None:
        """Send a piece of the body that is not empty, and not the last.

        Raises:
            ClientDisconnected: the client has gone.
            ResponseInvalid: it breaks HTTP.
        """
        raise NotImplementedError

    def _check_started(self) -> None:
        if self.fields is None:
            raise ResponseInvalid("the app did not call start_response before its body")

    # ---- in the loop's thread

    def _go(self) -> None:
        """Begin the call of the app once the request body is complete, so that no client holds it up."""
        if self.abandoned:
            self._finish(None, None)
        elif self.received and self._gathered is None and self.buffered <= IN_MEMORY:
            self._call_app(BytesIO(self.take()))  # nearly always
        else:
            self._gather()

    def _gather(self) -> None:
        gathered = self._gathered
        if gathered is None:
            gathered = self._gathered = GatheredBody(self.application.room)
        try:
            while data := self.take():  # taking lets more in
                gathered.write(data)
            request_body = gathered.open() if self.received else None
        except (OSError, ImportError) as exc:
            try:
                text = f"its body cannot be kept in a temporary file: {printable(str(exc))}\n"
                self.application.http.report(self, lambda: text, "was refused")
                self.decline()
            finally:
                self._finish(None, None)
            return
        if request_body is not None:
            self._call_app(request_body)
        else:
            self.expect_body()
            self._waits_for = self._go

    def _environ(self, request_body: object) -> dict[str, Any]:
        """Return the environ of this request; in the thread that calls the app."""
        return environ_of(self.request, self.stream.connection, self.application, request_body)

    def _call_app(self, request_body: BufferedIOBase) -> None:
        """Call the app, or have it called."""
        raise NotImplementedError

    def _finish(self, last: bytes | None, raised: BaseException | None) -> None:
        """End the call of the app: with what is left to send, or with what it raised."""
        try:
            if self._gathered is not None:
                self._gathered.close()
            if raised is None and last is not None and not self.abandoned:
                try:
                    self.stream.send(self, last, False)
                except ResponseInvalid as exc:
                    raised = exc
            if raised is not None or not self.answered:
                self.application.http.failed(self, raised)
        finally:
            self.application.http.done(self)

    def _send_file(self, part: FilePart) -> None:
        """Respond with a part of a file, without the app."""
        self._sending = self.application.http.loop.create_task(self._transfer(part))

    async def _transfer(self, part: FilePart) -> None:
        raised: BaseException | None = None
        try:
            if self.abandoned:
                raise ClientDisconnected("the client has gone")  # noqa: TRY301 - it ends as if it went a moment later
            await self.stream.send_file(self, *part)
        except BaseException as exc:  # noqa: BLE001 - it is logged when the app's file is closed
            raised = exc
        finally:
            os.close(part.descriptor)
        self._sending = None
        self._file_sent(raised)
        del raised  # whose traceback refers to this frame

    def _file_sent(self, raised: BaseException | None) -> None:
        """Let the app close its file, then finish."""
        raise NotImplementedError

    def _part_of(self, body: object) -> FilePart | None:
        """Return the part of a file that the app responds with, if the loop can send it alone."""
        return None if self._sent or self.fields is None else file_part(body)


class Absence:
    """Whether the client is still there while an app yields nothing, as it waits.

    While nothing is sent, a client that has gone looks like one that has only closed its own side of the connection, as it
    may; after a second of that it counts as gone.
    """

    def __init__(self) -> None:
        self._since = 0.0

    def look(self, exchange: WsgiExchange) -> None:
        """Check whether the client is still there.

        Raises:
            ClientDisconnected: it is not.
        """
        if exchange.abandoned:
            raise ClientDisconnected("the client has gone")
        if exchange.stream.eof:
            now = monotonic()
            self._since = self._since or now
            if now - self._since > _ABSENT:
                raise ClientDisconnected("the client has closed its side, and there is nothing to send")

    def end(self) -> None:
        """Note that something was sent, which will show whether the client is there."""
        self._since = 0.0


def close_body(body: object, raised: BaseException | None) -> BaseException | None:
    """Call ``close`` of what an app returned; return what was raised, by this or before."""
    try:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    except BaseException as exc:  # noqa: BLE001 - SystemExit in an app is no end of the process
        return raised or exc
    return raised
