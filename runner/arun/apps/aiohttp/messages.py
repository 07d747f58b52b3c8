"""Messages of aiohttp's parser as RFC 9112 has them, where the parser does not; and what stands for one that is refused."""

from __future__ import annotations

from aiohttp.hdrs import CONNECTION, HOST
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.web_protocol import ERROR
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from arun.http.request import split_target

__all__ = ("corrected", "read_so_far", "refused_head")

#: A request of which nothing is known; aiohttp's own is of HTTP/1.0 and has no fields to ask.
_UNREAD = RawRequestMessage(
    ERROR.method,
    ERROR.path,
    HttpVersion11,
    CIMultiDictProxy(CIMultiDict()),
    (),
    True,
    None,
    False,
    False,
    ERROR.url,
)


def read_so_far(data: bytes) -> RawRequestMessage | None:
    """Return what the first line of a head says that the parser refused, for the access log; None if it is none."""
    line, end, _ = data.partition(b"\r\n")
    text = line.decode("latin-1")
    parts = text.split(" ")
    if not end or len(parts) != len(("method", "target", "version")) or not (line.isascii() and text.isprintable()):
        return None
    return _UNREAD._replace(method=parts[0], path=parts[1]) if parts[2] == "HTTP/1.1" else None


def refused_head(refusal: BaseException) -> RawRequestMessage:
    """Return the request that a refusal answers, as far as its head could be read; its URL may be none."""
    head: RawRequestMessage | None = getattr(refusal, "head", None)
    if head is None or head.version not in {HttpVersion10, HttpVersion11}:
        return _UNREAD
    return head._replace(url=ERROR.url, should_close=True)


def corrected(message: RawRequestMessage) -> RawRequestMessage:
    """Return a message of an odd kind as RFC 9112 has it.

    The authority of a URL replaces Host (section 3.2.2), and its path is "/" at least; "close" counts in HTTP/1.0 too
    (section 9.3).
    """
    authority = split_target(message.path.encode("utf-8", "surrogateescape"))[2]
    if authority is not None:
        headers = CIMultiDict(message.headers)
        headers[HOST] = authority.decode()
        target = message.url
        url = URL.build(path=target.raw_path, query_string=target.raw_query_string, encoded=True)
        message = message._replace(headers=CIMultiDictProxy(headers), url=url)
    said = ",".join(message.headers.getall(CONNECTION, ())).lower()
    # Behind an upgrade with chunks the parser takes what follows for the other protocol's, and loses it.
    if (message.upgrade and message.chunked) or "close" in (word.strip() for word in said.split(",")):
        message = message._replace(should_close=True)
    return message
