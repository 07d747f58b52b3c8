"""What a client may ask of an instance before it is refused: sizes in bytes, times in seconds, numbers of things.

The defaults are those of the options; an engine enforces them alike for every kind of app.
"""

from __future__ import annotations

from arun.core.values import Value

__all__ = ("Limits",)


class Limits(Value):
    """Bounds for one client, one connection, one request; 0 stands for no bound except where it says otherwise.

    A refusal is 414 for the request line, 431 for the fields, 413 for the body, 408 for a request that does not come,
    503 with Retry-After beyond the numbers of connections and of requests.
    """

    #: Bytes of the request line without its end (RFC 9112 section 3).
    request_line: int = 8190
    #: Number of header fields, and bytes of one of them, name and value.
    request_fields: int = 100
    request_field_size: int = 8190
    #: Bytes of a whole head; also of chunk framing and trailers that no body stands against. Never without bound.
    request_head: int = 65_536
    #: Bytes of a request body.
    request_body: int = 1_073_741_824
    #: Seconds from the first byte of a head to its last (slowloris).
    header_timeout: float = 15.0
    #: Seconds that a body may stall while the app waits for it.
    body_timeout: float = 30.0
    #: Seconds that a client may take nothing of an answer that waits for it.
    write_timeout: float = 30.0
    #: Bytes per second of a body that the app waits for, and of a response that waits for its client, at least; on the
    #: average of a wait that is longer than so many seconds (after 408 for a body, the answer is cut).
    body_rate: int = 240
    response_rate: int = 240
    rate_grace: float = 5.0
    #: Seconds that the app may take for a request, without those in which it waits for its client.
    request_timeout: float = 0.0
    #: Connections of this process; requests that run at the same time.
    connections: int = 0
    concurrency: int = 0
    #: Requests on one connection, then it is closed.
    keep_alive_requests: int = 10_000
    #: Bytes of an answer of a WSGI app that are kept for a slow client so that its thread goes on, all together 64
    #: times as many; 0 keeps none.
    response_buffer: int = 16_777_216
    #: WSGI requests that may wait for a thread.
    queue: int = 1024
