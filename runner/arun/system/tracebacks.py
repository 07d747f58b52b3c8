"""Tracebacks as a user of arun wants them: the app's own frames, without ours and the import system's.

None of these functions raises what the app's objects raise, or fails for want of a file: an exception that cannot be
formatted is described as far as it can be. In every text, control characters are escaped, and only the lines of Python's own
form begin at the margin: a text that an exception carries cannot be taken for a line of the log. What is secret is masked
(core/redaction.py).
"""

from __future__ import annotations

import os

from arun.core import redaction
from arun.core.exits import Interruption
from arun.core.failures import contained, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from traceback import TracebackException
    from types import FrameType
    from typing import Any

__all__ = ("app_traceback", "coroutine_stack", "described", "is_ours", "thread_stack", "whole_traceback")

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY = os.path.dirname(os.__file__)
#: Compiled code says where it is from within the package's parent directory, and leaves frames in tracebacks only.
_NOT_THE_APPS = (_HOME, f"arun{os.sep}", os.path.join(_LIBRARY, "importlib") + os.sep, "<frozen importlib")
#: With these a thread begins.
_BEGINNING = os.path.join(_LIBRARY, "threading.py")
_TRACEBACK = "Traceback (most recent call last):"
#: How the lines begin that stand between the exceptions of a traceback, and at its head.
_BETWEEN = (_TRACEBACK, "The above exception was the direct cause ", "During handling of the above exception, ")
#: Exceptions of one chain or group whose names are known as lines of its traceback.
_MOST_EXCEPTIONS = 256


def app_traceback(exc: BaseException) -> str:
    """Format an exception and what led to it, without the frames of arun and of importlib.

    A traceback that holds no other frames is kept whole: it is a fault of arun.
    """
    return _traceback(exc, is_whole=False)


def whole_traceback(exc: BaseException) -> str:
    """Format an exception and what led to it, with every frame: of a fault of arun's."""
    return _traceback(exc, is_whole=True)


def _traceback(exc: BaseException, *, is_whole: bool) -> str:
    try:
        from traceback import TracebackException

        formatted = TracebackException.from_exception(exc, compact=True)
        if not is_whole:
            _trim(formatted, exc)
        text = redaction.masked("".join(formatted.format()), redaction.secrets_of(os.environ))
        return contained(text, (*_BETWEEN, *_names(exc)))
    except Interruption:
        raise
    except BaseException as second:  # noqa: BLE001 - code of the app's, a missing file of Python's, memory
        return _bare(exc, second, is_whole=is_whole)


def described(exc: BaseException) -> str:
    """Return name and message of an exception on one line; one whose message cannot be had still has a name."""
    try:
        text = str(exc)
    except Interruption:
        raise
    except BaseException:  # noqa: BLE001 - code of the app's
        text = ""
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def coroutine_stack(waiting: Any) -> str:
    """Format where a coroutine waits, from the app's outermost frame to its innermost.

    It ends where the app waits for an async generator, another task or compiled code: those do not show what they wait for.
    """
    frames: list[FrameType] = []
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
    """Format where a thread is that runs code of the app; ``thread`` is its identifier.

    Before the first frame of ours, a thread only begins. Compiled, ours have no frames: then it begins with those of ``threading``.
    """
    import sys

    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, for this purpose
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    names = [frame.f_code.co_filename for frame in frames]
    first = next((number for number, name in enumerate(names) if is_ours(name)), None)
    if first is None:
        first = next((number for number, name in enumerate(names) if name != _BEGINNING), 0)
    return _stack(frames[first:])


def _stack(frames: Iterable[FrameType]) -> str:
    """Format what is not ours."""
    kept = [(frame, frame.f_lineno) for frame in frames if not is_ours(frame.f_code.co_filename)]
    if not kept:
        return "The app was not in its own code\n"
    try:
        from traceback import StackSummary

        text = "".join(StackSummary.extract(iter(kept)).format())
    except Exception:  # noqa: BLE001 - a missing file of Python's
        text = "".join(_place(frame, number) for frame, number in kept)
    return f"The app was here (most recent call last):\n{contained(text, ())}"


def _bare(exc: BaseException, second: BaseException, *, is_whole: bool) -> str:
    """Format an exception without a source line, as neither its own code nor a file can be relied on."""
    places, trace = [], exc.__traceback__
    while trace is not None:
        if is_whole or not is_ours(trace.tb_frame.f_code.co_filename):
            places.append(_place(trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    text = redaction.masked(printable(described(exc)), redaction.secrets_of(os.environ))
    why = printable(described(second))
    return f"{_TRACEBACK}\n{''.join(places)}{text}\n    (it cannot be shown in full: {why})\n"


def _place(frame: FrameType, number: int) -> str:
    code = frame.f_code
    return f'  File "{printable(code.co_filename)}", line {number}, in {printable(code.co_name)}\n'


def _names(exc: BaseException) -> Iterator[str]:
    """Yield how the lines begin that name the exceptions of a traceback."""
    waiting, seen = [exc], set[int]()
    while waiting and len(seen) < _MOST_EXCEPTIONS:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one)
        module = "" if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}."
        yield f"{module}{kind.__qualname__}: "
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _trim(formatted: TracebackException, exc: BaseException) -> None:
    waiting, seen = [formatted], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kept = [frame for frame in one.stack if not is_ours(frame.filename)]
        if kept or isinstance(exc, (ImportError, SyntaxError)):
            one.stack[:] = kept
        waiting += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]


def is_ours(filename: str) -> bool:
    """Return whether the code of a frame is arun's, or the import system's."""
    return filename.startswith(_NOT_THE_APPS)
