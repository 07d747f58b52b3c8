"""The outage that an instance is in, or has just left: where it is recorded how it began, goes on and ends.

It begins with a start that fails. A fallback that serves does not end it; it ends when the first start of the chain serves again,
or with the process.
"""

from __future__ import annotations

import os
import time

from arun.lifecycle.failure_log import FailureLog, fields_of
from arun.lifecycle.notices import Notices
from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arun.core.failures import FailureRecord
    from arun.lifecycle.handover import Handover
    from arun.system.launch import Launch
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
        self.notices = Notices(past.notices)

    @property
    def earlier(self) -> tuple[FailureRecord, ...]:
        """The failures before this chain, the oldest first; those without an end are of the outage that may end now."""
        return self._earlier

    def open(self, directory: str, identity: Identity | None = None) -> None:
        """Open the failure log in the directory that the settings name, or in the one that is known already."""
        self.log.open(directory or self.log.directory, identity)

    def failed(self, records: Sequence[FailureRecord]) -> None:
        """A start has failed; the chain it belongs to goes on."""
        if not self._chain and not self._earlier:
            self.log.settle(records[0].command, "failed again")
        self._end("failed again")
        self.log.failed(records, self._chain)

    def survived(self, record: FailureRecord) -> None:
        """Something has failed that is no start: a reload, a worker that is replaced. The instance goes on."""
        self.log.failed([record])
        self.log.note("ended", [record.id], how="survived")

    def serving(self, name: str, command: str, on_fallback: str, on_recover: str, launch: Launch) -> None:
        """The instance serves: record that, and run the command of ``on-fallback`` or ``on-recover``.

        ``name`` is that of its config, ``command`` its command line.
        """
        if self._chain:
            first = self._chain[0]
            self.log.note("serving", [one.id for one in self._chain], fallback=name, pid=os.getpid())
            if on_fallback:
                told = {"event": "fallback", "fallback": name, **fields_of(first)}
                told["failures"] = [fields_of(one) for one in self._chain]
                self.notices.tell("on-fallback", on_fallback, told, launch)
            return
        ended = [one for one in self._earlier if not one.ended]
        if not self._earlier:
            self.log.settle(command, "restarted")
        self._end("recovered")
        if ended:
            first, seconds = self._earlier[-len(ended)], time.time() - ended[0].when
            logs.info(
                f"arun: {name} serves again, {seconds:.1f} s after {first.identifier}{first.mark()}",
                "recovered",
                id=first.id,
                identifier=first.identifier,
                seconds=round(seconds, 3),
            )
            if on_recover:
                told = {"event": "recover", **fields_of(first), "failures": [fields_of(one) for one in ended]}
                self.notices.tell("on-recover", on_recover, told, launch)

    def returning(self) -> tuple[FailureRecord, ...]:
        """Return what the first start of the chain is to know, which is tried again: all failures so far."""
        return (*self._earlier, *self._chain)[-_EARLIER_KEPT:]

    def over(self, how: str, records: Sequence[FailureRecord] = ()) -> None:
        """The process ends, and the outage with it: it was ``stopped``, or has ``exited``."""
        self.log.note("ended", [one.id for one in (*self._chain, *records)], how=how)
        self.notices.cut()

    def _end(self, how: str) -> None:
        """End the outage that was going on when the first start was tried again."""
        self.log.note("ended", [one.id for one in self._earlier if not one.ended], how=how)
        now = time.time()
        self._earlier = tuple(one if one.ended else one._replace(ended=how, ended_when=now) for one in self._earlier)
