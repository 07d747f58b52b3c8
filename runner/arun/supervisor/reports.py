"""What a worker and its supervisor say to each other: typed lines on a socket pair.

A worker reports, the supervisor orders. A line is a word and what belongs to it; failures travel as JSON, in which a
newline is never raw. The end of the stream is the end of the other side.
"""

from __future__ import annotations

from arun.core.failures import CAUSES, INTERNAL_ERROR, FailureRecord, StartupFailure, printable
from arun.core.values import Value

__all__ = (
    "BEAT",
    "DRAINING",
    "FAILED",
    "PID",
    "READY",
    "RETIRE",
    "SPENT",
    "WAITING",
    "Lines",
    "Report",
    "failure_of",
    "line_of",
)

#: Reports of a worker: who it is, what its start waits for, that it serves (and what), why it cannot, that its loop
#: turns, that it has done its part and wants a successor, and that it stops.
PID, WAITING, READY, FAILED, BEAT, SPENT, DRAINING = "pid", "waiting", "ready", "failed", "beat", "spent", "draining"
#: The one order that is no signal: take nothing new, finish what has begun, let idle clients go in peace.
RETIRE = "retire"


class Report(Value):
    """One line: its word, and the text that belongs to it."""

    word: str
    text: str = ""


def line_of(word: str, said: str | FailureRecord = "") -> bytes:
    """Return the line for a report."""
    if isinstance(said, FailureRecord):
        import json

        said = json.dumps(said.as_dict())
    else:
        said = printable(said)
    return f"{word} {said}\n".encode(errors="surrogateescape")


def failure_of(report: Report) -> StartupFailure:
    """Return the failure that a report of one carries; one that cannot be read is a failure too."""
    try:
        import json

        record = FailureRecord(**json.loads(report.text))
        cause = CAUSES.get(record.identifier, INTERNAL_ERROR)
    except Exception:  # noqa: BLE001 - nor does a supervisor end where files of Python's or of ours are away
        return StartupFailure(INTERNAL_ERROR, "a worker failed, and its report cannot be read")
    return StartupFailure(cause, record.sentence, origin=record.origin, hint=record.hint, detail=record.detail)


class Lines:
    """Puts lines together from what comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Report]:
        """Return the reports that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [Report(*line.decode(errors="surrogateescape").split(" ", 1)) for line in lines]
