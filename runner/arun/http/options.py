"""The options of the HTTP server: one frozen value, whose fields bear the names of the options."""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from arun.http.access.line import AccessLog

__all__ = ("HttpOptions", "silent")


def silent(_text: str) -> None:
    """Do nothing: the log of a server that was given none."""


class HttpOptions(Value):
    """Settings of the HTTP server and of the app kinds on top of it: sizes in bytes, times in seconds.

    A field has the name, the type and the default of the option in settings/options.py, where it is explained; the last
    fields are derived from several settings. A limit of 0 stands for no limit, except where a comment says otherwise. Requests
    beyond a limit get 414 (request line), 431 (fields, head), 413 (body), 408 (time of head or body), and 503 with Retry-After
    (connections, concurrency, queue, time of the app).
    """

    root_path: str = ""
    #: Size of the request line without its end (RFC 9112 section 3), number of fields, size of name and value of one.
    limit_request_line: int = 8190
    limit_request_fields: int = 100
    limit_request_field_size: int = 8190
    #: Size of a whole head, and of chunk framing and trailers beyond their share of the body. Never without a limit.
    limit_request_head: int = 65_536
    limit_request_body: int = 1_073_741_824
    #: From the first byte of a head to its last (slowloris); without progress of a body, or of a response.
    timeout_header: float = 15.0
    timeout_body: float = 30.0
    timeout_write: float = 30.0
    #: Bytes per second, averaged over a wait for the client that is longer than ``rate_grace``.
    min_body_rate: int = 240
    min_response_rate: int = 240
    rate_grace: float = 5.0
    #: For an idle connection between two requests; 0 closes it after each response.
    timeout_keep_alive: float = 5.0
    keep_alive_requests: int = 10_000
    limit_concurrency: int = 0
    #: Requests that wait for a thread of a WSGI app; size of a response that is kept for a slow client so that its thread goes
    #: on, 64 times as much for all together, 0 for none.
    limit_queue: int = 1024
    limit_response_buffer: int = 16_777_216
    #: Threads of a WSGI app, 0 for the event loop; processes that serve the same app.
    threads: int = 8
    workers: int = 1
    #: Size of a message, decompressed; a longer one closes the websocket with 1009. Messages that wait for the app.
    ws_max_size: int = 16_777_216
    ws_max_queue: int = 32
    #: Between two pings, and for any sign of the client after one (then 1011); 0 for no pings, and no limit.
    ws_ping_interval: float = 20.0
    ws_ping_timeout: float = 20.0
    ws_per_message_deflate: bool = True
    server_header: bool = True
    date_header: bool = True
    #: The kind of forwarding header that the proxy sets: "x-forwarded" or "forwarded". The other is ignored.
    forwarded_header: str = "x-forwarded"
    #: Show tracebacks of the app to clients on this machine (core/loopback.py).
    debug: bool = False

    # ---- derived

    #: Peers whose forwarding headers are trusted: addresses or networks, "*" for all; empty without ``proxy_headers``.
    forwarded_allow_ips: tuple[str, ...] | Literal["*"] = ()
    #: Connections of this process; its descriptors bound them where the option is not given.
    limit_connections: int = 0
    #: Time of the app for a request, without waits for its client; for WSGI it may come from ``timeout``.
    timeout_request: float = 0.0
    #: Field that carries the id of a request; None where requests get none.
    request_id_header: str | None = None
    #: Called with each request that has ended; None while the access log is off.
    access: AccessLog | None = None
    #: Measure requests for metrics: statuses, bytes, times.
    measures: bool = False
    #: Called with one text for each request that fails, and for each thread lost to a request beyond its time. Both are called
    #: in the loop's thread and return at once.
    on_error: Callable[[str], None] = silent
    #: Called with a text for each refusal, and for what a stop waits for and cuts; None where the log does not show them.
    on_debug: Callable[[str], None] | None = None
    thread_lost: Callable[[str], None] = silent
