"""Status and header fields of a response as a WSGI app gives them, in text: what came before is not encoded and checked again."""

from __future__ import annotations

from arun.http.bounded_cache import BoundedCache
from arun.http.errors import ResponseInvalid
from arun.http.fields import read_fields, status_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

__all__ = ("STATUSES", "read_text_fields")

#: Characters of a field that is worth remembering: short ones come again.
_SHORT: Final = 96


class _Field:
    """A field as it is sent: its line, what it says of the length, and what it means for the server (http/fields.py)."""

    __slots__ = ("length", "line", "meaning")

    def __init__(self, line: bytes, length: int | None, meaning: int) -> None:
        self.line = line
        self.length = length
        self.meaning = meaning


def read_text_fields(headers: Iterable[object]) -> tuple[bytes, int | None, int]:
    """Check the header fields of an app; see :func:`arun.http.fields.read_fields`, which gets them encoded as latin-1 (PEP 3333).

    Raises:
        ResponseInvalid: as there.
    """
    block = b""
    length: int | None = None
    flags = 0
    for name_and_value in headers:
        field = _fields.get(name_and_value) if type(name_and_value) is tuple else None
        if field is None:
            field = _read(name_and_value)
        block += field.line
        if field.meaning:
            flags |= field.meaning
        announced = field.length
        if announced is not None:
            if length is not None and length != announced:
                raise ResponseInvalid(f"{announced} is not the only Content-Length")
            length = announced
    return block, length, flags


def _read(name_and_value: Any) -> _Field:
    """Read a field that is not remembered."""
    name, value = name_and_value
    field = _Field(*read_fields(((name.encode("latin-1"), value.encode("latin-1")),)))
    if type(name) is str and type(value) is str and len(name) + len(value) <= _SHORT:
        _fields.keep((name, value), field)
    return field


def _status(status: str) -> tuple[int, bytes]:
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not (code.isascii() and code.isdigit()):  # noqa: PLR2004 - RFC 9112 section 4
        raise ResponseInvalid(f"{status!r} is not a status such as '200 OK'")
    return int(code), status_line(int(code), reason.encode("latin-1"))


#: Codes and first lines of responses, by what the app calls them.
STATUSES: Final[BoundedCache[str, tuple[int, bytes]]] = BoundedCache(_status)
#: By name and value.
_fields: Final[BoundedCache[object, _Field]] = BoundedCache(_read)
