"""The environ of a WSGI app (PEP 3333, RFC 3875 section 4.1)."""

from __future__ import annotations

from arun.apps.wsgi.file_wrapper import FileWrapper
from arun.http.bounded_cache import BoundedCache
from arun.http.request import ESCAPE, unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from arun.apps.wsgi.application import WsgiApplication
    from arun.http.exchange import Carrier
    from arun.http.request import Request

__all__ = ("environ_of",)

#: Keys that a template has for a moment, after which it keeps their place, and its copies too: a dict that grows with the fields
#: of a request is copied once more.
_PLACES: Final = ("1", "2", "3")
#: Fields that are variables under another name, or must not become one: Proxy would be HTTP_PROXY (CVE-2016-5385).
_APART: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH", b"proxy": ""}


def environ_of(
    request: Request, connection: Carrier, application: WsgiApplication, request_body: object
) -> dict[str, Any]:
    """Return the environ of a request on a connection; ``request_body`` is the file of its body."""
    common: dict[str, Any] | None = connection.common
    if common is None:
        common = connection.common = _common(connection, application)
    environ = common.copy()
    target = request.target
    uri = target.decode("latin-1")
    root, path = application.root, request.path
    if root or path is not target or ESCAPE in path:
        if root:
            path = application.http.root_path.mounted(path)
        environ["PATH_INFO"] = unquoted(path).decode("latin-1").removeprefix(root)
        environ["QUERY_STRING"] = request.query.decode("latin-1")
    else:
        environ["PATH_INFO"] = uri
    if request.method != "GET":
        environ["REQUEST_METHOD"] = request.method
    environ["REQUEST_URI"] = uri
    if request.version != "1.1":
        environ["SERVER_PROTOCOL"] = "HTTP/" + request.version
    environ["wsgi.input"] = request_body
    _set_fields(environ, request.headers)
    if request.was_forwarded or not environ["SERVER_PORT"]:
        _set_ends(environ, request, connection, application)
    return environ


def _common(connection: Carrier, application: WsgiApplication) -> dict[str, Any]:
    """Return what the environ of every request on a connection holds, and what it holds for nearly all of them."""
    options = application.http.options
    host, port = connection.server or ("", None)
    address = _address(connection.client)
    common: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": application.root,
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "REQUEST_URI": "/",
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": "" if port is None else str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "arun",
        "REMOTE_ADDR": address[0],
        "REMOTE_PORT": address[1],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": connection.scheme,
        "wsgi.input": None,
        "wsgi.input_terminated": True,
        "wsgi.errors": application.errors,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.multithread": options.threads > 1,
        "wsgi.multiprocess": options.workers > 1,
        "wsgi.run_once": False,
    }
    for place in _PLACES:
        common[place] = None
    for place in _PLACES:
        del common[place]
    return common


def _set_fields(environ: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    """Set the variables of header fields."""
    for name, value in headers:
        variable = _variables.get(name)
        if variable is None:
            variable = _variables[name]
        if variable:
            text = value.decode("latin-1")
            if variable in environ and variable.startswith("HTTP_"):  # RFC 9110 section 5.3, RFC 6265 section 5.4
                text = environ[variable] + ("; " if name == b"cookie" else ",") + text
            environ[variable] = text


def _set_ends(environ: dict[str, Any], request: Request, connection: Carrier, application: WsgiApplication) -> None:
    """Name client and server where the connection itself does not: behind a proxy, or on a unix socket."""
    if request.was_forwarded:
        client, environ["wsgi.url_scheme"] = application.http.forwarding.ends_of(
            connection.client, connection.scheme, request
        )
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = _address(client)
    if not environ["SERVER_PORT"]:
        host = environ.get("HTTP_HOST", "")
        environ["SERVER_NAME"], environ["SERVER_PORT"] = _named(host, environ["wsgi.url_scheme"])


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
_variables: Final[BoundedCache[bytes, str]] = BoundedCache(_variable)
