"""One connection: aiohttp's protocol with what it lacks, time-outs, limits and an end that a client can tell."""

from __future__ import annotations

from arun.apps.aiohttp.ends import FAREWELL
from arun.apps.aiohttp.exchanges import Exchanges
from arun.http.pace import Pace, Rate
from arun.http.transport import GONE, client_end, taken, unsent

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from aiohttp import web

    from arun.apps.aiohttp.answers import Answer
    from arun.http.endpoints import Endpoints

__all__ = ("GuardedConnection",)

_SWITCHING = 101
#: Seconds that a client is waited for which has closed its side, and has been answered.
_AT_ONCE = 0.001


class GuardedConnection(Exchanges):
    """A client's connection; what it serves and how stays aiohttp's."""

    __slots__ = ("_idle_until", "_pace", "_pace_of", "_since", "_waited_for")

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        #: What the client keeps us waiting for, and since when, in the loop's seconds.
        self._waited_for: tuple[str, int] | None = None
        self._since = 0.0
        #: How fast the client moves what it is waited for, and what that is: of which request, and in which direction.
        self._pace: Pace | None = None
        self._pace_of = ("", 0)
        #: Until then there is nothing to look at if no request comes, in the loop's seconds.
        self._idle_until = 0.0

    def situate(self, endpoints: Endpoints) -> None:
        """Take the ends of the connection from a gate; it is asked for them instead of the socket."""
        # aiohttp asks its transport once and keeps the answer here; of the last one only the truth is looked at.
        self._cache["peername"] = endpoints.client
        self._cache["sockname"] = endpoints.server
        self._cache["ssl_context"] = endpoints.scheme == "https"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it if there are as many as may be."""
        super().connection_made(transport)
        if not self.guard.welcome():
            self.refuse(503)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything."""
        guard, task = self.guard, self._task_handler
        if guard.times is not None and task is not None:
            guard.times.left(self, task)
        super().connection_lost(exc)
        if task is None:
            guard.left()
        else:  # until then aiohttp's server knows the connection
            task.add_done_callback(lambda _: guard.left())

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp lets the transport close
        """Keep the writing side open while there is something to answer."""
        self._eof = True
        self._idle_until = 0.0
        transport = self.transport
        if self._force_close or self._upgraded or transport is None or not transport.can_write_eof():
            return False
        intake = self._intake
        if intake.body is not None:
            intake.break_body(400)
        elif not (self._messages or intake.rest):
            self._close = True  # whatever is answered now is the last
        # To an app that wants its handlers cancelled, a client that has closed its side is gone, as to aiohttp.
        return not (self._is_idle or self.guard.cancels_handlers)

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task of the request that is being answered."""
        return self._task_handler

    def works(self) -> bool:
        """Say whether the app has the request in hand, and does not wait for its client."""
        request, transport, body = self.request, self._socket_end, self._intake.body
        if request is not None and _answer_to(request).status == _SWITCHING:
            return False  # a websocket takes the time that it takes
        if transport is None:
            return True  # nobody is there who could be waited for
        if self._paused or (body is not None and body._waiter is not None):  # noqa: SLF001 - nothing public tells it
            return False
        return self._current_request is not None or not unsent(transport)

    def time_out(self, own_id: bytes) -> None:
        """Answer 503 as the app takes too long, or cut what it has begun; what it still says is dropped."""
        request = self.request
        if request is None or self.transport is None:
            return
        answer = _answer_to(request)
        if answer.output_size:
            self._cut(answer)
        else:
            answer.decline(own_id)
            self.linger()
        self.transport = None

    def resume_writing(self) -> None:
        """Let the app write again: the client has taken something."""
        self._waited_for = None
        super().resume_writing()

    @property
    def is_last(self) -> bool:
        """Whether no request is served on this connection after the one whose answer begins."""
        guard, intake = self.guard, self._intake
        if guard.draining or 0 < guard.limits.keep_alive_requests <= self._served:
            return True
        if intake.body is not None and intake.expected:
            return True  # whether the body still comes, nobody knows
        if not (guard.closes_idle or self._eof or intake.refused):
            return False
        return not (self._messages or intake.rest)

    @property
    def _is_idle(self) -> bool:
        return not (self._request_in_progress or self._messages)

    @property
    def _is_encrypted(self) -> bool:
        return self._socket_end is not None and self._socket_end.get_extra_info("sslcontext") is not None

    def sweep(self, now: float) -> None:
        """Close or cut the connection if its client has kept us waiting for longer than it may."""
        if now < self._idle_until and not self._intake.head and self._waited_for == ("request", self._request_count):
            return  # one of the thousands that are idle
        if (self._reading_paused or self._buffer_paused or self._eof) and self._abort_if_gone():
            return
        waited_for, limit = self._look()
        if self._is_slow(waited_for, now) and waited_for is not None:
            self._waited_for = self._pace = None
            self._end_wait(waited_for[0])
        elif waited_for is None or waited_for != self._waited_for:
            self._waited_for, self._since = waited_for, now
            self._idle_until = now + limit if waited_for is not None and waited_for[0] == "request" else 0.0
        elif 0 < limit <= now - self._since:
            self._waited_for = None
            self._end_wait(waited_for[0])

    def _abort_if_gone(self) -> bool:
        """Let go of a client that is not there any more: nobody else notices while nothing is read."""
        transport = self._socket_end
        if transport is None or client_end(transport) != GONE:
            return False
        transport.abort()
        return True

    def _look(self) -> tuple[tuple[str, int] | None, float]:
        """Return what the client keeps us waiting for, and for how many seconds it may; None while the app works."""
        transport, limits, intake = self._socket_end, self.guard.limits, self._intake
        if transport is None:
            return None, 0
        closing = transport.is_closing()
        if (self._request_in_progress or closing or transport.get_write_buffer_size()) and unsent(transport):
            return ("take", taken(transport)), limits.timeout_write
        if closing:
            return ("end", 0), FAREWELL
        if self._force_close or self._upgraded or self._reading_paused or self._buffer_paused:
            return None, 0
        if intake.head:
            return ("head", self._request_count), limits.timeout_header
        if intake.body is not None and intake.body._waiter is not None and self._request_in_progress:  # noqa: SLF001
            return ("body", intake.received), limits.timeout_body
        if self._is_idle:
            if self._is_encrypted and unsent(transport):  # of the last answer, and a TLS transport tells nothing of it
                return ("take", taken(transport)), limits.timeout_write
            limit = _AT_ONCE if self._eof else self.guard.idle_limit(self._request_count)
            return ("request", self._request_count), limit
        return None, 0

    def _is_slow(self, waited_for: tuple[str, int] | None, now: float) -> bool:
        """Say whether the client moves less than it must of what it is waited for.

        That of a response is looked at when something was taken: a client that reads by the megabyte takes nothing in
        between. As long as the kernel has room for what the app writes, it is the app that is slow.
        """
        what, amount = waited_for or ("", 0)
        limits, before = self.guard.limits, self._waited_for
        is_taken = what == "take" and self._is_full
        if not (is_taken or what == "body"):
            if self._pace is not None:
                self._pace.rest()
            return False
        pace = self._pace
        if pace is None or self._pace_of != (what, self._served):
            self._pace_of = (what, self._served)
            least = limits.min_response_rate if is_taken else limits.min_body_rate
            pace = self._pace = Pace(Rate(least, limits.rate_grace))
        if not is_taken:
            return pace.look(now, amount)
        taken_now = max(0, amount - before[1]) if before is not None and before[0] == "take" else 0
        return pace.look(now, pace.moved + taken_now) and taken_now > 0

    @property
    def _is_full(self) -> bool:
        """Whether the kernel takes no more of an answer until the client has taken something."""
        transport = self._socket_end
        if transport is None or self._upgraded:
            return False
        sends_file = getattr(transport, "_empty_waiter", None) is not None
        return self._paused or sends_file or transport.get_write_buffer_size() > 0

    def _end_wait(self, waited_for: str) -> None:
        if waited_for in {"take", "end"}:
            self.reset()
        elif waited_for == "head":
            self.refuse(408)
        elif waited_for == "body":
            self._intake.break_body(408)
        else:
            self.force_close()


def _answer_to(request: web.BaseRequest) -> Answer:
    answer: Answer = request._payload_writer  # type: ignore[assignment] # noqa: SLF001 - of Exchanges
    return answer
