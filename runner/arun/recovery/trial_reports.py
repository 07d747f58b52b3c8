"""What the trial of a start has reported from another process: lines of JSON on a pipe, as lifecycle/probe.py writes them.

The way back (recovery/prober.py) and commands read them.
"""

from __future__ import annotations

import contextlib
import time

from arun.core.failures import CAUSES, FailureRecord
from arun.recovery.awaited import Awaited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arun.recovery.watched import Signature

__all__ = ("TrialReports",)


class TrialReports:
    """The reports so far. A line that is no report is passed over: what the app wrote into the pipe, or half of one."""

    def __init__(self) -> None:
        self._rest = b""
        #: The steps that have succeeded: name, detail, and seconds since the trial began.
        self.steps: list[tuple[str, str, float]] = []
        #: What has a time limit now, the start or then the app's shut-down, empty while that is not known; its limit in
        #: seconds, None for none; and when that was told, on the monotonic clock.
        self.limited = ""
        self.limit: float | None = None
        self.limited_at = 0.0
        #: What it reads before the app is imported, as it was when that was told first.
        self.reads: dict[str, Signature] = {}
        #: How it has come out: ready, or the records of its failures and what may mend them.
        self.is_ready = False
        self.records: tuple[FailureRecord, ...] = ()
        self.watched: dict[str, Signature] = {}
        self.awaited: tuple[Awaited, ...] = ()
        self.busy: tuple[str, ...] = ()
        #: How the process of the app has ended, which leaves nothing behind; empty until then.
        self.ended = ""

    @property
    def has_come_out(self) -> bool:
        """Whether the result is known; further ones do not count."""
        return self.is_ready or bool(self.records)

    def take(self, piece: bytes) -> None:
        """Take what has come from the pipe."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                self._take(_decoded(line))

    def _take(self, report: dict[str, Any]) -> None:
        kind = report["report"]
        if kind == "step":
            self.steps.append((report["name"], report["detail"], report["after"]))
        elif kind == "limit":
            seconds = report["seconds"]
            self.limit = None if seconds is None else float(seconds)
            self.limited, self.limited_at = str(report.get("of", "start")), time.monotonic()
        elif kind == "read":
            self.reads = _signatures(report["watched"]) | self.reads
        elif kind == "ready" and not self.has_come_out:
            self.is_ready = True
        elif kind == "failed" and not self.has_come_out:
            records = tuple(map(_record, report["records"]))
            watched, awaited = _signatures(report["watched"]), tuple(Awaited(*one) for one in report["awaited"])
            self.records, self.watched, self.awaited, self.busy = records, watched, awaited, tuple(report["busy"])
        elif kind == "ended":
            self.ended = str(report["how"])


def _decoded(line: bytes) -> dict[str, Any]:
    import json

    return dict(json.loads(line))


def _record(fields: dict[str, Any]) -> FailureRecord:
    record = FailureRecord.of_fields(fields)
    CAUSES[record.identifier]  # else it is none
    return record


def _signatures(encoded: dict[str, Any]) -> dict[str, Signature]:
    return {path: None if signed is None else tuple(signed) for path, signed in encoded.items()}
