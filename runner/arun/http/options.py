"""What an engine may be told: one frozen value of plain values, the same for every kind of app."""

from __future__ import annotations

from arun.core.values import Value
from arun.http.limits import Limits
from arun.http.websocket_options import Websockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from arun.http.access.line import AccessLog

__all__ = ("Options", "silent")


def silent(_text: str) -> None:
    """Do nothing: the error log, and whoever is told of lost threads, of an engine that was given none."""


class Options(Value):
    """How an engine serves.

    ``keep_alive`` is how many seconds a connection may be idle between two requests; 0 closes after each answer.
    ``trusted`` are the peers whose X-Forwarded-For and X-Forwarded-Proto are believed: IP addresses or networks as
    text, or ``"*"`` for all; empty for none. ``threads`` is how many WSGI requests run at the same time, and
    ``processes`` how many processes serve this app (WSGI apps are told). ``on_error`` takes one text per failing
    request and must be quick, as ``on_stuck``, which takes one sentence for each thread that is lost to a call of a WSGI
    app beyond ``limits.request_timeout``; both are called in the loop's thread. ``debug`` shows the traceback of a failing app to the one who sits at this machine (runner/arun/core/loopback.py).
    ``forwarded_header`` says which of the forwarding headers is the proxy's: the other is never looked at.
    ``server_header`` and ``date_header`` say whether answers name the server and the time.
    ``access`` is called with every request that has ended, None while the access log is off. ``request_id_header`` is
    the field in which requests get an id, None for no ids.
    """

    root_path: str = ""
    keep_alive: float = 5.0
    trusted: tuple[str, ...] | Literal["*"] = ()
    threads: int = 8
    processes: int = 1
    debug: bool = False
    on_error: Callable[[str], None] = silent
    on_stuck: Callable[[str], None] = silent
    limits: Limits = Limits()
    websockets: Websockets = Websockets()
    server_header: bool = True
    date_header: bool = True
    access: AccessLog | None = None
    request_id_header: str | None = None
    forwarded_header: str = "x-forwarded"
