"""The access log: what an engine tells of a request that has ended, and how that becomes a line.

Engines are given ``Options.access``, which is None while the log is off: then a request costs them one test.
"""

from __future__ import annotations

from runner.access_format import JSON, parse
from runner.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("Entry", "access_log")

_FAILING = 400


class Entry(Value):
    """A request that has ended: answered, refused, or cut.

    ``client`` is an IP address, None on a unix socket. ``method`` is empty where the request line could not be read,
    ``status`` 0 where nothing was answered. ``sent`` counts the bytes of the body, without head and framing, that were
    handed to the connection; ``seconds`` go from the complete head to the end of the answer. Header fields have names
    in lower case and are looked at once at most, so that an engine may pass an iterator that does the work only then.
    """

    client: str | None
    method: str
    target: bytes
    version: str
    status: int
    sent: int
    seconds: float
    request_fields: Iterable[tuple[bytes, bytes]] = ()
    answer_fields: Iterable[tuple[bytes, bytes]] = ()
    scheme: str = "http"
    request_id: str | None = None


def access_log(form: str, quiet: tuple[str, ...], write: Callable[[str], None]) -> Callable[[Entry], None]:
    """Return what engines call with each entry.

    ``form`` is a format, or ``common``, ``combined`` or ``json``. Entries of ``quiet`` paths, exact ones or prefixes
    that end with a star, are not written unless their status is 400 or more. ``write`` takes a line with its end.

    Raises:
        ValueError: the format is none.
    """
    if form == JSON:
        from runner.apps.engines.access.json_lines import json_line

        line = json_line()
    else:
        from runner.apps.engines.access.text import text_line

        line = text_line(parse(form))

    def log(entry: Entry) -> None:
        write(line(entry))

    if not quiet:
        return log
    paths = frozenset(path.encode() for path in quiet if not path.endswith("*"))
    prefixes = tuple(path[:-1].encode() for path in quiet if path.endswith("*"))

    def log_unless_quiet(entry: Entry) -> None:
        if 0 < entry.status < _FAILING:
            path = entry.target.partition(b"?")[0]
            if path in paths or path.startswith(prefixes):
                return
        write(line(entry))

    return log_unless_quiet
