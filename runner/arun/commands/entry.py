"""The way in and out of every command: what it raises is reported in the one form that failures have."""

from __future__ import annotations

import importlib
import io
import os
import sys

from arun.core.failures import INTERNAL_ERROR, FailureRecord, StartupFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("run",)

#: The status of a command line that cannot be obeyed, and of a command that was interrupted or has lost its reader (the
#: numbers that a shell gives a program which SIGINT or SIGPIPE has ended).
_REFUSED, _INTERRUPTED, _UNREAD = 2, 130, 141


def run(word: str, arguments: Sequence[str]) -> int:
    """Run the command and return the status to end with. It raises nothing."""
    if sys.stdout.encoding != "utf-8" and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: a quotation mark is no reason to fail
    try:
        status: int = importlib.import_module(f"arun.commands.{word}").main(list(arguments))
        sys.stdout.flush()
    except StartupFailure as failure:
        _report(failure)
        return _REFUSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter reports it once more at its end
        return _UNREAD
    except Exception as error:  # noqa: BLE001 - a fault of arun's own is reported as such
        from arun.system import tracebacks

        detail = tracebacks.whole_traceback(error)
        _report(StartupFailure(INTERNAL_ERROR, tracebacks.described(error), detail=detail))
        return _REFUSED
    return status


def _report(failure: StartupFailure) -> None:
    from arun.system import logs  # a command that goes well does without it, and without all that it needs

    sys.stdout.flush()
    logs.set_format("plain")
    logs.frame(FailureRecord.of(failure, config="", when=0))
