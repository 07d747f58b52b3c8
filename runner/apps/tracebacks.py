"""Tracebacks as a user of arun wants them: the app's own frames, without ours and the import system's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traceback import TracebackException

__all__ = ("app_traceback", "described")


def app_traceback(exc: BaseException) -> str:
    """Format an exception and what led to it, without the frames of arun and of importlib.

    A traceback that holds no other frames is kept whole: it tells of a fault of arun's.
    """
    from traceback import TracebackException

    told = TracebackException.from_exception(exc, compact=True)
    _trim(told, exc)
    return "".join(told.format())


def described(exc: BaseException) -> str:
    """Return name and message of an exception on one line; one that cannot say what it is still has a name."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001 - code of the app's
        text = ""
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _trim(told: TracebackException, exc: BaseException) -> None:
    waiting, seen = [told], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kept = [frame for frame in one.stack if not _is_ours(frame.filename)]
        if kept or isinstance(exc, (ImportError, SyntaxError)):
            one.stack[:] = kept
        waiting += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]


def _is_ours(filename: str) -> bool:
    import importlib
    import os

    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    machinery = os.path.dirname(importlib.__file__) + os.sep
    return filename.startswith((home, machinery, "<frozen importlib"))
