"""One name for a request, in the app, the answer and both logs: taken from a trusted proxy, else made here."""

from __future__ import annotations

import os
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("RequestIds",)

_LONGEST = 128
_TAKEN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


class RequestIds:
    """Gives every request its id; ``header`` is the field that carries it, in whatever case it is to be sent.

    An id is 16 random hexadecimal digits, which are the same for all requests of a process, and a counter: unique
    among processes, cheap, easy to search for, and no secret.
    """

    def __init__(self, header: str) -> None:
        self.header = header
        self.name = header.lower().encode()
        self._prefix = os.urandom(8).hex()
        self._numbers = count(1)

    def take(self, fields: Iterable[tuple[bytes, bytes]], *, trusted: bool) -> bytes:
        """Return the id of a request with these header fields, the one they hold if who sent it is ``trusted``.

        One that is not 1 to 128 characters out of letters, digits, ``.``, ``_`` and ``-``, or not the only one, is
        replaced like one of a stranger: it is not believed and reaches neither app nor log.
        """
        if trusted:
            said = [value for name, value in fields if name == self.name]
            if len(said) == 1 and 0 < len(said[0]) <= _LONGEST and not said[0].translate(None, _TAKEN):
                return said[0]
        return b"%b%08x" % (self._prefix.encode(), next(self._numbers))

    def placed(self, fields: Iterable[tuple[bytes, bytes]], own: bytes) -> list[tuple[bytes, bytes]]:
        """Return the header fields with the id ``own`` as the only one."""
        return [*(field for field in fields if field[0] != self.name), (self.name, own)]

    def line(self, own: bytes) -> bytes:
        """Return the header line of an answer that carries the id."""
        return b"%b: %b\r\n" % (self.header.encode(), own)
