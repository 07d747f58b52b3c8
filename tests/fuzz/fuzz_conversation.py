"""Any bytes in any pieces on one connection of the HTTP/1 engine: no exception, and nothing but answers comes back.

Run by ``make fuzz``; needs the dependency group ``fuzz``. The first byte of an input chooses the kind of app, the
following ones where the rest is split.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["arun"]):
    from tests.engines.conftest import asgi_server, wsgi_server

    from arun.http.options import HttpOptions

from tests.hostile.memory import converse
from tests.hostile.wire import read_answers

#: The methods of the requests that an app was given, in their order.
_methods: list[str] = []
_loop = asyncio.new_event_loop()
_faults: list[dict[str, Any]] = []


async def _asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan, no websockets")
    _methods.append(scope["method"])
    body = b""
    while (event := await receive())["type"] == "http.request":
        body += event["body"]
        if not event["more_body"]:
            break
    else:
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-seen", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": scope["raw_path"], "more_body": True})
    await send({"type": "http.response.body", "body": body})


def _wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    _methods.append(environ["REQUEST_METHOD"])
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Seen", str(len(body)))])
    return [environ["PATH_INFO"].encode("latin-1"), body]


def _started(engine: Any) -> Any:
    return _loop.run_until_complete(engine.start())


_FACTORIES = (
    _started(asgi_server(_asgi, HttpOptions())),
    _started(wsgi_server(_wsgi, HttpOptions(threads=0))),
)


def _pieces(data: bytes, places: bytes) -> list[bytes]:
    pieces, begin = [], 0
    for place in places:
        pieces.append(data[begin : begin + place])
        begin += place
    return [*pieces, data[begin:]]


def one_input(data: bytes) -> None:
    """Hold the conversation that an input describes."""
    if len(data) < 2:
        return
    cuts = data[0] >> 4
    factory = _FACTORIES[data[0] & 1]
    _methods.clear()
    written = _loop.run_until_complete(
        converse(factory, _pieces(data[1 + cuts :], data[1 : 1 + cuts]), half_close=bool(data[0] & 2))
    )
    read_answers(written, ended=True, methods=_methods)
    if _faults:
        raise AssertionError(_faults.pop())


def main() -> None:
    """Fuzz until libFuzzer's arguments say stop."""
    _loop.set_exception_handler(lambda _, context: _faults.append(context))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
