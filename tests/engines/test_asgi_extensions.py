"""ASGI's extensions of an HTTP answer: trailers, early hints, files by their path."""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

Serve = Any
ASK = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


def app_of(*events: dict[str, Any], seen: list[Any] | None = None) -> Any:
    """An app that sends these events; what a send raises is gathered."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        if seen is not None:
            seen.append(scope["extensions"])
        for event in events:
            try:
                await send(event)
            except Exception as exc:
                if seen is None:
                    raise
                seen.append(exc)

    return app


SUMMED = (
    {**START, "trailers": True},
    {"type": "http.response.body", "body": b"abc", "more_body": True},
    {"type": "http.response.body", "body": b"def"},
    {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True},
    {"type": "http.response.trailers", "headers": [(b"x-late", b"2")]},
)


async def test_trailers_reach_a_client_that_accepts_them(serve: Serve) -> None:
    served = await serve(app_of(*SUMMED))
    answer = await served.talk(ASK + b"TE: trailers\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nx-sum: 1\r\nx-late: 2\r\n\r\n")


@pytest.mark.parametrize("field", [b"", b"TE: gzip\r\n"])
async def test_other_clients_get_the_body_without_trailers(serve: Serve, field: bytes) -> None:
    served = await serve(app_of(*SUMMED))
    answer = await served.talk(ASK + field + b"\r\n")
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    assert served.errors == []


async def test_trailers_behind_a_body_of_known_length_are_dropped(serve: Serve) -> None:
    start = {**START, "headers": [(b"content-length", b"6")], "trailers": True}
    served = await serve(app_of(start, *SUMMED[1:]))
    answer = await served.talk(ASK + b"TE: trailers\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nabcdef")


async def test_a_trailer_with_a_line_end_breaks_the_answer_off_instead_of_forging_another(serve: Serve) -> None:
    forged = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1\r\n\r\nHTTP/1.1 200 OK")]}
    served = await serve(app_of(*SUMMED[:3], forged))
    answer = await served.talk(ASK + b"TE: trailers\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    assert not answer.endswith(b"0\r\n\r\n")
    assert "CR, LF or NUL" in served.errors[0]


HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]}
BODY = {"type": "http.response.body", "body": b"hi"}


async def test_early_hints_come_before_the_answer(serve: Serve) -> None:
    served = await serve(app_of(HINT, START, BODY))
    answer = await served.talk(ASK + b"\r\n")
    hints, _, rest = answer.partition(b"\r\n\r\n")
    assert hints == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload"
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_of_http_1_0_gets_no_early_hints(serve: Serve) -> None:
    served = await serve(app_of(HINT, START, BODY))
    assert (await served.talk(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_hints_after_the_head_and_unknown_events_raise_in_the_app(serve: Serve) -> None:
    seen: list[Any] = []
    unknown = {"type": "http.response.nonsense"}
    served = await serve(app_of(START, HINT, unknown, {**BODY, "more_body": False}, seen=seen))
    assert (await served.talk(ASK + b"\r\n")).endswith(b"\r\n\r\nhi")
    assert [str(exc) for exc in seen[1:]] == [
        "an http app cannot send 'http.response.early_hint', or not now",
        "an http app cannot send 'http.response.nonsense', or not now",
    ]


async def test_scope_names_the_extensions(serve: Serve) -> None:
    seen: list[Any] = []
    served = await serve(app_of(START, BODY, seen=seen))
    await served.talk(ASK + b"\r\n")
    assert set(seen[0]) >= {"http.response.early_hint", "http.response.pathsend", "http.response.trailers"}


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
async def test_a_file_is_sent_by_its_path_with_its_length(serve: Serve, tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(index % 251 for index in range(1000)) * (size // 1000) + b"x" * (size % 1000))
    served = await serve(app_of(START, {"type": "http.response.pathsend", "path": str(file)}))
    head, _, body = (await served.talk(ASK + b"\r\n")).partition(b"\r\n\r\n")
    assert b"content-length: %d" % size in head
    assert body == file.read_bytes()
    head, _, body = (await served.talk(ASK.replace(b"GET", b"HEAD") + b"\r\n")).partition(b"\r\n\r\n")
    assert (b"content-length: %d" % size in head, body) == (True, b"")


async def test_a_file_answers_the_requests_around_it_in_order(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"f" * 500_000)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        await send(START)
        if scope["path"] == "/file":
            await send({"type": "http.response.pathsend", "path": str(file)})
        else:
            await send({"type": "http.response.body", "body": scope["path"].encode()})

    served = await serve(app)
    asked = b"".join(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % name for name in (b"1", b"file", b"2", b"file"))
    answer = await served.talk(asked + ASK + b"\r\n")
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [len(body) if len(body) > 9 else body for body in bodies] == [b"/1", 500_000, b"/2", 500_000, b"/"]


async def test_a_file_that_is_not_there_is_a_failed_request(serve: Serve, tmp_path: Path) -> None:
    served = await serve(app_of(START, {"type": "http.response.pathsend", "path": str(tmp_path / "none")}))
    assert (await served.talk(ASK + b"\r\n")).startswith(b"HTTP/1.1 500 ")
    assert "FileNotFoundError" in served.errors[0]


async def test_a_file_shorter_than_announced_cuts_the_connection(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"short")
    start = {**START, "headers": [(b"content-length", b"10")]}
    served = await serve(app_of(start, {"type": "http.response.pathsend", "path": str(file)}))
    reader, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.endswith(b"\r\n\r\nshort")
    assert "5 bytes shorter" in served.errors[0]
    writer.close()


def special(kind: str, folder: Path) -> str:
    path = folder / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        return "/dev/zero"
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    return str(path)


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "socket"])
async def test_what_is_no_regular_file_is_a_failed_request_and_does_not_hold_the_loop(
    serve: Serve, tmp_path: Path, kind: str
) -> None:
    served = await serve(app_of(START, {"type": "http.response.pathsend", "path": special(kind, tmp_path)}))
    assert (await served.talk(ASK + b"\r\n")).startswith(b"HTTP/1.1 500 ")
    assert "OSError" in served.errors[0]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("path", ["/proc/version", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled"])
async def test_file_that_has_no_known_size_is_read_to_its_end(serve: Serve, path: str) -> None:
    served = await serve(app_of(START, {"type": "http.response.pathsend", "path": path}))
    head, _, body = (await served.talk(ASK + b"\r\n")).partition(b"\r\n\r\n")
    wanted = pathlib.Path(path).read_bytes()  # noqa: ASYNC240 - of the kernel's memory
    assert len(body) == len(wanted) > 0
    assert b"content-length: %d" % len(wanted) in head
    assert served.errors == []


@pytest.mark.parametrize(("announced", "sent", "told"), [(b"4", 4, 0), (b"100000", 0, 1)])
async def test_file_that_has_no_known_size_is_held_to_the_announced_one(
    serve: Serve, announced: bytes, sent: int, told: int
) -> None:
    start = {**START, "headers": [(b"content-length", announced)]}
    served = await serve(app_of(start, {"type": "http.response.pathsend", "path": "/proc/version"}))
    body = (await served.talk(ASK + b"\r\n")).partition(b"\r\n\r\n")[2]
    assert len(body) == sent or told
    assert len(served.errors) == told
