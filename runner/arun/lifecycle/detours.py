"""Which requests do not reach the app: all but some while it is offline, and those under the status path."""

from __future__ import annotations

from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from arun.core.outlook import Outlook
    from arun.http.exchange import Stream
    from arun.http.forwarded import TrustedPeers
    from arun.http.request import Request
    from arun.http.server import Application, HttpServer

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ("Detours",)

#: Seconds that the responder may take, and bytes of its response.
_PATIENCE, _MOST = 5.0, 16_777_216


class Detours:
    """Arranges the application of a server by what holds now.

    ``outlook`` returns what that is, ``ask`` hands the connection with this descriptor to the responder of the instance,
    ``own_page`` is the text of the page that stands in for the built-in one.
    """

    def __init__(
        self,
        http: HttpServer,
        path: str | None,
        outlook: Callable[[], Outlook],
        ask: Callable[[int], bool],
        own_page: str = "",
    ) -> None:
        self.http = http
        self.app = http.application
        self.path = path
        self.outlook = outlook
        self.ask = ask
        self.own_page = own_page
        #: The offline text and the allowed clients that the application was arranged for.
        self._arranged: object = None

    def arrange(self) -> None:
        """Let requests go where they belong now; those that have begun go on."""
        http, application = self.http, self.app
        now = self.outlook()
        if self._arranged == (now.offline, now.allowed):
            return
        if now.offline is not None:
            application = self._offline(application, now)
            for connection in tuple(http.connections):
                if connection.is_endless:
                    connection.retire()
        if self.path is not None:
            application = self._with_status(application, self.path.rstrip("/"))
        http.application = application
        self._arranged = now.offline, now.allowed  # last: what could not be loaded is tried again at the next order

    def _offline(self, app: Application, now: Outlook) -> Application:
        import arun_welcome
        from arun.apps.asgi.own import OwnApplication
        from arun.http.detour import Detour
        from arun.http.forwarded import TrustedPeers

        page = OwnApplication(arun_welcome.make_app(outlook=self.outlook, own_page=self.own_page), self.http)
        allowed = TrustedPeers(now.allowed)
        return Detour(app, page, partial(_is_kept_out, self.http, allowed) if now.allowed else _everybody)

    def _with_status(self, app: Application, path: str) -> Application:
        from arun.apps.asgi.own import OwnApplication
        from arun.http.detour import Detour

        prefix = path.encode() + b"/"

        def takes(_stream: Stream, request: Request) -> bool:
            return request.path.startswith(prefix) and not request.upgrades

        async def status(scope: Scope, _receive: Receive, send: Send) -> None:
            await _relay(self.ask, scope, path, send)

        return Detour(app, OwnApplication(status, self.http), takes)


def _everybody(_stream: Stream, _request: Request) -> bool:
    return True


def _is_kept_out(http: HttpServer, allowed: TrustedPeers, stream: Stream, request: Request) -> bool:
    """Return whether the client of a request, as the access log names it, is none of those that are allowed."""
    client = stream.connection.client
    if request.was_forwarded:
        client = http.forwarding.ends_of(client, stream.connection.scheme, request)[0]
    return client is None or not allowed.trusts(client[0])


async def _relay(ask: Callable[[int], bool], scope: Scope, path: str, send: Send) -> None:
    """Ask the responder of the instance, and send what it says."""
    import asyncio
    import socket

    from arun.control.messages import Response

    method = scope["method"]
    response = Response.line(503, "the supervisor does not answer")
    if method in {"GET", "HEAD"}:
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            if ask(theirs.fileno()):
                theirs.close()
                accept = next((value for name, value in scope["headers"] if name == b"accept"), b"*/*")
                target = scope["raw_path"].decode("latin-1")
                target = target[target.index(f"{path}/") + len(path) :]
                async with asyncio.timeout(_PATIENCE):
                    response = await _asked(ours, f"{method} {target} HTTP/1.1\r\naccept: ".encode() + accept)
        except (OSError, TimeoutError, ValueError, LookupError):
            pass
        finally:
            theirs.close()
            ours.close()
    else:
        response = Response.line(405, "it takes GET and HEAD", ("allow", "GET, HEAD"))
    headers = [(b"content-type", response.kind.encode()), (b"cache-control", b"no-store")]
    headers += [(name.encode(), value.encode()) for name, value in response.fields]
    headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})


async def _asked(connection: Any, head: bytes) -> Any:
    """Send a request and return the response, whole."""
    import asyncio

    from arun.control.messages import Response

    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, head + b"\r\nhost: app\r\n\r\n")
    data = bytearray()
    while piece := await loop.sock_recv(connection, 65_536):
        data += piece
        if len(data) > _MOST:
            raise ValueError("too long")
    lines, _, body = bytes(data).partition(b"\r\n\r\n")
    first, *fields = lines.decode("latin-1").split("\r\n")
    known = dict(field.split(": ", 1) for field in fields)
    retry = (("retry-after", known["retry-after"]),) if "retry-after" in known else ()
    return Response(int(first.split(" ")[1]), body, known["content-type"], retry)
