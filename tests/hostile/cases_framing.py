"""Cases of the body: lengths, codings, chunks and trailers; where two readers could disagree, requests are smuggled."""

from __future__ import annotations

from tests.hostile.expectations import HALF_CLOSE, case, get, post, refused, seen, served

__all__ = ("CASES",)

_ABC = seen("/", "POST", body=b"abc")
_HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked"
_BODY = b"3\r\nabc\r\n0\r\n\r\n"

_BAD_LENGTHS = {
    "with a plus": b"+3",
    "negative": b"-3",
    "hexadecimal": b"0x3",
    "with an underscore": b"0_3",
    "with a space within": b"3 3",
    "with a tab within": b"3\t3",
    "with a point": b"3.0",
    "with an exponent": b"3e0",
    "with letters": b"3a",
    "empty": b"",
    "of high digits": b"\xd9\xa3",
    "behind a vertical tab": b"\x0b3",
    "in quotes": b'"3"',
    "list, the same": b"3, 3",
    "list, different": b"3, 4",
    "list with a hole": b"3,",
    "of 40 digits": b"9" * 40,
    "that overflows 64 bits": b"18446744073709551619",
}
_LENGTHS = (
    *(
        case(
            f"length {name}",
            post(b"abc" + _HIDDEN, b"Content-Length: " + value),
            refused(400, 413),
            "9110 8.6, 9112 6.3; CVE-2018-7068: int() takes more",
        )
        for name, value in _BAD_LENGTHS.items()
    ),
    case("length of 2^63", post(b"abc", b"Content-Length: 9223372036854775807"), refused(413, 400), "9110 8.6"),
    case("length with zeros in front", post(b"abc", b"Content-Length: 0003"), served(_ABC), "9110 8.6: 1*DIGIT"),
    case("length with white space around", post(b"abc", b"Content-Length: \t3 \t"), served(_ABC), "9110 5.5"),
    case("length twice the same", post(b"abc", b"Content-Length: 3", b"Content-Length: 3"), refused(), "9112 6.3"),
    case("length twice, different", post(b"abcd", b"Content-Length: 3", b"Content-Length: 4"), refused(), "9112 6.3"),
    case("length 0", post(b"", b"Content-Length: 0"), served(seen("/", "POST", body=b"")), "9112 6.3"),
    case("no length", post(b""), served(seen("/", "POST", body=b"")), "9112 6.3: no body"),
    case("no length, but a body", post(get(b"/2")), served(seen("/", "POST", body=b""), seen("/2")), "9112 6.3"),
    case(
        "GET with a body",
        get(b"/", b"Content-Length: 3") + b"abc",
        served(seen(body=b"abc")),
        "9110 9.3.1: framing does not depend on the method",
    ),
    case(
        "HEAD with a body",
        b"HEAD /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        served(seen("/", "HEAD", ignored=True)),
        "9110 9.3.2",
    ),
    case("length in 1.0", post(b"abc", b"Content-Length: 3", version=b"1.0"), served(_ABC, usable=False), "9112 6.3"),
)

_BAD_CODINGS = {
    "identity": b"identity",
    "gzip": b"gzip",
    "gzip, chunked": b"gzip, chunked",
    "chunked, gzip": b"chunked, gzip",
    "chunked twice in a list": b"chunked, chunked",
    "xchunked": b"xchunked",
    "chunkedx": b"chunkedx",
    "chunked with a parameter": b"chunked;q=1",
    "chunked in quotes": b'"chunked"',
    "chunked, identity": b"chunked, identity",
    "empty": b"",
    "comma": b",",
    "behind a vertical tab": b"\x0bchunked",
    "behind a form feed": b"\x0cchunked",
    "with a NUL": b"chunked\0",
    "with a space within": b"chun ked",
    "folded": b"\r\n chunked",
    "folded within": b"chu\r\n nked",
}
_CODINGS = (
    *(
        case(
            f"coding {name}",
            post(_BODY, b"Transfer-Encoding: " + value),
            refused(400, 501),
            "9112 6.1; CVE-2024-1135, CVE-2019-16786",
        )
        for name, value in _BAD_CODINGS.items()
    ),
    *(
        case(
            f"coding {name} and a length",
            post(b"abc", b"Transfer-Encoding: " + value, b"Content-Length: 3"),
            refused(400, 501),
            "9112 6.1; CVE-2024-6827: fallback to the length",
        )
        for name, value in _BAD_CODINGS.items()
        if name in {"identity", "gzip", "empty", "xchunked", "behind a vertical tab"}
    ),
    case("length and coding", post(_BODY + _HIDDEN, b"Content-Length: 5", _CHUNKED), refused(), "9112 6.1: CL.TE"),
    case("coding and length", post(_BODY + _HIDDEN, _CHUNKED, b"Content-Length: 5"), refused(), "9112 6.1: TE.CL"),
    case("coding and length 0", post(_BODY, _CHUNKED, b"Content-Length: 0"), refused(), "9112 6.1: TE.0"),
    case("coding twice the same", post(_BODY, _CHUNKED, _CHUNKED), refused(400, 501), "9112 6.1: TE.TE"),
    case("coding twice, different", post(_BODY, b"Transfer-Encoding: gzip", _CHUNKED), refused(400, 501), "9112 6.1"),
    case(
        "coding twice, x behind", post(_BODY, _CHUNKED, b"Transfer-Encoding: x"), refused(400, 501), "9112 6.1: TE.TE"
    ),
    case("coding in 1.0", post(_BODY, _CHUNKED, version=b"1.0"), refused(), "9112 6.1: faulty framing"),
    case(
        "coding in 1.0, kept alive",
        post(_BODY, _CHUNKED, b"Connection: keep-alive", version=b"1.0"),
        refused(),
        "9112 6.1: faulty framing",
    ),
    case("coding with a space before the colon", post(_BODY, b"Transfer-Encoding : chunked"), refused(), "9112 5.1"),
    case("coding with a NUL in the name", post(_BODY, b"Transfer-Encoding\0: chunked"), refused(), "9110 5.1"),
    case("coding in capitals", post(_BODY, b"TRANSFER-ENCODING: CHUNKED"), served(_ABC), "9112 7: no case"),
    case("coding behind a tab", post(_BODY, b"Transfer-Encoding:\tchunked"), served(_ABC), "9110 5.5"),
    case(
        "coding before a tab",
        post(_BODY, b"Transfer-Encoding: chunked\t"),
        (served(_ABC), refused(400, 501)),
        "9110 5.5; llhttp is stricter here, and that harms nobody",
    ),
    case("coding of a GET", get(b"/", _CHUNKED) + _BODY, served(seen(body=b"abc")), "9112 6.3"),
)

_BAD_CHUNKS = {
    "size empty": b"\r\nabc\r\n0\r\n\r\n",
    "size of letters": b"xyz\r\nabc\r\n0\r\n\r\n",
    "size negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "size with a plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "size with an underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "size with a point": b"3.0\r\nabc\r\n0\r\n\r\n",
    "size behind a space": b" 3\r\nabc\r\n0\r\n\r\n",
    "size behind a tab": b"\t3\r\nabc\r\n0\r\n\r\n",
    "size with letters behind a space": b"3 x\r\nabc\r\n0\r\n\r\n",
    "size of high digits": b"\xd9\xa3\r\nabc\r\n0\r\n\r\n",
    "size with a NUL": b"3\0\r\nabc\r\n0\r\n\r\n",
    "size of 17 digits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "size of 100 digits": b"f" * 100 + b"\r\nabc\r\n0\r\n\r\n",
    "size without end": b"0" * 200_000,
    "bare LF behind the size": b"3\nabc\r\n0\r\n\r\n",
    "bare CR behind the size": b"3\rabc\r\n0\r\n\r\n",
    "bare LF behind the data": b"3\r\nabc\n0\r\n\r\n",
    "bare CR behind the data": b"3\r\nabc\r0\r\n\r\n",
    "two other bytes behind the data": b"3\r\nabcXX0\r\n\r\n",
    "nothing behind the data": b"3\r\nabc0\r\n\r\n",
    "data too long": b"3\r\nabcd\r\n0\r\n\r\n",
    "data too short": b"4\r\nabc\r\n0\r\n\r\n",
    "bare LF at the end": b"3\r\nabc\r\n0\r\n\n",
    "bare LFs at the end": b"3\r\nabc\r\n0\n\n",
    "extension with LF": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "extension with CR": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "extension with NUL": b"3;a=\0\r\nabc\r\n0\r\n\r\n",
    "extension with a control byte": b"3;a=\x01\r\nabc\r\n0\r\n\r\n",
    "extension in quotes with LF": b'3;a="b\nc"\r\nabc\r\n0\r\n\r\n',
    "extension that is no token": b"3;@=b\r\nabc\r\n0\r\n\r\n",
    "extension without end": b"3;a=" + b"b" * 400_000,
    "trailer without a colon": b"0\r\nX\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nX : b\r\n\r\n",
    "trailer folded": b"0\r\nX: b\r\n c\r\n\r\n",
    "trailer with a bare LF": b"0\r\nX: b\nY: c\r\n\r\n",
    "trailer with a NUL": b"0\r\nX: a\0b\r\n\r\n",
}
_ENDLESS = {
    "trailer without end": b"0\r\nX: " + b"b" * 300_000,
    "trailers without end": b"0\r\n" + b"X: b\r\n" * 60_000,
}
_GOOD_CHUNKS = {
    "plain": _BODY,
    "capital hexadecimal": b"A\r\n0123456789\r\n0\r\n\r\n",
    "zeros in front": b"0003\r\nabc\r\n0\r\n\r\n",
    "several": b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "several zeros last": b"3\r\nabc\r\n000\r\n\r\n",
    "extension": b"3;x=y\r\nabc\r\n0\r\n\r\n",
    "extension without a value": b"3;x\r\nabc\r\n0\r\n\r\n",
    "extension in quotes": b'3;x="y;z"\r\nabc\r\n0\r\n\r\n',
    "extension with an escape": b'3;x="y\\"z"\r\nabc\r\n0\r\n\r\n',
    "extension of the last": b"3\r\nabc\r\n0;x=y\r\n\r\n",
    "trailer": b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
}
_CHUNKS = (
    *(
        case(
            f"chunks: {name}", post(body, _CHUNKED), refused(400, 413, 431), "9112 7.1; CVE-2025-43859, CVE-2024-52304"
        )
        for name, body in _BAD_CHUNKS.items()
    ),
    *(
        case(f"chunks: {name}", post(body, _CHUNKED), refused(431, 400, 413), "9112 7.1.2; CVE-2026-22815")
        for name, body in _ENDLESS.items()
    ),
    *(
        case(
            f"chunks: {name}",
            post(body, _CHUNKED),
            served(
                seen(
                    "/",
                    "POST",
                    body=b"0123456789" if name == "capital hexadecimal" else b"abc",
                    fields=(("host", "a"),),
                    absent=("x-trailer",),
                )
            ),
            "9112 7.1, 9110 6.5.1",
        )
        for name, body in _GOOD_CHUNKS.items()
    ),
    case(
        "chunks: trailers that say Host",
        post(b"3\r\nabc\r\n0\r\nHost: evil\r\nX-Forwarded-Proto: https\r\n\r\n", _CHUNKED),
        (refused(), served(_ABC._replace(fields=(("host", "a"),), absent=("x-forwarded-proto",)))),
        "9110 6.5.1: refused or dropped, never obeyed",
    ),
    case(
        "chunks: a length as trailer",
        post(b"3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n", _CHUNKED),
        (refused(), served(_ABC)),
        "9110 6.5.1: refused or dropped, never obeyed",
    ),
    case(
        "chunks: a coding as trailer",
        post(b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", _CHUNKED),
        (refused(), served(_ABC)),
        "9110 6.5.1: refused or dropped, never obeyed",
    ),
    case(
        "chunks: space before the extension",
        post(b"3 ;x=y\r\nabc\r\n0\r\n\r\n", _CHUNKED),
        (refused(), served(_ABC)),
        "9112 7.1.1: bad white space; strict or lenient, never misread",
    ),
    case(
        "chunks: space behind the size",
        post(b"3 \r\nabc\r\n0\r\n\r\n", _CHUNKED),
        (refused(), served(_ABC)),
        "9112 7.1; strict or lenient, never misread",
    ),
    case("chunks: byte by byte", tuple(bytes((b,)) for b in post(_BODY, _CHUNKED)), served(_ABC), "9112 7.1"),
)

_CUT = (
    case("body cut off", (post(b"abc", b"Content-Length: 10"), HALF_CLOSE), refused(0, 400), "9112 8: no body"),
    case("chunks cut off in the data", (post(b"a\r\nabc", _CHUNKED), HALF_CLOSE), refused(0, 400), "9112 8"),
    case("chunks cut off between", (post(b"3\r\nabc\r\n", _CHUNKED), HALF_CLOSE), refused(0, 400), "9112 8"),
    case("chunks cut off at the end", (post(b"3\r\nabc\r\n0\r\n", _CHUNKED), HALF_CLOSE), refused(0, 400), "9112 8"),
    case("body missing", (post(b"", b"Content-Length: 10"), HALF_CLOSE), refused(0, 400), "9112 8"),
    case(
        "body cut off that nobody reads",
        (post(b"abc", b"Content-Length: 10", target=b"/ignore"), HALF_CLOSE),
        (served(seen("/", "POST", ignored=True), usable=False, told=False), refused(0, 400)),
        "9112 8: the answer may be given",
    ),
)

CASES = (*_LENGTHS, *_CODINGS, *_CHUNKS, *_CUT)
