"""What a case is: the bytes of a client, and what must come of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "HALF_CLOSE",
    "Case",
    "Refused",
    "Seen",
    "Served",
    "WaitFor",
    "case",
    "get",
    "post",
    "refused",
    "seen",
    "served",
)


class WaitFor(NamedTuple):
    """A piece that is no bytes: read until the server has said this."""

    text: bytes


class _HalfClose:
    """A piece that is no bytes: close the client's side."""

    def __repr__(self) -> str:
        return "HALF_CLOSE"


HALF_CLOSE: Final = _HalfClose()

Piece = bytes | WaitFor | _HalfClose


class Seen(NamedTuple):
    """What the app must have been given of a request; what is None does not matter."""

    method: str = "GET"
    path: str | None = None
    raw_path: str | None = None
    query: str | None = None
    body: bytes | None = None
    #: Fields that must be there exactly like this, and names that must not.
    fields: tuple[tuple[str, str], ...] = ()
    absent: tuple[str, ...] = ()
    #: Names that must not be there for WSGI, where ``-`` and ``_`` are the same.
    wsgi_absent: tuple[str, ...] = ()
    #: The app answers without looking, and so tells nothing.
    ignored: bool = False
    #: How many interim answers (100) come before the final one.
    continued: int | None = 0
    #: The status of the answer; what is not 200 tells nothing of what the app saw.
    status: int = 200


def seen(path: str | None = "/", method: str = "GET", **more: Any) -> Seen:
    """Make what a mirror sees."""
    return Seen(method, path, **more)


class Refused(NamedTuple):
    """One answer with one of these statuses (0: none at all), the end of the connection, and nothing after it.

    ``after`` are requests that are answered before the refusal.
    """

    statuses: tuple[int, ...] = (400,)
    after: tuple[Seen, ...] = ()


def refused(*statuses: int, after: tuple[Seen, ...] = ()) -> Refused:
    """Make a refusal with one of the statuses, 400 if none is said."""
    return Refused(statuses or (400,), after)


class Served(NamedTuple):
    """As many answers of 200 as there are requests, and then a connection that is usable, or closed.

    ``told``: the last answer must say that the connection closes; it cannot when the cause comes after it.
    """

    seen: tuple[Seen, ...]
    usable: bool = True
    told: bool = True


def served(*requests: Seen, usable: bool = True, told: bool = True) -> Served:
    """Make an outcome in which each of these requests is answered."""
    return Served(requests or (seen(),), usable, told)


#: What must come of a case; of several outcomes, each is right.
Outcomes = tuple[Refused | Served, ...]


class Case(NamedTuple):
    """One conversation. ``why`` is the clause or the fault; ``differs`` says why a kind of app has another outcome."""

    name: str
    pieces: tuple[Piece, ...]
    wanted: Outcomes
    why: str
    #: Outcomes of one kind (asgi, wsgi, inline, aiohttp), and the reason.
    differs: Mapping[str, tuple[Outcomes, str]]

    def wanted_of(self, kind: str) -> Outcomes:
        return self.differs[kind][0] if kind in self.differs else self.wanted


def case(
    name: str,
    pieces: Piece | tuple[Piece, ...],
    wanted: Refused | Served | Outcomes,
    why: str,
    **differs: tuple[Outcomes, str],
) -> Case:
    """Make a row of a table."""
    return Case(
        name,
        pieces if isinstance(pieces, tuple) and not isinstance(pieces, WaitFor) else (pieces,),
        wanted if not isinstance(wanted, (Refused, Served)) else (wanted,),
        why,
        differs,
    )


def get(target: bytes = b"/", *fields: bytes, host: bytes = b"Host: a") -> bytes:
    """Make a GET of a target with further fields."""
    return _request(b"GET " + target + b" HTTP/1.1", (host, *fields))


def post(body: bytes, *fields: bytes, target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    """Make a POST; its framing is in the fields."""
    return _request(b"POST " + target + b" HTTP/" + version, (b"Host: a", *fields)) + body


def _request(line: bytes, fields: tuple[bytes, ...]) -> bytes:
    return b"\r\n".join((line, *(field for field in fields if field), b"", b""))
