"""What a build of arun makes of conversations: a process that holds each one that it is given and tells all that came of it.

``difference.py`` starts one for the compiled build and one for the pure one. A line of its input is a conversation: the number of
a way to serve, whether the client closes its side at the end, and the pieces that it sends; the answer is a line as well.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import sys
import warnings
from typing import Any

from aiohttp import web
from tests.fuzz import difference
from tests.hostile.memory import converse

from arun.http.access.log import access_log
from arun.http.options import HttpOptions
from arun.lifecycle.build import http_server

__all__ = ("WAYS",)

#: Who of the way to serve writes here what it saw.
_told: list[Any] = []
_DATE = re.compile(rb"\bdate: [^\r]*\r\n", re.IGNORECASE)
_LOG = '%h %l %u "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %{X-Forwarded-For}i'
_FEW = {"limit_request_line": 40, "limit_request_fields": 5, "limit_request_field_size": 60, "limit_request_body": 20}


def _text(data: Any) -> Any:
    return {"bytes": bytes(data).decode("latin-1")} if isinstance(data, bytes | bytearray | memoryview) else data


def _plain(value: Any) -> Any:
    """Return a value of a scope, an environ or an event as JSON knows it."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return _text(value) if isinstance(value, bytes | str | int | float | bool | None) else type(value).__name__


async def _asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Do what the path says, and echo what comes."""
    _told.append(_plain(scope))
    if scope["type"] == "websocket":
        await _websocket(scope, receive, send)
        return
    path, body = scope["path"], b""
    if "early" in path:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-early", b"1")]})
    while True:
        event = await receive()
        _told.append(_plain(event))
        if event["type"] != "http.request":
            break
        body += event["body"]
        if not event["more_body"]:
            break
    if "raise" in path:
        raise RuntimeError("raised on purpose")
    if "early" not in path:
        start = _response(path, body)
        start["status"] = _odd(path, _ODD_STATUSES, start["status"])
        start["headers"] = _odd(path, _ODD_HEADERS, start["headers"])
        await send({"type": "http.response.start", **start})
    odd = next((change for word, change in _ODD_BODIES.items() if word in path), None)
    for piece in (body[:7], b"", body[7:]):
        await send({"type": "http.response.body", **(odd(piece) if odd else {"body": piece, "more_body": True})})
    if "late" in path:
        raise RuntimeError("raised late on purpose")
    await send({"type": "http.response.body", "body": scope["raw_path"] if "longer" in path else b""})


class _Bytes(bytes):
    pass


class _Text(str):
    __slots__ = ()


class _Int(int):
    pass


#: What an app may get wrong, or right in another way, in a piece of a body and in the start of a response.
_ODD_BODIES: dict[str, Any] = {
    "array": lambda piece: {"body": bytearray(piece), "more_body": True},
    "view": lambda piece: {"body": memoryview(piece), "more_body": True},
    "number": lambda piece: {"body": piece, "more_body": 1},
    "textual": lambda piece: {"body": piece.decode("latin-1"), "more_body": True},
    "nobody": lambda _: {"more_body": True},
    "null": lambda _: {"body": None, "more_body": None},
    "subclass": lambda piece: {"body": _Bytes(piece), "more_body": True},
    "lists": lambda piece: {"body": list(piece), "more_body": []},
}
_ODD_HEADERS: dict[str, Any] = {
    "lists": lambda headers: [list(header) for header in headers],
    "array": lambda headers: [(bytearray(name), bytearray(value)) for name, value in headers],
    "view": lambda headers: [(memoryview(name), memoryview(value)) for name, value in headers],
    "textual": lambda headers: [(name.decode(), value.decode("latin-1")) for name, value in headers],
    "subclass": lambda headers: [(_Bytes(name), _Bytes(value)) for name, value in headers],
    "number": lambda headers: [(name, 1) for name, _ in headers],
    "null": lambda _: None,
    "nobody": lambda headers: [(*header, b"") for header in headers],
    "generator": lambda headers: (header for header in headers),
}
_ODD_STATUSES: dict[str, Any] = {"subclass": _Int, "float": float, "textual": str, "true": bool, "null": lambda _: None}


def _odd(path: str, changes: dict[str, Any], value: Any) -> Any:
    for word, change in changes.items():
        if word in path:
            return change(value)
    return value


def _response(path: str, body: bytes) -> dict[str, Any]:
    headers: list[Any] = [(b"x-seen", b"%d" % len(body))]
    if "length" in path:
        headers.append((b"content-length", b"%d" % len(body)))
    if "close" in path:
        headers.append((b"connection", b"close"))
    if "date" in path:
        headers += [(b"date", b"today"), (b"server", b"mine")]
    if "wrong" in path:
        headers.append((b"bad name", b"or\r\nvalue"))
    if "path" in path:
        headers.append((b"x-path", path.encode()))
    number = re.search(r"(\d{3})", path)
    return {"status": int(number[1]) if number and number[1] >= "200" else 200, "headers": headers}


async def _websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    _told.append(_plain(await receive()))
    if "deny" in scope["path"]:
        await send({"type": "websocket.close", "code": 1008})
        return
    protocols = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": protocols[0] if protocols else None, "headers": []})
    while True:
        event = await receive()
        _told.append(_plain(event))
        if event["type"] != "websocket.receive":
            return
        if event.get("text") == "raise":
            raise RuntimeError("raised in a websocket on purpose")
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 3000, "reason": "asked"})
        else:
            change = _odd(scope["path"], _ODD_MESSAGES, None)
            await send({**event, "type": "websocket.send", **(change or {})})


_ODD_MESSAGES: dict[str, Any] = {
    "array": lambda _: {"text": None, "bytes": bytearray(b"odd")},
    "view": lambda _: {"text": None, "bytes": memoryview(b"odd")},
    "textual": lambda _: {"text": _Text("odd")},
    "subclass": lambda _: {"text": None, "bytes": _Bytes(b"odd")},
    "number": lambda _: {"text": 1},
    "null": lambda _: {"text": None, "bytes": None},
    "nobody": lambda _: {"type": "websocket.close", "code": 1, "reason": None},
    "lists": lambda _: {"type": "websocket.close", "code": _Int(3001), "reason": _Text("odd")},
}


def _wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    _told.append(_plain({name: value for name, value in environ.items() if name != "wsgi.errors"}))
    path, source = environ["PATH_INFO"], environ["wsgi.input"]
    body = source.readline() + source.read(3) + b"".join(source.readlines())
    _told.append(_text(body))
    if "raise" in path:
        raise RuntimeError("raised on purpose")
    response = _response(path, body)
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response["headers"]]
    status = _odd(path, _ODD_LINES, f"{response['status']} Said")
    write = start_response(status, _odd(path, _ODD_FIELDS, fields))
    if "write" in path:
        write(_odd(path, _ODD_PIECES, b"written"))
    if "late" in path:
        return _late(body)
    return _odd(path, _ODD_RESULTS, [_odd(path, _ODD_PIECES, piece) for piece in (body[:7], b"", body[7:])])


_ODD_LINES: dict[str, Any] = {"subclass": _Text, "number": lambda _: 200, "array": str.encode, "null": lambda _: None}
_ODD_FIELDS: dict[str, Any] = {
    "lists": lambda fields: [list(field) for field in fields],
    "subclass": lambda fields: [(_Text(name), _Text(value)) for name, value in fields],
    "array": lambda fields: [(name.encode(), value.encode("latin-1")) for name, value in fields],
    "nobody": tuple,
    "generator": iter,
    "textual": dict,
    "true": lambda fields: [(name, len(value)) for name, value in fields],
}
_ODD_PIECES: dict[str, Any] = {
    "view": memoryview,
    "float": bytearray,
    "subclass": _Bytes,
    "generator": lambda piece: piece.decode("latin-1"),
    "null": lambda _: None,
}
_ODD_RESULTS: dict[str, Any] = {
    "nobody": tuple,
    "generator": iter,
    "number": lambda _: 1,
    "textual": b"".join,
}


def _late(body: bytes) -> Any:
    yield body
    raise RuntimeError("raised late on purpose")


async def _aiohttp(request: web.Request) -> web.StreamResponse:
    _told.append([request.method, request.raw_path, str(request.url), request.scheme, request.remote])
    _told.append([[name, value] for name, value in request.headers.items()])
    body = await request.read()
    _told.append(_text(body))
    if "raise" in request.path:
        raise RuntimeError("raised on purpose")
    response = _response(request.path, body)
    headers = [(name.decode(), value.decode()) for name, value in response["headers"] if name != b"bad name"]
    if "late" in request.path:
        stream = web.StreamResponse(status=response["status"], headers=headers)
        await stream.prepare(request)
        await stream.write(body)
        raise RuntimeError("raised late on purpose")
    return web.Response(status=response["status"], headers=headers, body=body)


def _application() -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _aiohttp)
    return app


#: How a conversation may be served: kind of app, and options.
WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("asgi", {}),
    ("asgi", {"forwarded_allow_ips": ("127.0.0.1",), "log": _LOG, "measures": True}),
    ("asgi", {**_FEW, "keep_alive_requests": 2, "forwarded_header": "forwarded", "forwarded_allow_ips": "*"}),
    ("asgi", {"root_path": "/root", "ws_per_message_deflate": False, "ws_max_size": 100, "log": "json"}),
    ("asgi", {"server_header": False, "date_header": False, "timeout_keep_alive": 0.0}),
    ("wsgi", {}),
    ("wsgi", {"forwarded_allow_ips": ("127.0.0.1",), "log": "combined", "root_path": "/root"}),
    ("wsgi", {**_FEW, "limit_request_head": 300}),
    ("aiohttp", {}),
    ("aiohttp", {"forwarded_allow_ips": "*", "log": _LOG, "limit_request_body": 20}),
)
_APPS = {"asgi": _asgi, "wsgi": _wsgi}


async def _servers(failures: list[str], log: list[str]) -> list[tuple[Any, Any]]:
    """Start a server for each way, and return it and what makes its connections."""
    servers = []
    for kind, options in WAYS:
        given = dict(options)
        form = given.pop("log", "")
        access = access_log(form, (), log.append) if form else None
        http = http_server(
            kind,
            _application() if kind == "aiohttp" else _APPS[kind],
            HttpOptions(threads=0, access=access, on_error=failures.append, ws_ping_interval=0.0, **given),
        )
        servers.append((http, await http.start()))
    return servers


#: Turns of the loop that an app may still take when its client has gone.
_TURNS = 1000
#: What is another one in each run: times, and places in the source.
_MOMENTS = re.compile(
    r'\[\d\d/\w{3}/\d{4}[^\]]*\]|"(time|duration|start)[a-z_]*": ?("[^"]*"|[\d.]+)|\d{4}-\d\d-\d\dT[^"]*'
)


async def _held(server: tuple[Any, Any], conversation: Any, failures: list[str], log: list[str]) -> dict[str, Any]:
    """Hold one conversation and return what came of it."""
    _told.clear()
    failures.clear()
    log.clear()
    raised = ""
    http, factory = server
    pieces = [base64.b64decode(piece) for piece in conversation["pieces"]]
    try:
        written = await converse(factory, pieces, half_close=conversation["half_close"])
    except Exception as error:  # noqa: BLE001 - whatever it is, both must raise it
        written, raised = b"", type(error).__name__
    for _ in range(_TURNS):
        if not http.running:
            break
        await asyncio.sleep(0)
    return {
        "written": _DATE.sub(b"Date: \r\n", written).decode("latin-1"),
        "told": json.loads(json.dumps(_told)),
        "failures": [_failure(text.splitlines()) for text in failures if text],
        "log": [_MOMENTS.sub("", line) for line in log],
        "raised": raised,
    }


def _failure(lines: list[str]) -> list[str]:
    """Return what a failure says: not where in our code it was, and how CPython or mypyc words that a value is of a wrong type."""
    worded = lines[-1].startswith(("TypeError: ", "AttributeError: ", "ValueError: "))
    return [lines[0], "a wrong value" if worded else lines[-1]]


def _answer(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer line by line until the input ends."""
    warnings.simplefilter("ignore")
    logging.disable()  # aiohttp's
    failures: list[str] = []
    log: list[str] = []
    if len(WAYS) != difference.WAYS:
        raise SystemExit("difference.py knows another number of ways to serve")
    with asyncio.Runner() as runner:
        faults: list[str] = []
        runner.get_loop().set_exception_handler(lambda _, context: faults.append(f"{context.get('exception')!r}"))
        servers = runner.run(_servers(failures, log))
        _answer({"file": sys.modules["arun.http.http1.parser"].__file__})
        for line in sys.stdin:
            conversation = json.loads(line)
            faults.clear()
            came = runner.run(_held(servers[conversation["way"]], conversation, failures, log))
            _answer({**came, "faults": faults})


if __name__ == "__main__":
    main()
