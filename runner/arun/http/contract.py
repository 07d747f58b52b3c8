"""What a worker asks of an engine, whatever kind of app it serves.

The currency is a factory of asyncio protocols: a worker hands it every listener it has.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Protocol

    class Engine(Protocol):
        """One app, ready to be started, served and stopped on the running loop."""

        @property
        def requests(self) -> int:
            """How many requests have begun since the start; the handshake of a websocket is one, a refusal is none."""
            ...

        async def start(self) -> Callable[..., asyncio.BaseProtocol]:
            """Run the app's own start-up and return the protocol factory that serves it.

            The factory takes nothing, or ``endpoints=`` with what a gate knows of a connection that came through it
            (:class:`arun.http.endpoints.Endpoints`).

            Raises:
                StartupFailure(APP_STARTUP_FAILED): the app's start-up raised, said that it failed, or broke its protocol.
            """
            ...

        def drain(self) -> None:
            """Ask clients to go: a stop is near, but what still comes is served."""
            ...

        async def quiet(self, seconds: float) -> None:
            """Wait ``seconds`` at most until every connection and every call of the app has ended.

            The listeners are closed, and ``drain`` was called. Nobody is cut: a kept connection ends behind its next answer,
            or when it was idle for as long as it may be. Websockets would stay for ever, so they are closed with 1012 at
            once, and their clients come back elsewhere.
            What is left then is left to ``stop``.
            """
            ...

        async def stop(self, grace: float) -> None:
            """Answer what has begun within ``grace`` seconds, then run the app's own shut-down.

            The listeners are closed already. Idle connections are closed at once; what is not answered in time is cut.
            """
            ...

        def abort(self) -> None:
            """Cut every connection now, so that a running ``stop`` has nothing to wait for."""
            ...
