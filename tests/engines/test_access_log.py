"""The access log: what a line states, that no client can forge one, and that all kinds of app have the same lines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engines.apps import CONCURRENT
from tests.engines.conftest import until
from tests.engines.wire import HELLO, reset

from arun.core.access_format import parse
from arun.http.access.escapes import json_escapes, text_escapes
from arun.http.access.line import Entry
from arun.http.access.log import access_log
from arun.http.request_log import ErrorLog
from arun.system.line_file import LineFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engines.apps import Exchange, Gate

    from arun.http.access.escapes import Escapes

Serve = Any
TIME = re.compile(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]")
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Told(NamedTuple):
    """What an access log is told of a request."""

    client: str | None
    method: str
    target: bytes
    version: str
    status: int
    sent: int
    seconds: float
    request_fields: list[tuple[bytes, bytes]] | None = None
    response_fields: list[tuple[bytes, bytes]] | None = None
    scheme: str = "http"
    request_id: str | None = None


ENTRY = Told(
    "192.0.2.1",
    "GET",
    b"/a%20b?x=1",
    "1.1",
    200,
    12,
    1.5,
    [
        (b"host", b"example.org"),
        (b"referer", b"http://r/"),
        (b"user-agent", b"agent 1"),
        (b"authorization", b"Basic YWxpY2U6c2VjcmV0"),
        (b"traceparent", TRACE),
    ],
    [(b"content-type", b"text/plain")],
    "https",
    "abc-1",
)
NOTHING = Told(None, "", b"", "", 0, 0, 0.0)


def line_of(form: str, entry: Told, quiet: tuple[str, ...] = ()) -> str:
    lines: list[str] = []
    access_log(form, quiet, lines.append).log(Entry(*entry))
    return "".join(lines)


FORMATS = {
    "common": '192.0.2.1 - alice TIME "GET /a%20b?x=1 HTTP/1.1" 200 12',
    "combined": '192.0.2.1 - alice TIME "GET /a%20b?x=1 HTTP/1.1" 200 12 "http://r/" "agent 1"',
    '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"': (
        '192.0.2.1 - alice TIME "GET /a%20b?x=1 HTTP/1.1" 200 12 "http://r/" "agent 1"'
    ),
    "%(m)s|%(U)s|%(q)s|%(H)s|%(B)s": "GET|/a%20b|x=1|HTTP/1.1|12",
    "%m|%U|%q|%H|%B|%<s": "GET|/a%20b|?x=1|HTTP/1.1|12|200",
    "%(T)s %(M)s %(D)s %(L)s": "1 1500 1500000 1.500000",
    "%T %D %{ms}T %{us}T %{s}T": "1 1500000 1500 1500000 1",
    "%({host}i)s %({Content-Type}o)s %({ARUN_TEST}e)s %({ARUN_NONE}e)s": "example.org text/plain here -",
    "%{Host}i %{content-type}o %{ARUN_TEST}e %{None}i": "example.org text/plain here -",
    "%(request_id)s %(traceparent)s %(scheme)s %(host)s %v": f"abc-1 {TRACE.decode()} https example.org example.org",
    "100%% {braces} 'quotes' \"%a\" \\": "100% {braces} 'quotes' \"192.0.2.1\" \\",
}


@pytest.mark.parametrize(("form", "line"), FORMATS.items(), ids=range(len(FORMATS)))
def test_atoms_of_gunicorn_and_apache_have_the_meaning_that_they_have_there(
    form: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARUN_TEST", "here")
    assert TIME.sub("TIME", line_of(form, ENTRY)) == f"{line}\n"


def test_process_is_written_as_gunicorn_and_as_apache_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 4711)
    assert line_of("%(p)s %P", ENTRY) == "<4711> 4711\n"


def test_what_is_not_known_is_a_dash() -> None:
    assert TIME.sub("TIME", line_of("combined", NOTHING)) == '- - - TIME "-" - - "-" "-"\n'
    assert line_of("%m %B %(request_id)s %{x}o", NOTHING) == "- 0 - -\n"


@pytest.mark.parametrize("form", ["%Z", "%(Z)s", "%(h)", "%{x}y", "%({x}y)s", "%", "%{}i", "%p", "", "a\nb", "%{a b}i"])
def test_format_with_an_unknown_atom_is_refused_with_its_text(form: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(form))):
        parse(form)


@settings(deadline=None, database=None)
@given(st.binary(), st.binary())
def test_text_line_stays_one_printable_line_from_which_the_bytes_can_be_told(target: bytes, agent: bytes) -> None:
    line = line_of('"%U" "%{user-agent}i"', ENTRY._replace(target=target, request_fields=[(b"user-agent", agent)]))
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    fields = re.fullmatch(r'"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"\n', line)
    assert fields is not None
    told = [
        re.sub(rb"\\(x..|.)", lambda m: bytes.fromhex(m[1][1:].decode()) if m[1][:1] == b"x" else m[1], one.encode())
        for one in fields.groups()
    ]
    assert told == [target.partition(b"?")[0], agent]


@settings(deadline=None, database=None)
@given(st.binary(), st.binary(), st.text(st.characters(codec="latin-1")))
def test_json_line_parses_to_the_same_bytes(path: bytes, agent: bytes, client: str) -> None:
    fields = [(b"user-agent", agent), (b"referer", path)]
    line = line_of("json", ENTRY._replace(target=path + b"?" + agent, request_fields=fields, client=client))
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    told = json.loads(line)
    assert (told["path"] + "?" + told["query"]).encode("latin-1") == path + b"?" + agent
    assert [told[key].encode("latin-1") for key in ("user_agent", "referer")] == [agent, path]
    assert told["client"] == client


def test_escape_sequences_reach_no_terminal() -> None:
    """CVE-2020-7694."""
    line = line_of("combined", ENTRY._replace(target=b"/\x1b[2J\r\n\x9b1m\xff", request_fields=[]))
    assert r"/\x1b[2J\x0d\x0a\x9b1m\xff" in line


def test_user_with_spaces_forges_no_field() -> None:
    import base64

    credentials = base64.b64encode(b"a [b] 200:secret")
    entry = ENTRY._replace(request_fields=[(b"authorization", b"basic " + credentials)])
    assert line_of("%u %s", entry) == "a\\x20[b]\\x20200 200\n"
    broken = ENTRY._replace(request_fields=[(b"authorization", b"Basic \xff=")])
    assert line_of("%u", broken) == "-\n"


def test_more_values_than_are_remembered_are_written_like_the_first() -> None:
    lines: list[str] = []
    log = access_log("%U %(request_id)s", (), lines.append)
    for number in range(5000):
        log.log(Entry(*NOTHING._replace(target=b"/%d" % number)))
    assert lines == [f"/{number} -\n" for number in range(5000)]


@pytest.mark.parametrize("escapes", [text_escapes, json_escapes])
def test_memory_for_what_clients_send_is_bounded(escapes: Callable[[], Escapes]) -> None:
    remembered = escapes()
    assert remembered[b"x" * 100_000].count("x") == 100_000
    assert not remembered
    for number in range(5000):
        assert str(number) in remembered[b"/%d" % number]
        assert len(remembered) <= 1024


def test_json_has_null_where_nothing_is_known() -> None:
    told = json.loads(line_of("json", NOTHING))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert told == {
        **dict.fromkeys(("client", "method", "path", "query", "protocol", "status", "referer", "user_agent")),
        **dict.fromkeys(("request_id", "traceparent", "host")),
        "bytes": 0,
        "duration_ms": 0.0,
        "scheme": "http",
    }


@pytest.mark.parametrize(
    ("target", "status", "written"),
    [
        (b"/health", 200, False),
        (b"/health?deep=1", 302, False),
        (b"/static/app.js", 304, False),
        (b"/health", 503, True),
        (b"/health", 0, True),
        (b"/healthy", 200, True),
        (b"/", 200, True),
    ],
)
def test_quiet_paths_leave_no_line_when_they_succeed(target: bytes, status: int, *, written: bool) -> None:
    entry = ENTRY._replace(target=target, status=status)
    assert bool(line_of("common", entry, ("/health", "/static/*"))) is written


# ---- what a server writes


async def app(exchange: Exchange) -> None:
    """Respond with the body, the id of the request or "hello"; the path chooses how."""
    if exchange.path == "/bad":
        raise ValueError("boom")
    body = await exchange.read() or exchange.fields.get("x-request-id", "hello").encode()
    if exchange.path not in {"/stream", "/broken"}:
        await exchange.respond(body, ("Content-Type", "text/plain"))
        return
    await exchange.begin(("Content-Type", "text/plain"))
    await exchange.write(b"one")
    if exchange.path == "/broken":
        raise ValueError("boom")
    await exchange.end(body)


@pytest.fixture
def served_with_log(serve_app: Serve) -> Callable[..., Any]:
    """Serve the app with an access log in JSON."""

    async def start(lines: list[dict[str, Any]], **options: Any) -> Any:
        access = access_log("json", (), lambda line: lines.append(json.loads(line)))
        return await serve_app(app, access=access, **options)

    return start


def request(target: bytes, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: example.org", b"Connection: close", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_every_kind_of_app_gives_the_same_fields(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines)
    agent = b'User-Agent: a\xff"\\'
    post = request(b"/p?a=b", agent, b"Content-Length: 4", b"Traceparent: " + TRACE, method=b"POST", body=b"body")
    await served.talk(post)
    await until(lambda: len(lines) == 1)
    (told,) = lines
    assert told.pop("time")
    assert 0 <= told.pop("duration_ms") < 10_000
    assert told == {
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/p",
        "query": "a=b",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 4,
        "referer": None,
        "user_agent": 'a\xff"\\',
        "request_id": None,
        "traceparent": TRACE.decode(),
        "scheme": "http",
        "host": "example.org",
    }


async def test_status_and_bytes_are_those_of_the_answer(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines)
    await served.talk(request(b"/", method=b"HEAD"))
    await served.talk(request(b"/bad"))
    await served.talk(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    await until(lambda: len(lines) == 3)
    assert [(one["status"], one["protocol"]) for one in lines] == [
        (200, "HTTP/1.1"),
        (500, "HTTP/1.1"),
        (200, "HTTP/1.0"),
    ]
    assert lines[0]["bytes"] == 0
    assert lines[1]["bytes"] > 0
    assert lines[2]["bytes"] == 5


async def test_refused_request_has_a_line_without_what_could_not_be_read(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines)
    assert (await served.talk(b"GET /\x00 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.")
    await until(lambda: len(lines) == 1)
    assert (lines[0]["client"], lines[0]["method"], lines[0]["status"]) == ("127.0.0.1", None, 400)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /up?a=b HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nContent-Length: 2000\r\n\r\n", 413),
        (
            b"POST /up?a=b HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n"
            + bytes(2000),
            413,
        ),
        (b"GET /up?a=b HTTP/1.1\r\nHost: a b\r\nUser-Agent: me\r\n\r\n", 400),
        (b"GET /up?a=b HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nA: " + b"a" * 3000 + b"\r\n\r\n", 431),
    ],
    ids=["announced", "too long", "host", "field"],
)
async def test_refused_request_has_one_line_with_what_was_read_of_it(
    served_with_log: Callable[..., Any], sent: bytes, status: int
) -> None:
    lines: list[dict[str, Any]] = []
    limits = {"limit_request_body": 1000, "limit_request_field_size": 2000}
    served = await served_with_log(lines, **limits, request_id_header="X-Request-ID")
    answer = await served.talk(sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    await served.talk(request(b"/next"))
    await until(lambda: bool(lines) and lines[-1]["path"] == "/next")
    line, _ = lines
    assert (line["path"], line["query"], line["status"]) == ("/up", "a=b", status)
    assert line["bytes"] == len(answer.partition(b"\r\n\r\n")[2])
    assert line["user_agent"] == "me"
    assert line["request_id"]


async def test_cut_answer_has_its_status_and_the_bytes_of_its_body(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines)
    assert b"200 OK" in await served.talk(request(b"/broken"))
    await until(lambda: bool(lines))
    assert [(line["path"], line["status"], line["bytes"]) for line in lines] == [("/broken", 200, 3)]


async def test_bytes_of_a_streamed_answer_are_those_of_its_body(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines)
    assert b"chunked" in await served.talk(request(b"/stream"))
    await until(lambda: bool(lines))
    assert lines[0]["bytes"] == 8


async def test_client_and_scheme_are_those_that_a_trusted_proxy_tells(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines, forwarded_allow_ips=("127.0.0.1",))
    await served.talk(request(b"/", b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: https"))
    await until(lambda: len(lines) == 1)
    assert (lines[0]["client"], lines[0]["scheme"]) == ("192.0.2.7", "https")


async def test_request_id_goes_to_the_app_the_answer_and_the_log(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines, request_id_header="X-Request-ID")
    answers = [await served.talk(request(b"/")) for _ in range(2)]
    await until(lambda: len(lines) == 2)
    for answer, told in zip(answers, lines, strict=True):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert re.fullmatch(r"[0-9a-f]{24}", told["request_id"])
        assert body.decode() == told["request_id"]
        assert head.split(b"\r\n").count(b"X-Request-ID: " + body) == 1
    assert lines[0]["request_id"] != lines[1]["request_id"]


@pytest.mark.parametrize(
    ("trusted", "sent", "kept"),
    [
        (("127.0.0.1",), (b"x-request-id: Ab.9_-",), True),
        (("127.0.0.1",), (b"X-Request-ID: " + b"a" * 128,), True),
        (("127.0.0.1",), (b"X-Request-ID: " + b"a" * 129,), False),
        (("127.0.0.1",), (b"X-Request-ID:",), False),
        (("127.0.0.1",), (b"X-Request-ID: a b",), False),
        (("127.0.0.1",), (b"X-Request-ID: a", b"X-Request-ID: b"), False),
        ((), (b"X-Request-ID: Ab.9_-",), False),
    ],
)
async def test_only_a_sound_id_of_a_trusted_peer_is_kept(
    served_with_log: Callable[..., Any], trusted: tuple[str, ...], sent: tuple[bytes, ...], *, kept: bool
) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines, request_id_header="X-Request-ID", forwarded_allow_ips=trusted)
    _, _, body = (await served.talk(request(b"/", *sent))).partition(b"\r\n\r\n")
    await until(lambda: len(lines) == 1)
    said = sent[0].partition(b":")[2].strip()
    assert (body == said) is kept
    assert lines[0]["request_id"] == body.decode()
    assert kept or re.fullmatch(rb"[0-9a-f]{24}", body)


async def test_frame_of_a_failing_request_names_it_and_its_client(served_with_log: Callable[..., Any]) -> None:
    lines: list[dict[str, Any]] = []
    served = await served_with_log(lines, request_id_header="X-Request-ID")
    answer = await served.talk(request(b"/bad?x=\x1b"[:-1]))
    assert b"boom" not in answer
    await until(lambda: len(lines) == 1 and bool(served.errors))
    (frame,) = served.errors
    first, _, rest = frame.partition("\n")
    assert first == f"GET /bad?x= failed (client 127.0.0.1, request id {lines[0]['request_id']})"
    assert rest.startswith("Traceback")
    assert rest.endswith("ValueError: boom\n")
    assert lines[0]["status"] == 500


async def test_storm_of_failures_is_reported_in_few_frames_and_a_number(served_with_log: Callable[..., Any]) -> None:
    served = await served_with_log([])
    for _ in range(50):
        await served.talk(request(b"/bad"))
    frames = [text for text in served.errors if text.startswith("GET /bad failed")]

    def told() -> int:
        sums = [re.match(r"\.\.\. and (\d+) more requests failed in that second\n", text) for text in served.errors]
        shown = [text for text in served.errors if text.startswith("GET /bad failed")]
        return len(shown) + sum(int(one[1]) for one in sums if one)

    assert len(frames) >= 20
    await until(lambda: told() == 50)


async def test_frames_beyond_twenty_in_a_second_are_counted_and_later_ones_are_written_again() -> None:
    texts: list[str] = []
    log = ErrorLog(texts.append)

    def fail(times: int) -> None:
        for _ in range(times):
            log.failed("GET", b"/bad", client=None, request_id=None, traceback=lambda: "boom\n")

    frame = "GET /bad failed\nboom\n"
    fail(50)  # in one turn of the loop
    assert texts == [frame] * 20
    await until(lambda: texts[20:] == ["... and 30 more requests failed in that second\n"])
    fail(20)
    assert texts[21:] == [frame] * 20


async def test_response_that_is_cut_has_a_line_with_what_was_sent(serve_app: Serve) -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.begin(("Content-Length", "10"), status=206)
        await exchange.write(b"abc")
        raise ValueError("boom")

    lines: list[str] = []
    served = await serve_app(broken, access=access_log("%r %s %b %{content-length}o", (), lines.append))
    await served.talk(request(b"/"))
    await until(lambda: lines)
    assert lines == ["GET / HTTP/1.1 206 3 10\n"]


@pytest.mark.parametrize("kind", CONCURRENT)
async def test_client_that_leaves_before_the_response_has_a_line_without_status(serve_app: Serve, gate: Gate) -> None:
    async def late(exchange: Exchange) -> None:
        await exchange.hold(gate)
        await exchange.respond()

    lines: list[str] = []
    served = await serve_app(late, access=access_log("%r %s %b", (), lines.append))
    _, writer = await served.connect()
    writer.write(HELLO)
    await gate.reached()
    reset(writer)
    await until(lambda: not served.engine.connections)
    gate.open()
    await until(lambda: lines)
    assert lines == ["GET / HTTP/1.1 - -\n"]


# ---- the file


async def test_file_is_written_soon_and_again_by_its_name_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = LineFile(str(path), "the access log")
    log.write("first\n")
    await until(lambda: path.read_text() == "first\n")
    log.write("second\n")
    path.rename(tmp_path / "access.log.1")
    log.reopen()
    log.write("third\n")
    log.close()
    assert (tmp_path / "access.log.1").read_text() == "first\nsecond\n"
    assert path.read_text() == "third\n"


async def test_many_lines_are_written_at_once_and_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = LineFile(str(path), "the access log")
    for number in range(20_000):
        log.write(f"{number}\n")
    assert path.stat().st_size > 60_000
    log.close()
    assert path.read_text().split() == [str(number) for number in range(20_000)]
