"""What a page in the app's place goes by: why it is shown, and when that is likely to change."""

from __future__ import annotations

from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.core.failures import FailureRecord

__all__ = ("Outlook",)


class Outlook(Value):
    """What holds now; asked for at each request.

    ``failures`` are the starts that failed, the first one first. ``next_try`` is when the primary is tried again, in seconds
    since the epoch, None while that is not planned; ``attempts`` have been made so far, and one is made now while ``trying``.
    ``offline`` is the text with which an
    operator has taken the app offline, None while it is not; ``allowed`` are the addresses and networks of clients that reach
    it all the same.
    """

    failures: tuple[FailureRecord, ...] = ()
    next_try: float | None = None
    attempts: int = 0
    trying: bool = False
    offline: str | None = None
    allowed: tuple[str, ...] = ()
