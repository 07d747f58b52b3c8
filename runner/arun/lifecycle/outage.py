"""The outage that an instance is in, or has just left: where it is recorded how it began, goes on and ends.

It begins with a start that fails. A fallback that serves does not end it; it ends when the first start of the chain serves again,
or with the process.
"""

from __future__ import annotations

import os
import time

from arun.lifecycle.failure_log import FailureLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arun.core.failures import FailureRecord
    from arun.lifecycle.handover import Handover
    from arun.system.privileges import Identity

__all__ = ("Outage",)

#: Failures of outages that are over, kept in memory.
_EARLIER_KEPT = 16


class Outage:
    """What is known of failed starts in this process, and the log of them.

    Args:
        past: what a predecessor has handed over.
        directory: the state directory as far as it is known, absolute; empty for none.
    """

    def __init__(self, past: Handover, directory: str = "") -> None:
        self.log = FailureLog(directory or past.state_dir)
        self._chain = past.failures
        self._earlier = past.earlier

    @property
    def earlier(self) -> tuple[FailureRecord, ...]:
        """The failures before this chain, the oldest first; those without an end are of the outage that may end now."""
        return self._earlier

    def open(self, directory: str, identity: Identity | None = None) -> None:
        """Open the failure log in the directory that the settings name, or in the one that is known already."""
        self.log.open(directory or self.log.directory, identity)

    def failed(self, records: Sequence[FailureRecord]) -> None:
        """A start has failed; the chain it belongs to goes on."""
        self._end("failed again")
        self.log.failed(records, self._chain)

    def serving(self, name: str) -> None:
        """The instance serves, a fallback by the name of its config."""
        if self._chain:
            self.log.note("serving", [one.id for one in self._chain], fallback=name, pid=os.getpid())
        else:
            self._end("recovered")

    def returning(self) -> tuple[FailureRecord, ...]:
        """Return what the first start of the chain is to know, which is tried again: all failures so far."""
        return (*self._earlier, *self._chain)[-_EARLIER_KEPT:]

    def over(self, how: str, records: Sequence[FailureRecord] = ()) -> None:
        """The process ends, and the outage with it: it was ``stopped``, or has ``exited``."""
        self.log.note("ended", [one.id for one in (*self._chain, *records)], how=how)

    def _end(self, how: str) -> None:
        """End the outage that was going on when the first start was tried again."""
        self.log.note("ended", [one.id for one in self._earlier if not one.ended], how=how)
        now = time.time()
        self._earlier = tuple(one if one.ended else one._replace(ended=how, ended_when=now) for one in self._earlier)
