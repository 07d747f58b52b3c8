"""Messages of aiohttp's parser as RFC 9112 has them, where the parser does not; and what stands for one that is refused."""

from __future__ import annotations

from aiohttp.hdrs import CONNECTION, HOST
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.web_protocol import ERROR
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from runner.apps.engines.targets import split_target

__all__ = ("REFUSED", "corrected")

#: The request that a refusal answers; aiohttp's own is of HTTP/1.0 and has no fields to ask.
REFUSED = RawRequestMessage(
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
