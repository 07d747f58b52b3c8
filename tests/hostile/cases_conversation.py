"""Cases of the conversation: Expect, pipelining, bodies that nobody reads, upgrades."""

from __future__ import annotations

from tests.hostile.expectations import HALF_CLOSE, WaitFor, case, get, post, refused, seen, served

__all__ = ("CASES",)

_ABC = seen("/", "POST", body=b"abc")
_CONTINUED = _ABC._replace(continued=1)
_UNEXPECTED = seen("/", "POST", status=417)
_IGNORED = seen("/", "POST", ignored=True)
_HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
_EXPECT = b"Expect: 100-continue"
_CHUNKED = b"Transfer-Encoding: chunked"
_ANYTHING = WaitFor(b"\r\n\r\n")
_STALLED = ((refused(400, 408),), "a WSGI app is called when the whole body is here")
_GO_ON = WaitFor(b"HTTP/1.1 100 Continue\r\n\r\n")

_EXPECTATIONS = (
    case("expect", (post(b"", _EXPECT, b"Content-Length: 3"), _GO_ON, b"abc"), served(_CONTINUED), "9110 10.1.1"),
    case(
        "expect in capitals",
        (post(b"", b"Expect: 100-Continue", b"Content-Length: 3"), _GO_ON, b"abc"),
        served(_CONTINUED),
        "9110 10.1.1: no case",
    ),
    case(
        "expect with chunks",
        (post(b"", _EXPECT, _CHUNKED), _GO_ON, b"3\r\nabc\r\n0\r\n\r\n"),
        served(_CONTINUED),
        "9110 10.1.1",
    ),
    case(
        "expect twice in a row",
        (post(b"", _EXPECT, b"Content-Length: 3"), _GO_ON, b"abc" + post(b"abc", b"Content-Length: 3")),
        served(_CONTINUED, _ABC),
        "9110 10.1.1",
    ),
    case(
        "expect in 1.0",
        post(b"abc", _EXPECT, b"Content-Length: 3", version=b"1.0"),
        served(_ABC, usable=False),
        "9110 10.1.1, 15.2: no interim answer to 1.0",
    ),
    case(
        "expect, and the body at once",
        post(b"abc", _EXPECT, b"Content-Length: 3"),
        (served(_ABC._replace(continued=None)), served(_ABC._replace(continued=None), usable=False)),
        "9110 10.1.1: 100 may be left out",
    ),
    case(
        "expect without a body",
        get(b"/", _EXPECT),
        (served(seen(continued=None)), served(seen(continued=None), usable=False)),
        "9110 10.1.1: the client's fault",
    ),
    case(
        "expect what nobody knows",
        post(b"abc", b"Expect: 200-maybe", b"Content-Length: 3"),
        (refused(417), served(_UNEXPECTED), served(_ABC)),
        "9110 10.1.1: 417, or ignored",
    ),
    case(
        "expect two things",
        post(b"abc", b"Expect: 100-continue, x", b"Content-Length: 3"),
        (refused(417), served(_UNEXPECTED), served(_ABC._replace(continued=None))),
        "9110 10.1.1: 417, or ignored",
    ),
    case(
        "expect, refused before the body",
        post(b"", _EXPECT, b"Content-Length: 99999999999999"),
        refused(413),
        "9110 10.1.1: the final answer at once",
    ),
)

_MANY = 1_000

_PIPELINES = (
    case(
        "three at once", get(b"/1") + get(b"/2") + get(b"/3"), served(seen("/1"), seen("/2"), seen("/3")), "9112 9.3.2"
    ),
    case(
        "a thousand at once",
        b"".join(get(b"/%d" % number) for number in range(_MANY)),
        served(*(seen(f"/{number}") for number in range(_MANY))),
        "9112 9.3.2; CVE-2026-54273",
    ),
    case(
        "bodies between",
        post(b"abc", b"Content-Length: 3") + get(b"/2") + post(b"3\r\nabc\r\n0\r\n\r\n", _CHUNKED) + get(b"/4"),
        served(_ABC, seen("/2"), _ABC, seen("/4")),
        "9112 9.3.2",
    ),
    case(
        "HEAD before GET",
        b"HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n" + get(b"/2"),
        served(seen("/1", "HEAD", ignored=True), seen("/2")),
        "9110 9.3.2",
    ),
    case("close, then more", get(b"/1", b"Connection: close") + _HIDDEN, served(seen("/1"), usable=False), "9112 9.6"),
    case(
        "1.0, then more",
        b"GET /1 HTTP/1.0\r\nHost: a\r\n\r\n" + _HIDDEN,
        served(seen("/1"), usable=False),
        "9112 9.3",
    ),
    case(
        "broken after two",
        get(b"/1") + get(b"/2") + b"\0\0" + _HIDDEN,
        refused(after=(seen("/1"), seen("/2"))),
        "9112 2.2",
    ),
    case(
        "half-closed",
        (get(b"/1") + get(b"/2"), HALF_CLOSE),
        served(seen("/1"), seen("/2"), usable=False, told=False),
        "9112 9.6",
    ),
    case(
        "half-closed with a body",
        (post(b"abc", b"Content-Length: 3"), HALF_CLOSE),
        served(_ABC, usable=False, told=False),
        "9112 9.6",
    ),
    case(
        "byte by byte",
        tuple(bytes((byte,)) for byte in get(b"/1") + get(b"/2")),
        served(seen("/1"), seen("/2")),
        "9112 2.1",
    ),
    case(
        "hidden in a body",
        post(_HIDDEN, b"Content-Length: %d" % len(_HIDDEN)),
        served(seen("/", "POST", body=_HIDDEN)),
        "9112 6.3",
    ),
)

_UNREAD = (
    case(
        "small body",
        post(_HIDDEN, b"Content-Length: %d" % len(_HIDDEN), target=b"/ignore"),
        (served(_IGNORED), served(_IGNORED, usable=False, told=False)),
        "9112 9.3: read to its end, or closed",
    ),
    case(
        "small chunks",
        post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(_HIDDEN), _HIDDEN), _CHUNKED, target=b"/ignore"),
        (served(_IGNORED), served(_IGNORED, usable=False, told=False)),
        "9112 9.3: read to its end, or closed",
    ),
    case(
        "broken chunks",
        post(b"3\r\nabcXX" + _HIDDEN, _CHUNKED, target=b"/ignore"),
        (served(_IGNORED, usable=False, told=False), refused()),
        "9112 7.1: never read on",
    ),
    case(
        "body of 3 MB",
        post(b"x" * 3_000_000, b"Content-Length: 3000000", target=b"/ignore"),
        (served(_IGNORED), served(_IGNORED, usable=False, told=False)),
        "9112 9.6: the answer comes through",
    ),
    case(
        "body that never ends",
        post(b"x" * 3_000_000, b"Content-Length: 900000000", target=b"/ignore"),
        served(_IGNORED, usable=False, told=False),
        "9112 9.6: bounded, and the answer comes through",
        wsgi=_STALLED,
        inline=_STALLED,
    ),
    case(
        "chunks that never end",
        post(b"1000\r\n" + b"x" * 4096 + b"\r\n", _CHUNKED, target=b"/ignore")
        + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 700,
        served(_IGNORED, usable=False, told=False),
        "9112 9.6: bounded, and the answer comes through",
        wsgi=_STALLED,
        inline=_STALLED,
    ),
    case(
        "expected body, late",
        (post(b"", _EXPECT, b"Content-Length: %d" % len(_HIDDEN), target=b"/ignore"), _ANYTHING, _HIDDEN),
        (
            served(_IGNORED._replace(continued=None)),
            served(_IGNORED._replace(continued=None), usable=False, told=False),
        ),
        "9110 10.1.1; 0.CL desync: early answer, late body",
    ),
)

_UPGRADES = (
    case(
        "h2c",
        get(b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        served(),
        "9110 7.8: may be ignored",
    ),
    case(
        "h2c with a body",
        post(_HIDDEN, b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(_HIDDEN)),
        served(seen("/", "POST", body=_HIDDEN)),
        "CVE-2026-69243: body run as a request",
    ),
    case(
        "websocket of a POST",
        post(_HIDDEN, b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: %d" % len(_HIDDEN)),
        (served(seen("/", "POST", body=_HIDDEN)), refused()),
        "6455 4.1: GET only; CVE-2026-69243",
    ),
    case(
        "upgrade with chunks",
        post(b"3\r\nabc\r\n0\r\n\r\n", b"Connection: Upgrade", b"Upgrade: h2c", _CHUNKED) + get(b"/2"),
        served(_ABC, seen("/2")),
        "9110 7.8",
    ),
    case(
        "upgrade with broken chunks",
        post(b"3\r\nabcXX" + _HIDDEN, b"Connection: Upgrade", b"Upgrade: h2c", _CHUNKED),
        refused(),
        "9112 7.1",
    ),
    case("upgrade to TLS", get(b"/", b"Connection: Upgrade", b"Upgrade: TLS/1.0"), served(), "2817; may be ignored"),
    case("upgrade without the other", get(b"/", b"Upgrade: h2c"), served(), "9110 7.8"),
    case("the other without upgrade", get(b"/", b"Connection: Upgrade"), served(), "9110 7.8"),
    case(
        "upgrade in 1.0",
        b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        served(usable=False),
        "9110 7.8: ignored",
    ),
    case(
        "upgrade, then more",
        get(b"/1", b"Connection: Upgrade", b"Upgrade: h2c") + get(b"/2"),
        served(seen("/1"), seen("/2")),
        "9110 7.8",
    ),
)

CASES = (*_EXPECTATIONS, *_PIPELINES, *_UNREAD, *_UPGRADES)
