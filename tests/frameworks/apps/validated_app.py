"""The WSGI shops and a plain app side by side, all of it inside the standard library's validator."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import django_wsgi_app
import falcon_wsgi_app
import flask_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what was sent, by ``write`` or by the iterable, as the path says."""
    body = environ["wsgi.input"]
    pieces = {
        "/lines": lambda: [body.readline(), body.readline(4), *body.readlines(1), body.read(2), *body],
        "/write": lambda: iter(lambda: body.read(65_536), b""),
    }
    if environ["PATH_INFO"] not in pieces:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such page"]
    write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
    found = pieces[environ["PATH_INFO"]]()
    if environ["PATH_INFO"] == "/lines":
        return iter(found)
    for piece in found:
        write(piece)
    return [b"written"]


mounts = {"/django": django_wsgi_app.application, "/falcon": falcon_wsgi_app.app, "/flask": flask_app.app}
app = validator(DispatcherMiddleware(plain, mounts))
