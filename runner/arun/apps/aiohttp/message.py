"""The head of a request in aiohttp's form: a ``RawRequestMessage``, of which ``web.Request`` is made."""

from __future__ import annotations

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from arun.http.bounded_cache import BoundedCache
from arun.http.request import split_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.http.request import Request

__all__ = ("Messages",)

#: Bytes of a head whose fields are kept, as long as their connection is open.
_KEPT = 1024
#: Changes of its fields until nothing is kept for a connection.
_CHANGES = 4
#: Bytes of a value that is worth remembering beyond its connection: clients of one kind send the same.
_SHORT = 128
#: Fields whose values are of one client only.
_SECRET = frozenset((b"authorization", b"cookie", b"proxy-authorization"))
_NO_FIELDS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


class Messages:
    """Makes the messages of one connection.

    The fields of a head are kept until the next one: many clients repeat theirs with every request. Apps cannot change them.
    A connection whose fields change is not asked for long.
    """

    __slots__ = ("_changes", "_fields", "_headers", "_raw_headers")

    def __init__(self) -> None:
        #: How often the fields were not those of the request before.
        self._changes = 0
        self._fields: list[tuple[bytes, bytes]] | None = None
        self._raw_headers: tuple[tuple[bytes, bytes], ...] = ()
        self._headers = _NO_FIELDS

    def message(self, request: Request, chunked: bool) -> RawRequestMessage:  # noqa: FBT001 - of every request
        """Return the head of a request as aiohttp's parser would.

        The names of fields are in the spelling of their standards, or Like-This, whatever the client sends.
        """
        fields = request.headers
        if fields == self._fields:
            headers, raw_headers = self._headers, self._raw_headers
        else:
            headers, raw_headers = _decoded(fields), tuple(fields)
            if self._changes <= _CHANGES:
                self._keep(request, headers, raw_headers)
        target = _targets.get(request.target) or _targets[request.target]
        return RawRequestMessage(
            request.method,
            target[0],
            HttpVersion11 if request.version == "1.1" else HttpVersion10,
            headers,
            raw_headers,
            not request.keep_alive,
            None,
            request.upgrades,
            chunked,
            target[1],
        )

    def _keep(
        self, request: Request, headers: CIMultiDictProxy[str], raw_headers: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        self._changes += 1
        if self._changes <= _CHANGES and request.size <= _KEPT:
            self._fields, self._headers, self._raw_headers = request.headers, headers, raw_headers
        else:
            self._fields, self._headers, self._raw_headers = None, _NO_FIELDS, ()


def _decoded(fields: list[tuple[bytes, bytes]]) -> CIMultiDictProxy[str]:
    known = _fields.get
    return CIMultiDictProxy(CIMultiDict([known(field) or _field(field) for field in fields]))


def _field(field: tuple[bytes, bytes]) -> tuple[istr, str]:
    """Return a field as aiohttp has it, and keep one that may come again, on whatever connection."""
    name, value = field
    decoded = _names[name], value.decode("utf-8", "surrogateescape")
    if len(value) <= _SHORT and name not in _SECRET:
        _fields.keep(field, decoded)
    return decoded


def _target(target: bytes) -> tuple[str, URL]:
    """Return a request target as text, and the URL of what it asks for; an authority in it has become the Host."""
    path, query, _ = split_target(target)
    text = path.decode("utf-8", "surrogateescape"), query.decode("utf-8", "surrogateescape")
    return target.decode("utf-8", "surrogateescape"), URL.build(path=text[0], query_string=text[1], encoded=True)


def _name(name: bytes) -> istr:
    """Return the name of a field as aiohttp writes it."""
    return _standard.get(name) or istr("-".join(word.capitalize() for word in name.decode("latin-1").split("-")))


_standard = {one.lower().encode(): one for one in vars(hdrs).values() if isinstance(one, istr)}
_names: BoundedCache[bytes, istr] = BoundedCache(_name)
_fields: BoundedCache[tuple[bytes, bytes], tuple[istr, str]] = BoundedCache(_field)
_targets: BoundedCache[bytes, tuple[str, URL]] = BoundedCache(_target)
