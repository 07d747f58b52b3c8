"""The environ of a WSGI app (PEP 3333, RFC 3875 section 4.1)."""

from __future__ import annotations

from runner.apps.engines.h1_engine.targets import unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runner.apps.engines.h1_engine.wsgi import WsgiExchange
    from runner.apps.engines.h1_engine.wsgi_input import Input

__all__ = ("ErrorLog", "environ_of")

#: Fields that are variables under another name, or must not become one: Proxy would be HTTP_PROXY (CVE-2016-5385).
_APART = frozenset((b"content-type", b"content-length", b"proxy"))


class ErrorLog:
    """``wsgi.errors``: text for the error log of the instance."""

    def __init__(self, exchange: WsgiExchange) -> None:
        self._write = exchange.log

    def write(self, text: str) -> int:
        """Write the text to the error log."""
        self._write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""


def environ_of(exchange: WsgiExchange, body: Input) -> dict[str, Any]:
    """Return what a WSGI app is told of its request."""
    request, connection, engine = exchange.request, exchange.connection, exchange.engine
    client, scheme = connection.client, "http"
    if request.forwarded_for is not None or request.forwarded_proto is not None:
        client, scheme = engine.forwarded(client, request)
    root = engine.options.root_path.rstrip("/")
    path = unquoted(engine.mounted(request.path)).decode("latin-1")
    server = connection.server or ("", None)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": root,
        "PATH_INFO": path.removeprefix(root),
        "QUERY_STRING": request.query.decode("latin-1"),
        "REQUEST_URI": request.target.decode("latin-1"),
        "SERVER_NAME": server[0] or "localhost",
        "SERVER_PORT": "" if server[1] is None else str(server[1]),
        "SERVER_PROTOCOL": "HTTP/" + request.version,
        "SERVER_SOFTWARE": "arun",
        "REMOTE_ADDR": client[0] if client else "",
        "REMOTE_PORT": str(client[1]) if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": ErrorLog(exchange),
        "wsgi.multithread": engine.options.threads > 1,
        "wsgi.multiprocess": engine.options.processes > 1,
        "wsgi.run_once": False,
    }
    _add_fields(environ, request.headers)
    return environ


def _add_fields(environ: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    """Add the header fields; those with an underscore could pass for others and are left out (CVE-2015-0219)."""
    for name, value in headers:
        text = value.decode("latin-1")
        if name in _APART:
            if name != b"proxy":
                environ[name.decode("latin-1").upper().replace("-", "_")] = text
        elif b"_" not in name:
            key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
            if key in environ:  # RFC 9110 section 5.3; RFC 6265 section 5.4 for cookies
                text = environ[key] + ("; " if name == b"cookie" else ",") + text
            environ[key] = text
