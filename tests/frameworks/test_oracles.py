"""The same app, the same raw bytes, the same answer as on the server that the framework's users come from."""

from __future__ import annotations

import http.client
import io
import socket
from typing import TYPE_CHECKING, NamedTuple

from tests.conftest import PATIENCE
from tests.frameworks.conftest import Servers, each

if TYPE_CHECKING:
    from tests.conftest import Instance
    from tests.frameworks.conftest import Framework

FORM = (
    b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\nfor you\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nlines\nof text\n\r\n--edge--\r\n"
)
FORM_FIELDS = b"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: %d\r\n" % len(FORM)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10;a=b\r\n0123456789abcdef\r\n0\r\nX-Sum: 19\r\n\r\n"


def request(line: bytes, fields: bytes = b"", body: bytes = b"") -> bytes:
    return line + b" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n" + fields + b"\r\n" + body


REQUESTS = {
    "page": request(b"GET /"),
    "head": request(b"HEAD /"),
    "options": request(b"OPTIONS /"),
    "wrong method": request(b"DELETE /upload"),
    "unknown method": request(b"BREW /"),
    "missing": request(b"GET /nowhere"),
    "escapes": request(b"GET /json?name=Zo%C3%AB%20%26%20a+b"),
    "query missing": request(b"GET /json"),
    "double slash": request(b"GET //json?name=a"),
    "escaped path": request(b"POST /gat%65s%2Fescaped"),
    "dots": request(b"GET /files/../json?name=a"),
    "escape of the folder": request(b"GET /files/%2e%2e/flask_app.py"),
    "absolute form": request(b"GET http://shop.example/json?name=a"),
    "no content": request(b"POST /gates/oracle"),
    "cookies": request(b"GET /whoami", b"Cookie: user=ann; theme=light\r\n"),
    "cookies in two fields": request(b"GET /whoami", b"Cookie: user=ann\r\nCookie: theme=light\r\n"),
    "login": request(b"GET /login"),
    "fail": request(b"GET /fail"),
    "stream": request(b"GET /numbers"),
    "file": request(b"GET /files/report.txt"),
    "head of a file": request(b"HEAD /files/report.txt"),
    "part of a file": request(b"GET /files/report.txt", b"Range: bytes=10-19\r\n"),
    "end of a file": request(b"GET /files/report.txt", b"Range: bytes=-5\r\n"),
    "beyond a file": request(b"GET /files/report.txt", b"Range: bytes=99999999-\r\n"),
    "not modified": request(b"GET /files/report.txt", b"If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n"),
    "upload": request(b"POST /upload", b"Content-Length: 5\r\n", b"apple"),
    "upload of nothing": request(b"POST /upload", b"Content-Length: 0\r\n"),
    "upload in chunks": request(b"POST /upload")[:-2] + CHUNKED,
    "form": request(b"POST /form", FORM_FIELDS, FORM),
    "form without its file": request(b"POST /form", b"Content-Length: 0\r\n"),
    "old version": b"GET /json?name=a HTTP/1.0\r\n\r\n",
}
#: Fields that each server writes as it likes, or that tell the time.
OWN = {"date", "expires", "server", "connection", "keep-alive", "transfer-encoding"}


class Answer(NamedTuple):
    """What came back, but for what each server writes as it likes."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes


class Difference(NamedTuple):
    """Where arun answers otherwise than the oracle does, and why."""

    request: str
    kinds: tuple[str, ...]
    why: str
    status: int
    body: bytes


DIFFERENCES = (
    Difference(
        "unknown method",
        ("asgi", "wsgi", "aiohttp"),
        "the parser (llhttp) knows no BREW: arun refuses it in its own words, where gunicorn lets a WSGI app decide, and "
        "aiohttp's own server repeats what it was sent",
        400,
        b"Bad Request\n",
    ),
    Difference(
        "cookies in two fields",
        ("wsgi",),
        "gunicorn joins them with a comma, which is part of a cookie's value: RFC 6265 section 5.4 wants a semicolon",
        200,
        b"ann likes it light",
    ),
)


def ask(instance: Instance, raw: bytes) -> Answer:
    host, _, port = instance.address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(raw)
        received = io.BytesIO()
        while piece := connection.recv(65_536):
            received.write(piece)

    class Received:
        def makefile(self, _mode: str) -> io.BytesIO:
            received.seek(0)
            return received

    answer = http.client.HTTPResponse(Received(), method=raw.split()[0].decode())  # type: ignore[arg-type]
    answer.begin()
    fields = sorted((name.lower(), value) for name, value in answer.getheaders() if name.lower() not in OWN)
    return Answer(answer.status, [*map(comparable, fields)], answer.read())


def comparable(field: tuple[str, str]) -> tuple[str, str]:
    """Werkzeug writes the methods that it allows in the order of a set, which is another in each process."""
    name, value = field
    return (name, ", ".join(sorted(value.split(", ")))) if name == "allow" else field


def without_length(answer: Answer) -> Answer:
    """A 204 has no Content-Length (RFC 9110 section 8.6), nor a 304 that of nothing: arun leaves out what apps set."""
    length = ("content-length", "0")
    return answer._replace(
        fields=[field for field in answer.fields if answer.status not in {204, 304} or field != length]
    )


@each()
def test_the_answers_are_those_of_the_oracle(framework: Framework, servers: Servers) -> None:
    arun = servers.arun(framework.app)
    explained = {difference.request: difference for difference in DIFFERENCES if framework.kind in difference.kinds}
    differing = {}
    with servers.oracle(framework) as oracle:
        for name, raw in REQUESTS.items():
            given, expected = ask(arun, raw), without_length(ask(oracle, raw))
            if name in explained:
                why = explained[name]
                assert (given.status, given.body) == (why.status, why.body), why.why
                assert expected.body != given.body, f"{name} is no difference any more"
            elif given != expected:
                differing[name] = [answer._replace(body=answer.body[:200]) for answer in (given, expected)]
    assert differing == {}
