"""What an aiohttp app asks of its server counts, as far as the instance allows it."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from tests.engines.conftest import aiohttp_server

from arun.http.access.log import access_log

if TYPE_CHECKING:
    from collections.abc import Callable

Serve = Any
PATIENCE = 10
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def serve_args(serve: Serve) -> Callable[..., Any]:
    """Serve an app with ``handler_args`` that echoes, or runs ``handler``."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def start(args: dict[str, Any], handler: Any = echo, **options: Any) -> Any:
        app = web.Application(handler_args=args)
        app.router.add_route("*", "/{rest:.*}", handler)
        return await serve(app, aiohttp_server, **options)

    return start


def asking(path: bytes = b"/", *fields: bytes, body: bytes = b"") -> bytes:
    lines = (b"GET %b HTTP/1.1" % path, b"Host: a", b"Connection: close", *fields, b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


LONG_LINE, LONG_FIELD, MANY_FIELDS = (
    asking(b"/" + b"a" * 200),
    asking(b"/", b"X: " + b"a" * 200),
    asking(b"/", *[b"X: 1"] * 20),
)


@pytest.mark.parametrize(
    ("name", "request_", "status"),
    [("max_line_size", LONG_LINE, 414), ("max_field_size", LONG_FIELD, 431), ("max_headers", MANY_FIELDS, 431)],
)
async def test_limits_of_the_app_hold_where_they_are_stricter(
    serve_args: Any, name: str, request_: bytes, status: int
) -> None:
    size = 10 if name == "max_headers" else 100
    assert (await (await serve_args({})).talk(request_)).startswith(b"HTTP/1.1 200 ")
    served = await serve_args({name: size})
    assert (await served.talk(request_)).startswith(b"HTTP/1.1 %d " % status)
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 200 ")
    served = await serve_args({name: size}, limit_request_line=0, limit_request_field_size=0, limit_request_fields=0)
    assert (await served.talk(request_)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("name", "limit", "request_", "status", "option"),
    [
        ("max_line_size", "limit_request_line", LONG_LINE, 414, "limit-request-line"),
        ("max_field_size", "limit_request_field_size", LONG_FIELD, 431, "limit-request-field-size"),
        ("max_headers", "limit_request_fields", MANY_FIELDS, 431, "limit-request-fields"),
    ],
)
async def test_limits_of_the_instance_hold_where_they_are_stricter_and_that_is_reported(  # noqa: PLR0913, PLR0917
    serve_args: Any, capfd: Any, name: str, limit: str, request_: bytes, status: int, option: str
) -> None:
    own = 10 if limit == "limit_request_fields" else 100
    served = await serve_args({name: 100_000}, **{limit: own})
    assert (await served.talk(request_)).startswith(b"HTTP/1.1 %d " % status)
    assert (
        f"handler_args of the app: {name}=100000 does not count, as {option} is stricter ({own})"
        in capfd.readouterr().err
    )


@pytest.mark.parametrize(("app", "instance"), [(0.05, 1000.0), (1000.0, 0.05)])
async def test_an_idle_connection_is_closed_after_the_shorter_of_both_times(
    serve_args: Any, capfd: Any, app: float, instance: float
) -> None:
    served = await serve_args({"keepalive_timeout": app}, timeout_keep_alive=instance)
    reader, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\n\r\n" in await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert ("keepalive_timeout=1000 does not count, as timeout-keep-alive" in capfd.readouterr().err) is (
        app > instance
    )


async def test_bodies_stay_packed_without_auto_decompress(serve_args: Any) -> None:
    packed = gzip.compress(b"hello")
    request = asking(b"/", b"Content-Encoding: gzip", body=packed)
    assert (await (await serve_args({})).talk(request)).endswith(b"\r\n\r\nhello")
    assert (await (await serve_args({"auto_decompress": False})).talk(request)).endswith(packed)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
async def test_bodies_come_whole_whatever_a_read_buffer_holds(serve_args: Any, size: int) -> None:
    sizes = []

    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        sizes.append(request.content.get_read_buffer_limits()[1])
        return web.Response(body=await request.read())

    body = bytes(range(256)) * 256
    served = await serve_args({"read_bufsize": size}, handler)
    assert (await served.talk(asking(body=body))).endswith(b"\r\n\r\n" + body)
    assert (await served.talk(asking(body=body[:900]))).endswith(b"\r\n\r\n" + body[:900])
    assert sizes == [2 * size] * 2


@pytest.mark.parametrize("kept", [True, False])
async def test_tcp_keepalive_is_the_apps_to_say(serve_args: Any, kept: bool) -> None:  # noqa: FBT001
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        own = request.transport.get_extra_info("socket")
        return web.Response(text=str(own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))

    served = await serve_args({"tcp_keepalive": kept}, handler)
    assert (await served.talk(GET)).endswith(b"\r\n\r\n%d" % kept)


@pytest.mark.parametrize("cancels", [True, False])
async def test_handler_cancellation_is_the_apps_to_say(serve_args: Any, cancels: bool) -> None:  # noqa: FBT001
    began, go = asyncio.Event(), asyncio.Event()
    ended = asyncio.get_running_loop().create_future()

    async def handler(_request: web.Request) -> web.Response:
        try:
            began.set()
            await go.wait()
        except asyncio.CancelledError:
            ended.set_result("cancelled")
            raise
        ended.set_result("finished")
        return web.Response()

    served = await serve_args({"handler_cancellation": cancels}, handler)
    _, writer = await served.connect()
    writer.write(GET)
    await began.wait()
    writer.transport.abort()
    await asyncio.sleep(0.05)
    go.set()
    assert await asyncio.wait_for(ended, PATIENCE) == ("cancelled" if cancels else "finished")


async def test_lingering_time_shortens_the_wait_for_an_unread_body(serve_args: Any, capfd: Any) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text="fine")

    served = await serve_args({"lingering_time": 0.05}, handler)
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    async with asyncio.timeout(0.9):  # without it a second
        assert (await reader.read()).endswith(b"fine")
    writer.close()
    assert capfd.readouterr().err == ""
    await serve_args({"lingering_time": 30}, handler)
    assert "lingering_time=30 does not count, as arun is stricter (1)" in capfd.readouterr().err


class Told(AbstractAccessLogger):
    """Writes each response to the app's own logger."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        assert time >= 0
        self.logger.info(self.log_format, request.path, response.status)


class Raising(Told):
    def log(self, *_: Any) -> None:
        raise ValueError("no disk")


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


def heard() -> tuple[logging.Logger, Heard]:
    logger, handler = logging.Logger("shop", logging.INFO), Heard()  # noqa: LOG001 - of its own
    logger.addHandler(handler)
    return logger, handler


@pytest.mark.parametrize("of_instance", [True, False])
async def test_access_logger_of_the_app_is_called_beside_the_access_log(serve_args: Any, of_instance: bool) -> None:  # noqa: FBT001
    lines: list[str] = []
    logger, handler = heard()
    args = {"access_log_class": Told, "access_log": logger, "access_log_format": "%s was %d"}
    options = {"access": access_log("%r", (), lines.append)} if of_instance else {}
    served = await serve_args(args, **options)
    await served.talk(asking(b"/shop"))
    assert handler.lines == ["/shop was 200"]
    assert len(lines) == of_instance


async def test_access_logger_that_raises_costs_no_request(serve_args: Any) -> None:
    served = await serve_args({"access_log_class": Raising})
    for _ in range(3):
        assert (await served.talk(GET)).startswith(b"HTTP/1.1 200 ")
    assert len(served.errors) == 1
    assert "the app's access logger raised" in served.errors[0]
    assert "ValueError: no disk" in served.errors[0]


async def test_logger_of_the_app_gets_errors_beside_the_error_log(serve_args: Any) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise ValueError("boom")

    logger, of_app = heard()
    served = await serve_args({"logger": logger}, handler)
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert [str(record.exc_info[1]) for record in of_app.records if record.exc_info] == ["boom"]
    assert len(served.errors) == 1
    assert "ValueError: boom" in served.errors[0]


class Reprless:
    def __repr__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("max_fields", 3, "max_fields=3 is unknown to aiohttp, and does not count"),
        ("max_field_size", "8k", "max_field_size='8k' does not count: it takes a number above 0"),
        ("max_headers", 0, "max_headers=0 does not count: it takes a number above 0"),
        ("read_bufsize", True, "read_bufsize=True does not count: it takes a number above 0"),
        ("keepalive_timeout", -1, "keepalive_timeout=-1 does not count: it takes seconds, 0 or more"),
        ("keepalive_timeout", float("nan"), "keepalive_timeout=nan does not count: it takes seconds, 0 or more"),
        ("auto_decompress", Reprless(), "auto_decompress=Reprless does not count: it takes True or False"),
        ("access_log_class", dict, "does not count: it takes a subclass of aiohttp.abc.AbstractAccessLogger"),
        ("logger", "root", "logger='root' does not count: it takes a logging.Logger"),
        ("debug", True, "debug=True has no effect: --debug shows tracebacks, to visitors from this machine"),
    ],
)
async def test_what_cannot_count_is_reported_and_the_app_is_served(
    serve_args: Any, capfd: Any, name: str, value: Any, told: str
) -> None:
    served = await serve_args({name: value})
    assert (await served.talk(GET)).startswith(b"HTTP/1.1 200 ")
    said = capfd.readouterr().err
    assert told in said
    assert said.count("handler_args") == 1
