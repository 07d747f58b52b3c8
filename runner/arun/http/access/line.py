"""What the access log says of a request, and when."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Fields = list[tuple[bytes, bytes]]

__all__ = ("AccessLog", "Clock", "Entry", "field")


class Entry:
    """What a line says of one request that has ended: answered, refused, or cut.

    ``client`` is an IP address, None on a unix socket. ``method`` is empty where the request line could not be read, ``status``
    0 where no response was sent. ``sent`` counts the bytes of the body, without head and framing, that were handed to
    the connection; ``seconds`` go from the complete head to the end of the response. Header fields have names in lower case.
    """

    __slots__ = (
        "client",
        "method",
        "request_fields",
        "request_id",
        "response_fields",
        "scheme",
        "seconds",
        "sent",
        "status",
        "target",
        "version",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - the values of a line
        self,
        client: str | None = None,
        method: str = "",
        target: bytes = b"",
        version: str = "",
        status: int = 0,
        sent: int = 0,
        seconds: float = 0.0,
        request_fields: Fields | None = None,
        response_fields: Fields | None = None,
        scheme: str = "http",
        request_id: str | None = None,
    ) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.version = version
        self.status = status
        self.sent = sent
        self.seconds = seconds
        self.request_fields: Fields = request_fields or []
        self.response_fields: Fields = response_fields or []
        self.scheme = scheme
        self.request_id = request_id


class AccessLog:
    """What is told of each request that has ended, in the loop's thread."""

    __slots__ = ("needs_response_fields", "needs_seconds")

    def __init__(self, *, needs_seconds: bool, needs_response_fields: bool) -> None:
        #: Whether lines hold ``Entry.seconds`` and ``Entry.response_fields``: else neither has to be found out.
        self.needs_seconds = needs_seconds
        self.needs_response_fields = needs_response_fields

    def log(self, entry: Entry) -> None:
        """Take what is said of a request; the entry is the caller's, who may use it again."""
        raise NotImplementedError


class Clock:
    """The time of a line as text, made once a second by ``form``."""

    __slots__ = ("_form", "now", "since", "text", "until")

    def __init__(self, form: Callable[[int], str]) -> None:
        self._form = form
        #: Seconds since the epoch; those of ``text`` go from ``since`` to before ``until``.
        self.now = self.since = self.until = 0.0
        self.text = ""

    def turn(self) -> None:
        """Go to the second that it is now; a clock that was set goes back as well."""
        second = int(self.now)
        self.since = float(second)
        self.until = self.since + 1.0
        self.text = self._form(second)


def field(fields: Fields, name: bytes) -> bytes | None:
    """Return the value of a header field, the last one of several; None where there is none."""
    found = None
    for one, value in fields:
        if one == name:
            found = value
    return found
