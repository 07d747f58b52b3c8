"""Files, long answers and slow readers over TLS, and what the access log says of their sizes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import until
from tests.process.test_tls import NAME, tls

if TYPE_CHECKING:
    import ssl

    from tests.process.conftest import Authority, Starter

SIZE = 3_000_000
APPS = {
    "asgi": """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3000000")]})
    if scope["path"] == "/file":
        await send({"type": "http.response.pathsend", "path": __file__.replace("app.py", "data")})
    else:
        for _ in range(30):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        await send({"type": "http.response.body"})
""",
    "wsgi": """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "3000000")])
    if environ["PATH_INFO"] == "/file":
        return environ["wsgi.file_wrapper"](open(__file__.replace("app.py", "data"), "rb"))
    return (bytes(100_000) for _ in range(30))
""",
    "aiohttp": """
from aiohttp import web
async def file(request):
    return web.FileResponse(__file__.replace("app.py", "data"))
async def stream(request):
    response = web.StreamResponse(headers={"Content-Length": "3000000"})
    await response.prepare(request)
    for _ in range(30):
        await response.write(bytes(100_000))
    return response
app = web.Application()
app.router.add_get("/file", file)
app.router.add_get("/stream", stream)
""",
}


def body(client: ssl.SSLSocket, piece: int = 65_536) -> tuple[int, bytes]:
    """Status and body of an answer that closes, read in pieces."""
    raw = b""
    while data := client.recv(piece):
        raw += data
    head, _, rest = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("threads", ["8", "0"])
@pytest.mark.parametrize("kind", APPS)
def test_long_answers_arrive_whole_and_are_logged_with_their_size(
    arun: Starter, authority: Authority, kind: str, threads: str, loop: str
) -> None:
    if threads == "0" and kind != "wsgi":
        threads = "1"  # which is nothing to these
    arun.write("app.py", APPS[kind])
    (arun.folder / "data").write_bytes(bytes(range(250)) * (SIZE // 250))
    certificate, key = authority.issue(NAME)
    options: tuple[Any, ...] = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key), "--threads", threads)
    log = ("--access-logfile", "log", "--access-logformat", "json")
    instance = arun("app.py", "--bind", "{address}", "--loop", loop, *options, *log).ready()
    for path in ("/file", "/stream"):
        with tls(instance.address, authority.client()) as client:
            client.sendall(b"GET %b HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n" % path.encode())
            status, told = body(client)
        assert (status, len(told)) == (200, SIZE)
        assert told == (bytes(SIZE) if path == "/stream" else (arun.folder / "data").read_bytes())
    assert instance.stop() == 0
    lines = [json.loads(line) for line in (arun.folder / "log").read_text().splitlines()]
    assert [(line["path"], line["bytes"], line["scheme"]) for line in lines] == [
        ("/file", SIZE, "https"),
        ("/stream", SIZE, "https"),
    ]
    assert "Traceback" not in instance.said


@pytest.mark.parametrize("path", ["/file", "/stream"])
@pytest.mark.parametrize("kind", APPS)
def test_reader_that_takes_nothing_is_cut_over_tls_too(
    arun: Starter, authority: Authority, kind: str, path: str
) -> None:
    arun.write("app.py", APPS[kind].replace("3000000", "300000000").replace("range(30)", "range(3000)"))
    with (arun.folder / "data").open("wb") as data:
        data.truncate(300_000_000)
    certificate, key = authority.issue(NAME)
    options = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key), "--timeout-write", "1")
    instance = arun("app.py", "--bind", "{address}", *options).ready()
    held = instance.holdings()["socket"]
    with tls(instance.address, authority.client()) as client:
        client.sendall(b"GET %b HTTP/1.1\r\nHost: shop.test\r\n\r\n" % path.encode())
        assert client.recv(12) == b"HTTP/1.1 200"

        def cut() -> None:
            if instance.holdings()["socket"] > held:
                raise InterruptedError

        until(cut, InterruptedError)
        assert instance.process.poll() is None
    assert instance.stop() == 0
