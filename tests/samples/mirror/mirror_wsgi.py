"""A WSGI app that answers with what it was given."""

import json
import os
import threading

from answers import ANSWERS

smuggled = 0
released = threading.Event()


def app(environ, start_response):
    global smuggled, released
    path = environ["PATH_INFO"]
    if "smuggled" in path:
        smuggled += 1
    if path.startswith("/answer/"):
        return answer(start_response, *ANSWERS[path.removeprefix("/answer/")])
    if path == "/ignore":
        return reply(start_response, b"ignored")
    if path == "/pulse":
        return reply(start_response, json.dumps({"pid": os.getpid(), "smuggled": smuggled}).encode())
    if path == "/big":
        start_response("200 OK", [])
        return (b"x" * 65_536 for _ in range(int(environ["QUERY_STRING"])))
    if path == "/release":
        released.set()
        released = threading.Event()
        return reply(start_response, b"released")
    if path == "/hold":
        released.wait(60)
        return reply(start_response, b"released")
    body = environ["wsgi.input"].read()
    fields = [
        [name.removeprefix("HTTP_").lower().replace("_", "-"), value]
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    ]
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": path.encode("latin-1").decode("utf-8", "replace"),
        "raw_path": environ.get("REQUEST_URI", environ.get("RAW_URI", "")).partition("?")[0],
        "query": environ["QUERY_STRING"],
        "fields": fields,
        "body": body.decode("latin-1"),
    }
    return reply(start_response, json.dumps(seen).encode())


def reply(start_response, body):
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def answer(start_response, status, fields, pieces):
    if status is not None:
        start_response(f"{status} Some Reason", fields)
    for piece in pieces:
        if piece is None:
            raise RuntimeError("the app raised in the middle")
        yield piece
