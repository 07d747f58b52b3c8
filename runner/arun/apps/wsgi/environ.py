"""The environ of a WSGI app (PEP 3333, RFC 3875 section 4.1)."""

from __future__ import annotations

from arun.apps.wsgi.file_wrapper import FileWrapper
from arun.http.bounded_cache import BoundedCache
from arun.http.request import ESCAPE, unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arun.http.exchange import Carrier
    from arun.http.options import HttpOptions
    from arun.http.request import Request

__all__ = ("ErrorStream", "common_environ", "environ_of")

#: Fields that are variables under another name, or must not become one: Proxy would be HTTP_PROXY (CVE-2016-5385).
_APART = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH", b"proxy": ""}


class ErrorStream:
    """``wsgi.errors``: text for the error log of the instance, from any thread."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, text: str) -> int:
        """Write the text to the error log."""
        self._write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


def environ_of(
    request: Request,
    common: dict[str, Any],
    path: bytes,
    body: object,
    forwarded: tuple[tuple[str, int] | None, str] | None,
) -> dict[str, Any]:
    """Return the environ of a request.

    ``common`` is that of its connection, ``path`` its path below the root of the app, ``body`` the file of its body;
    ``forwarded`` are client and scheme behind the connection, None for those of the connection itself.
    """
    environ = common.copy()
    root = environ["SCRIPT_NAME"]
    text = (unquoted(path) if ESCAPE in path else path).decode("latin-1")
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = text.removeprefix(root) if root else text
    environ["QUERY_STRING"] = request.query.decode("latin-1")
    environ["REQUEST_URI"] = request.target.decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/" + request.version
    environ["wsgi.input"] = body
    for name, value in request.headers:
        variable = _variables.get(name)
        if variable is None:
            variable = _variables[name]
        if variable:
            text = value.decode("latin-1")
            if variable in environ and variable.startswith("HTTP_"):  # RFC 9110 section 5.3, RFC 6265 section 5.4
                text = environ[variable] + ("; " if name == b"cookie" else ",") + text
            environ[variable] = text
    if forwarded is not None:
        client, environ["wsgi.url_scheme"] = forwarded
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = _address(client)
    if not environ["SERVER_PORT"]:  # a unix socket
        host = environ.get("HTTP_HOST", "")
        environ["SERVER_NAME"], environ["SERVER_PORT"] = _named(host, environ["wsgi.url_scheme"])
    return environ


def common_environ(connection: Carrier, options: HttpOptions, errors: ErrorStream) -> dict[str, Any]:
    """Return what the environ of every request on a connection holds."""
    host, port = connection.server or ("", None)
    address = _address(connection.client)
    return {
        "SCRIPT_NAME": options.root_path.encode().decode("latin-1"),
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": "" if port is None else str(port),
        "SERVER_SOFTWARE": "arun",
        "REMOTE_ADDR": address[0],
        "REMOTE_PORT": address[1],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": connection.scheme,
        "wsgi.input_terminated": True,
        "wsgi.errors": errors,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.multithread": options.threads > 1,
        "wsgi.multiprocess": options.workers > 1,
        "wsgi.run_once": False,
    }


def _named(host: str, scheme: str) -> tuple[str, str]:
    """Return name and port of the server as the client addressed it, neither of them empty (PEP 3333)."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    return name or "localhost", port or ("443" if scheme == "https" else "80")


def _address(client: tuple[str, int] | None) -> tuple[str, str]:
    return (client[0], str(client[1])) if client else ("", "")


def _variable(name: bytes) -> str:
    """Return the name of a field's variable; an underscore could pass for a hyphen (CVE-2015-0219)."""
    variable = _APART.get(name)
    if variable is None:
        variable = "" if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    return variable


#: Names of variables by those of fields; no name for a field that must not become one.
_variables: BoundedCache[bytes, str] = BoundedCache(_variable)
