"""Tracebacks as a user of arun wants them: the app's own frames, without ours and the import system's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable
    from traceback import TracebackException
    from types import FrameType
    from typing import Any

__all__ = ("app_traceback", "described", "task_stack", "thread_stack")


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


def task_stack(task: asyncio.Task[Any]) -> str:
    """Format where a task waits, from the app's outermost frame to its innermost.

    It ends where the app waits for an async generator or another task: those do not say on whom they wait.
    """
    frames: list[FrameType] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        for frame, waits_for in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            if (here := getattr(waiting, frame, None)) is not None:
                frames.append(here)
                waiting = getattr(waiting, waits_for)
                break
        else:
            break
    return _stack(frames)


def thread_stack(thread: int) -> str:
    """Format where a thread is that runs code of the app; ``thread`` is its identifier."""
    import sys

    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, for this purpose
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return _stack(reversed(frames))


def _stack(frames: Iterable[FrameType]) -> str:
    """Format what stands behind the first frame of ours, without ours: before it, a thread only begins."""
    from traceback import StackSummary

    told = StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    first = next((place for place, frame in enumerate(told) if _is_ours(frame.filename)), 0)
    kept = [frame for frame in told[first:] if not _is_ours(frame.filename)]
    text = "".join(StackSummary.from_list(kept).format())
    return f"The app was here (most recent call last):\n{text}" if text else "The app was not in its own code\n"


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
