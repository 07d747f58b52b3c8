"""Reports of a worker and orders of its supervisor: typed lines on a socket pair.

A connection for the responder of the supervisor comes beside a line, as a descriptor. A line is a word and the text that belongs to it; failures travel as JSON, in which a
newline is never raw. The end of the stream is the end of the other side.
"""

from __future__ import annotations

from arun.core.failures import CAUSES, INTERNAL_ERROR, FailureRecord, StartupFailure, printable
from arun.core.values import Value

__all__ = (
    "ASK",
    "BEAT",
    "DRAINING",
    "FAILED",
    "OUTLOOK",
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

#: Reports of a worker: its pid, what its start waits for, that it serves (and what), why it cannot, that its loop
#: turns (with its counters), that it has reached its lifetime and wants a successor, and that it stops; and a connection
#: that asks for the state of the instance.
PID, WAITING, READY, FAILED, BEAT, SPENT, DRAINING = "pid", "waiting", "ready", "failed", "beat", "spent", "draining"
ASK = "ask"
#: The orders that are no signals: accept no new connections, finish open requests, close idle connections in time; and what
#: a page in the app's place goes by from now on, as JSON.
RETIRE, OUTLOOK = "retire", "outlook"


class Report(Value):
    """One line: its word, and the text that belongs to it."""

    word: str
    text: str = ""


def line_of(word: str, content: str | FailureRecord = "") -> bytes:
    """Return the line for a report."""
    if isinstance(content, FailureRecord):
        import json

        content = json.dumps(content.as_dict())
    else:
        content = printable(content)
    return f"{word} {content}\n".encode(errors="surrogateescape")


def failure_of(report: Report) -> StartupFailure:
    """Return the failure of a report; a report that cannot be read is a failure too."""
    try:
        import json

        record = FailureRecord.of_fields(json.loads(report.text))
        cause = CAUSES.get(record.identifier, INTERNAL_ERROR)
    except Exception:  # noqa: BLE001 - files of Python or arun may be missing, and the supervisor goes on
        return StartupFailure(INTERNAL_ERROR, "a worker failed, and its report cannot be read")
    return StartupFailure(cause, record.sentence, origin=record.origin, hint=record.hint, detail=record.detail)


class Lines:
    """Assembles lines from the pieces that a socket yields."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Report]:
        """Return the reports that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [Report(*line.decode(errors="surrogateescape").split(" ", 1)) for line in lines]
