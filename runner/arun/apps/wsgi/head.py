"""Status and header fields of a response as a WSGI app gives them, in text: what came before is not encoded and checked again."""

from __future__ import annotations

from arun.http.bounded_cache import BoundedCache
from arun.http.errors import ResponseInvalid
from arun.http.fields import read_fields, status_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

__all__ = ("STATUSES", "read_text_fields")

#: Characters of a field that is worth remembering: short ones come again.
_SHORT: Final = 96


def read_text_fields(headers: Iterable[tuple[str, str]]) -> tuple[bytes, int | None, int]:
    """Check the header fields of an app; see :func:`arun.http.fields.read_fields`, which gets them encoded as latin-1 (PEP 3333).

    Raises:
        ResponseInvalid: as there.
    """
    block = b""
    length: int | None = None
    flags = 0
    for field in headers:
        read = _fields.get(field) if type(field) is tuple else None
        if read is None:
            read = _read(field)
        line, announced, meaning = read
        block += line
        flags |= meaning
        if announced is not None:
            if length is not None and length != announced:
                raise ResponseInvalid(f"{announced} is not the only Content-Length")
            length = announced
    return block, length, flags


def _read(field: tuple[str, str]) -> tuple[bytes, int | None, int]:
    """Read a field that is not remembered."""
    name, value = field
    read = read_fields(((name.encode("latin-1"), value.encode("latin-1")),))
    if type(name) is str and type(value) is str and len(name) + len(value) <= _SHORT:
        _fields.keep((name, value), read)
    return read


def _status(status: str) -> tuple[int, bytes]:
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not (code.isascii() and code.isdigit()):  # noqa: PLR2004 - RFC 9112 section 4
        raise ResponseInvalid(f"{status!r} is not a status such as '200 OK'")
    return int(code), status_line(int(code), reason.encode("latin-1"))


#: Codes and first lines of responses, by what the app calls them.
STATUSES: Final[BoundedCache[str, tuple[int, bytes]]] = BoundedCache(_status)
#: Lines, lengths and meanings of fields; see ``read_fields``.
_fields: Final[BoundedCache[tuple[str, str], tuple[bytes, int | None, int]]] = BoundedCache(_read)
