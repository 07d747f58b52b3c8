"""Cases of the first line: version, target, method, and what is no HTTP at all."""

from __future__ import annotations

from tests.hostile.expectations import HALF_CLOSE, case, get, post, refused, seen, served

__all__ = ("CASES",)


def _line(line: bytes) -> bytes:
    return line + b"\r\nHost: a\r\n\r\n"


#: The parser takes two other names for HTTP, and does not tell; the request means the same, so nobody is led astray.
_LLHTTP = (refused(400, 505), served(usable=False))
_LLHTTP_ICE = (refused(400, 505), served(seen("/", "SOURCE"), usable=False))

_VERSIONS = (
    case("version 0.9", _line(b"GET / HTTP/0.9"), refused(505, 400), "9112 2.3"),
    case("version 1.2", _line(b"GET / HTTP/1.2"), refused(505, 400), "9110 15.6.6; strict, as llhttp knows no 1.2"),
    case("version 2.0", _line(b"GET / HTTP/2.0"), refused(505, 400), "9112 2.3"),
    case("version 1.10", _line(b"GET / HTTP/1.10"), refused(), "9112 2.3: one digit each"),
    case("version 11", _line(b"GET / HTTP/11"), refused(), "9112 2.3"),
    case("version 1", _line(b"GET / HTTP/1"), refused(), "9112 2.3"),
    case("version with letters behind", _line(b"GET / HTTP/1.1x"), refused(), "9112 2.3"),
    case("version with a sign", _line(b"GET / HTTP/+1.1"), refused(), "9112 2.3: lenient numbers"),
    case("version with a space", _line(b"GET / HTTP/ 1.1"), refused(), "9112 2.3"),
    case("version with a comma", _line(b"GET / HTTP/1,1"), refused(), "9112 2.3"),
    case("version in small letters", _line(b"GET / http/1.1"), refused(), "9112 2.3: case-sensitive"),
    case("version of nothing", _line(b"GET / "), refused(), "9112 3"),
    case("HTTP/0.9 as it was", b"GET /\r\n\r\n", refused(400, 505), "9112 2.3: no simple requests"),
    case("other protocol", _line(b"GET / RTSP/1.0"), _LLHTTP, "9112 2.3; llhttp takes it for HTTP"),
    case("icecast", _line(b"SOURCE / ICE/1.0"), _LLHTTP_ICE, "9112 2.3; llhttp takes it for HTTP"),
)

_FORMS = (
    case(
        "absolute form", get(b"http://b/x?y=1"), served(seen("/x", query="y=1", fields=(("host", "b"),))), "9112 3.2.2"
    ),
    case("absolute form of https", get(b"https://b/x"), served(seen("/x", fields=(("host", "b"),))), "9112 3.2.2"),
    case("absolute form in capitals", get(b"HTTP://B/x"), served(seen("/x")), "3986 3.1: schemes have no case"),
    case(
        "absolute form with a port", get(b"http://b:81/x"), served(seen("/x", fields=(("host", "b:81"),))), "9112 3.2.2"
    ),
    case("absolute form without a path", get(b"http://b"), served(seen("/")), "9112 3.2.1"),
    case("absolute form with a query only", get(b"http://b?y=1"), served(seen("/", query="y=1")), "9112 3.2.1"),
    case(
        "absolute form without Host",
        b"GET http://b/x HTTP/1.1\r\n\r\n",
        refused(),
        "9112 3.2.2: Host is still asked for",
    ),
    case("absolute form with two Hosts", get(b"http://b/", b"Host: b"), refused(), "9112 3.2"),
    case("absolute form with a bad Host", get(b"http://b/", host=b"Host: a/b"), refused(), "9112 3.2"),
    case("absolute form in 1.0", b"GET http://b/x HTTP/1.0\r\n\r\n", served(seen("/x"), usable=False), "9112 3.2.2"),
    case("absolute form of ftp", get(b"ftp://b/x"), refused(), "9110 4.2"),
    case("absolute form without a host", get(b"http:///x"), refused(), "9110 4.2.1"),
    case("absolute form with a user", get(b"http://u:p@b/x"), refused(), "9110 4.2.4"),
    case("absolute form with a bad port", get(b"http://b:x/"), refused(), "3986 3.2.3"),
    case("absolute form with an open bracket", get(b"http://[::1/"), refused(), "3986 3.2.2"),
    case("absolute form with a fragment", get(b"http://b/x#y"), refused(), "9110 4.2.5"),
    case("one slash only", get(b"http:/b/x"), refused(), "9112 3.2.2"),
    case("star of OPTIONS", _line(b"OPTIONS * HTTP/1.1"), served(seen("*", "OPTIONS")), "9112 3.2.4"),
    case("star of GET", get(b"*"), refused(), "9112 3.2.4"),
    case("star with more", _line(b"OPTIONS *x HTTP/1.1"), refused(), "9112 3.2.4"),
    case("CONNECT", _line(b"CONNECT a:80 HTTP/1.1"), refused(501, 405, 400), "9110 9.3.6; we are no proxy"),
    case("CONNECT of a path", _line(b"CONNECT / HTTP/1.1"), refused(501, 405, 400), "9112 3.2.3"),
    case("authority form of GET", get(b"a:80"), refused(), "9112 3.2.3"),
    case("relative path", get(b"x"), refused(), "9112 3.2.1"),
    case("query only", get(b"?x"), refused(), "9112 3.2.1"),
    case("empty target", _line(b"GET  HTTP/1.1"), refused(), "9112 3"),
    case("fragment", get(b"/#x"), refused(), "9112 3.2: no fragments"),
    case(
        "two slashes",
        get(b"//b/x"),
        served(seen(None, raw_path="//b/x", fields=(("host", "a"),))),
        "3986 4.2: no authority",
    ),
)

_SPACES = (
    case("two spaces before the target", _line(b"GET  / HTTP/1.1"), refused(), "9112 3: a single space"),
    case("two spaces before the version", _line(b"GET /  HTTP/1.1"), refused(), "9112 3: a single space"),
    case("three spaces before the target", _line(b"GET   / HTTP/1.1"), refused(), "9112 3: a single space"),
    case("two spaces in parts", (b"GET ", b" / HTTP/1.1\r\nHost: a\r\n\r\n"), refused(), "9112 3: a single space"),
    case(
        "two spaces in a later request",
        get(b"/1", b"X: a  b") + _line(b"GET  /2 HTTP/1.1"),
        refused(after=(seen("/1"),)),
        "9112 3: a single space",
    ),
    case(
        "two spaces behind a body",
        post(b"a  b", b"Content-Length: 4") + _line(b"GET  /2 HTTP/1.1"),
        refused(after=(seen("/", "POST", body=b"a  b"),)),
        "9112 3: a single space",
    ),
    case(
        "two spaces behind chunks",  # served where it is read with their end: finding that would cost work for each line in them
        post(b"8\r\na  \r\n\r\nb\r\n0\r\n\r\n", b"Transfer-Encoding: chunked") + _line(b"GET /2  HTTP/1.1"),
        (
            refused(after=(seen("/", "POST", body=b"a  \r\n\r\nb"),)),
            served(seen("/", "POST", body=b"a  \r\n\r\nb"), seen("/2")),
        ),
        "9112 3: may be read as words",
    ),
    case("two spaces in fields", get(b"/", b"X:  GET  / HTTP/1.1"), served(), "9110 5.5: a value may have them"),
    case("tab before the target", _line(b"GET\t/ HTTP/1.1"), refused(), "9112 3: a single space"),
    case("space and tab before the target", _line(b"GET \t/ HTTP/1.1"), refused(), "9112 3: a single space"),
    case("form feed before the target", _line(b"GET\x0c/ HTTP/1.1"), refused(), "9112 3: a single space"),
    case("tab behind the version", _line(b"GET / HTTP/1.1\t"), refused(), "9112 3"),
    case("tab before the version", _line(b"GET /\tHTTP/1.1"), refused(), "9112 3"),
    case("vertical tab before the version", _line(b"GET /\x0bHTTP/1.1"), refused(), "9112 3"),
    case("carriage return before the version", _line(b"GET /\rHTTP/1.1"), refused(), "9112 3: bare CR"),
    case("space before the method", _line(b" GET / HTTP/1.1"), refused(), "9112 3"),
    case("space behind the version", _line(b"GET / HTTP/1.1 "), refused(), "9112 3"),
    case("space in the target", _line(b"GET /a b HTTP/1.1"), refused(), "9112 3.2: never guessed"),
    case("NUL in the target", get(b"/a\0b"), refused(), "9112 3"),
    case("control byte in the target", get(b"/a\x01b"), refused(), "9112 3"),
    case("DEL in the target", get(b"/a\x7fb"), refused(), "9112 3"),
    case("raw UTF-8 in the target", get(b"/\xc3\xa9"), refused(), "3986 2: ASCII only"),
    case("raw Latin-1 in the target", get(b"/\xe9"), refused(), "3986 2: ASCII only"),
    case("raw bytes in the query", get(b"/?\xff"), refused(), "3986 2: ASCII only"),
    case("target of 8,000 bytes", get(b"/" + b"x" * 7_999), served(seen("/" + "x" * 7_999)), "9112 3: 8,000 at least"),
    case("target of 9,000 bytes", get(b"/" + b"x" * 9_000), refused(414), "9110 15.5.15"),
    case("target without end", b"GET /" + b"x" * 200_000, refused(414), "9110 15.5.15"),
    case("query without end", b"GET /?" + b"x" * 200_000, refused(414), "9110 15.5.15"),
    case("method without end", b"G" * 200_000, refused(400, 414, 501), "9112 3"),
    case("empty line before", b"\r\n" + get(), served(), "9112 2.2"),
    case("empty lines between", get() + b"\r\n\r\n" + get(b"/2"), served(seen(), seen("/2")), "9112 2.2"),
    case(
        "100,000 empty lines",
        b"\r\n" * 100_000 + get(),
        (refused(400, 431), served()),
        "9112 2.2: nothing is kept of them",
    ),
)

_METHODS = (
    case("method in small letters", _line(b"get / HTTP/1.1"), refused(400, 501), "9110 9.1: not GET"),
    case("method in mixed letters", _line(b"Get / HTTP/1.1"), refused(400, 501), "9110 9.1: not GET"),
    case(
        "method nobody knows",
        _line(b"FOO / HTTP/1.1"),
        (refused(400, 405, 501), served(seen("/", "FOO"))),
        "9110 9.1: 501, or the app's",
    ),
    case(
        "method with a letter more",
        _line(b"GETX / HTTP/1.1"),
        (refused(400, 501), served(seen("/", "GETX"))),
        "9110 9.1",
    ),
    case("method that is no token", _line(b"G@T / HTTP/1.1"), refused(), "9110 9.1"),
    case("method with a colon", _line(b"GET: / HTTP/1.1"), refused(), "9110 9.1"),
    case("method with a NUL", _line(b"GET\0 / HTTP/1.1"), refused(), "9110 9.1"),
    case("method in quotes", _line(b'"GET" / HTTP/1.1'), refused(), "9110 9.1"),
    case("method not in ASCII", _line(b"G\xc9T / HTTP/1.1"), refused(), "9110 9.1"),
    case("no method", _line(b"/ HTTP/1.1"), refused(), "9112 3"),
    *(
        case(f"method {name}", _line(name.encode() + b" /x HTTP/1.1"), served(seen("/x", name)), "9110 9.3, 5789, 4918")
        for name in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
    ),
)

_ESCAPES = (
    case("escaped UTF-8", get(b"/%C3%A9"), served(seen("/é", raw_path="/%C3%A9")), "3986 2.1"),
    case("escape of nothing", get(b"/a%"), served(seen(None, raw_path="/a%")), "3986 2.1: not an escape"),
    case("escape of no digits", get(b"/a%zz"), served(seen(None, raw_path="/a%zz")), "3986 2.1: not an escape"),
    case("escape of one digit", get(b"/a%2"), served(seen(None, raw_path="/a%2")), "3986 2.1: not an escape"),
    case("escape with a sign", get(b"/a%+1"), served(seen(None, raw_path="/a%+1")), "int() takes signs"),
    case("escaped NUL", get(b"/a%00b"), served(seen("/a\0b")), "3986 2.1; the app's matter"),
    case("escaped line end", get(b"/a%0d%0ab"), served(seen("/a\r\nb")), "3986 2.1; never a line of ours"),
    case(
        "escaped dots", get(b"/a/%2e%2e/b"), served(seen(None, raw_path="/a/%2e%2e/b")), "3986 6.2; not ours to resolve"
    ),
    case("dots", get(b"/a/../../b"), served(seen(None, raw_path="/a/../../b")), "3986 5.2.4; not ours to resolve"),
    case("escaped slash", get(b"/a%2Fb"), served(seen(None, raw_path="/a%2Fb")), "3986 2.2"),
    case("escaped escape", get(b"/a%2525"), served(seen("/a%25", raw_path="/a%2525")), "3986 2.4: decoded once"),
    case("escape that is no UTF-8", get(b"/a%ff"), served(seen(None, raw_path="/a%ff")), "3629 3"),
    case("escaped question mark", get(b"/a%3Fb"), served(seen("/a?b", query="")), "3986 2.2"),
    case("escaped star", _line(b"OPTIONS /%2a HTTP/1.1"), served(seen("/*", "OPTIONS")), "9112 3.2.4: no star form"),
    case("query with question marks", get(b"/?a?b"), served(seen("/", query="a?b")), "3986 3.4"),
    case("plus in the path", get(b"/a+b"), served(seen("/a+b")), "a plus is a space in forms only"),
)

_GARBAGE = (
    case(
        "TLS hello",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
        refused(),
        "TLS on a plain port",
    ),
    case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", refused(400, 505), "9113 3.4"),
    case("PROXY v1 from a stranger", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get(), refused(), "not asked for"),
    case(
        "PROXY v2 from a stranger",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + get(),
        refused(),
        "not asked for",
    ),
    case("SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n", refused(), "no HTTP"),
    case("SOCKS greeting", b"\x05\x01\x00", refused(), "no HTTP"),
    case("answer instead of a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", refused(), "no request"),
    case("NUL bytes", bytes(1000), refused(), "no HTTP"),
    case("high bytes", b"\xff" * 1000, refused(), "no HTTP"),
    case("JSON", b'{"method": "GET"}\r\n\r\n', refused(), "no HTTP"),
    case("head cut off", (b"GET / HTTP/1.1\r\nHost: a\r\n", HALF_CLOSE), refused(0, 400), "9112 8: incomplete"),
    case("first line cut off", (b"GET / HT", HALF_CLOSE), refused(0, 400), "9112 8: incomplete"),
    case("nothing at all", (HALF_CLOSE,), refused(0), "no request, no answer"),
    case("empty lines only", (b"\r\n\r\n", HALF_CLOSE), refused(0, 400), "no request"),
)

CASES = (*_VERSIONS, *_FORMS, *_SPACES, *_METHODS, *_ESCAPES, *_GARBAGE)
