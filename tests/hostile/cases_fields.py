"""Cases of the header fields: Host, their syntax, their number, and what each kind of app is told of them."""

from __future__ import annotations

from tests.hostile.expectations import case, get, refused, seen, served

__all__ = ("CASES",)

_BAD_HOSTS = {
    "path": b"a/b",
    "user": b"u@a",
    "space": b"a b",
    "tab": b"a\tb",
    "query": b"a?b",
    "fragment": b"a#b",
    "backslash": b"a\\b",
    "quote": b'a"b',
    "angle": b"a<b",
    "pipe": b"a|b",
    "control byte": b"a\x01",
    "NUL": b"a\0",
    "UTF-8": b"\xc3\xa9",
    "half an escape": b"a%4",
    "escape of no digits": b"a%zz",
    "URL": b"http://a",
    "port of letters": b"a:b",
    "port with a sign": b"a:+80",
    "port with an underscore": b"a:8_0",
    "port with a space": b"a: 80",
    "port of high digits": b"a:\xd9\xa1",
    "two ports": b"a:80:81",
    "port only": b":80",
    "open bracket": b"[::1",
    "closing bracket": b"::1]",
    "no brackets": b"::1",
    "empty brackets": b"[]",
    "behind the bracket": b"[::1]a",
    "letters in brackets": b"[example]",
    "port in brackets": b"[::1]:x",
}
_GOOD_HOSTS = {
    "port": b"a:80",
    "empty port": b"a:",
    "empty": b"",
    "IPv4": b"127.0.0.1:80",
    "IPv6": b"[::1]",
    "IPv6 with a port": b"[::1]:8000",
    "IPv4 in IPv6": b"[::ffff:127.0.0.1]",
    "underscore": b"a_b",
    "dot at its end": b"example.org.",
    "escape": b"a%41",
    "sub-delimiters": b"a!$&'()*+;=b",
    "capitals": b"EXAMPLE.org",
}
_HOSTS = (
    *(
        case(f"Host: {name}", get(host=b"Host: " + value), refused(), "9112 3.2: invalid")
        for name, value in _BAD_HOSTS.items()
    ),
    *(
        case(
            f"Host: {name} is right",
            get(host=b"Host: " + value),
            served(seen(fields=(("host", value.decode()),))),
            "9110 7.2, 3986 3.2.2",
        )
        for name, value in _GOOD_HOSTS.items()
    ),
    case(
        "Host: comma",
        get(host=b"Host: a,b"),
        (refused(), served()),
        "9110 5.3: could be two Hosts that a proxy has joined",
    ),
    case("Host missing", b"GET / HTTP/1.1\r\n\r\n", refused(), "9112 3.2"),
    case("Host twice the same", get(b"/", b"Host: a"), refused(), "9112 3.2"),
    case("Host twice, different", get(b"/", b"Host: b"), refused(), "9112 3.2; CVE-2026-34525"),
    case("Host twice, one empty", get(b"/", b"Host:"), refused(), "9112 3.2"),
    case("Host twice in 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", refused(), "9112 3.2"),
    case("Host invalid in 1.0", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", refused(), "9112 3.2"),
    case("Host missing in 1.0", b"GET / HTTP/1.0\r\n\r\n", served(usable=False), "9112 3.2: 1.1 only"),
    case("Host with white space around", get(host=b"hOsT: \t a \t"), served(seen(fields=(("host", "a"),))), "9112 5"),
)

_BAD_FIELDS = {
    "space before the colon": b"X : b",
    "tab before the colon": b"X\t: b",
    "space in the name": b"X Y: b",
    "no colon": b"X",
    "no name": b": b",
    "colon in front": b":path: /smuggled",
    "parenthesis in the name": b"X(Y): b",
    "quote in the name": b'"X": b',
    "slash in the name": b"X/Y: b",
    "bracket in the name": b"[X]: b",
    "NUL in the name": b"X\0: b",
    "control byte in the name": b"X\x01: b",
    "UTF-8 in the name": b"\xc3\xa9: b",
    "fold with a space": b"X: b\r\n c",
    "fold with a tab": b"X: b\r\n\tc",
    "fold of nothing": b"X: b\r\n \r\nY: c",
    "bare LF behind": b"X: b\nY: c",
    "bare LF that hides a coding": b"X: b\nTransfer-Encoding: chunked",
    "bare CR within": b"X: b\rc",
    "bare CR that hides a field": b"X: b\rTransfer-Encoding: chunked",
    "CR twice": b"X: b\r\r\nY: c",
    "NUL in the value": b"X: a\0b",
    "control byte in the value": b"X: a\x01b",
    "escape byte in the value": b"X: \x1b[31m",
    "vertical tab in the value": b"X: a\x0bb",
    "form feed in the value": b"X: a\x0cb",
    "DEL in the value": b"X: a\x7fb",
}
_SYNTAX = (
    *(
        case(f"field: {name}", get(b"/", value), refused(), "9110 5.1, 5.5; 9112 5.1, 5.2, 2.2; CVE-2026-34520")
        for name, value in _BAD_FIELDS.items()
    ),
    case("fold of the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", refused(), "9112 2.2"),
    case("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", refused(), "9112 2.2; CVE-2019-16785"),
    case("bare LF behind the first line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", refused(), "9112 2.2"),
    case("bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", refused(), "9112 2.2"),
    case("bare CR as line ends", b"GET / HTTP/1.1\rHost: a\r\r", refused(0, 400, 408, 431), "9112 2.2; CVE-2023-37276"),
    case(
        "white space is no value", get(b"/", b"X: \t b \t c \t "), served(seen(fields=(("x", "b \t c"),))), "9110 5.5"
    ),
    case("value of white space", get(b"/", b"X: \t "), served(seen(fields=(("x", ""),))), "9110 5.5"),
    case("value without a space before", get(b"/", b"X:b"), served(seen(fields=(("x", "b"),))), "9112 5"),
    case("value of high bytes", get(b"/", b"X: \xe9"), (refused(), served(seen())), "9110 5.5: obs-text"),
    case("value of colons", get(b"/", b"X: :b:"), served(seen(fields=(("x", ":b:"),))), "9110 5.5"),
    case("name of all tokens", get(b"/", b"!#$%&'*+-.^`|~0aZ: b"), served(), "9110 5.6.2"),
)

_NUMBERS = (
    case(
        "field of 8,000 bytes", get(b"/", b"X: " + b"x" * 8_000), served(seen(fields=(("x", "x" * 8_000),))), "9110 5.4"
    ),
    case("field of 9,000 bytes", get(b"/", b"X: " + b"x" * 9_000), refused(431), "6585 5"),
    case("field without end", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300_000, refused(431), "6585 5"),
    case("name without end", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * 300_000, refused(431, 400), "6585 5"),
    case("white space without end", b"GET / HTTP/1.1\r\nHost: a\r\nX:" + b" " * 300_000, refused(431), "6585 5"),
    case(
        "100 fields", get(b"/", *(b"X-%d: b" % n for n in range(99))), served(), "the default of limit-request-fields"
    ),
    case("101 fields", get(b"/", *(b"X-%d: b" % n for n in range(100))), refused(431), "6585 5"),
    case("3,000 fields", get(b"/", *(b"X-%d: b" % n for n in range(3_000))), refused(431), "6585 5"),
    case("fields without end", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: b\r\n" * 60_000, refused(431), "6585 5"),
    case("head of 100 kB", get(b"/", *(b"X-%d: %s" % (n, b"x" * 2_000) for n in range(50))), refused(431), "6585 5"),
)

_TOLD = (
    case(
        "underscores",
        get(b"/", b"X_Forwarded_For: 6.6.6.6", b"X_Secret: 1"),
        served(seen(wsgi_absent=("x-forwarded-for", "x-secret"))),
        "CVE-2015-0219: collision",
    ),
    case(
        "underscore beside the right one",
        get(b"/", b"X_Real: bad", b"X-Real: good"),
        served(seen(fields=(("x-real", "good"),))),
        "CVE-2015-0219: collision",
    ),
    case("Proxy", get(b"/", b"Proxy: http://evil"), served(seen(wsgi_absent=("proxy",))), "CVE-2016-5385: httpoxy"),
    case("Content_Length", get(b"/", b"Content_Length: 5"), served(seen(body=b"")), "CVE-2015-0219: no framing"),
    case("Transfer_Encoding", get(b"/", b"Transfer_Encoding: chunked"), served(seen(body=b"")), "no framing"),
    case("Cookie twice", get(b"/", b"Cookie: a=1", b"Cookie: b=2"), served(), "6265 5.4"),
)

_CONNECTION = (
    case("close", get(b"/", b"Connection: close"), served(usable=False), "9112 9.6"),
    case("close in capitals", get(b"/", b"Connection: CLOSE"), served(usable=False), "9110 7.6.1: no case"),
    case("close in a list", get(b"/", b"Connection: x, close ,y"), served(usable=False), "9110 7.6.1"),
    case("close behind commas", get(b"/", b"Connection: ,,close"), served(usable=False), "9110 5.6.1"),
    case("close and keep-alive", get(b"/", b"Connection: keep-alive, close"), served(usable=False), "9112 9.3"),
    case(
        "close in a second field", get(b"/", b"Connection: x", b"Connection: close"), served(usable=False), "9110 5.3"
    ),
    case("a word that begins with close", get(b"/", b"Connection: closed"), served(), "9110 7.6.1: tokens"),
    case("1.0", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", served(usable=False), "9112 9.3"),
    case("1.0 kept alive", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", served(), "9112 9.3"),
    case(
        "1.0 kept alive and closed",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
        served(usable=False),
        "9112 9.3",
    ),
)

CASES = (*_HOSTS, *_SYNTAX, *_NUMBERS, *_TOLD, *_CONNECTION)
