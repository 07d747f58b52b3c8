"""The outage that an instance is in, or has just left: where it is recorded how it began, goes on and ends.

It begins with a start that fails. A fallback that serves does not end it; it ends when the first start of the chain serves again,
or with the process. Meanwhile the first start is tried again: a failure for another cause is a record of its own, the same one
is counted.
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
#: Causes that tries of one fallback have found and that become records in the log: an app may fail in other words each time.
_MOST_CAUSES = 8


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
        #: What the last try has found, where it is another cause than that of the start; and how many there were.
        self._found: tuple[FailureRecord, ...] = ()
        self._causes = 0
        #: What the log says of the fallback that serves.
        self._serves: dict[str, object] = {}
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

    def tried(self, records: Sequence[FailureRecord], *, is_new: bool) -> tuple[FailureRecord, ...]:
        """The first start was tried again and would fail; return the failures that hold now, those of its fallbacks too."""
        first = self._chain[0].config
        if is_new:
            self._note_end(self._found, "changed")
            self._found = tuple(records)
            self._causes += 1
            if self._causes <= _MOST_CAUSES:
                self.log.failed(records)
                self.log.note("serving", [records[0].id], **self._serves)
        elif self._found:
            self._found = tuple(one._replace(tries=one.tries + 1) for one in self._found)
        else:
            self._chain = tuple(
                one._replace(tries=one.tries + 1) if one.config == first else one for one in self._chain
            )
        fallbacks = tuple(one for one in self._chain if one.config != first)
        return (*self._found, *fallbacks) if self._found else self._chain

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
            self._serves = {"fallback": name, "pid": os.getpid()}
            self.log.note("serving", [one.id for one in self._chain], **self._serves)
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
        return (*self._earlier, *self._chain, *self._found)[-_EARLIER_KEPT:]

    def over(self, how: str, records: Sequence[FailureRecord] = ()) -> None:
        """The process ends, and the outage with it: it was ``stopped``, or has ``exited``."""
        self._note_end((*self._chain, *self._found, *records), how)
        self.notices.cut()

    def _end(self, how: str) -> None:
        """End the outage that was going on when the first start was tried again."""
        self._note_end([one for one in self._earlier if not one.ended], how)
        now = time.time()
        self._earlier = tuple(one if one.ended else one._replace(ended=how, ended_when=now) for one in self._earlier)

    def _note_end(self, records: Sequence[FailureRecord], how: str) -> None:
        for id_, tries in {one.id: one.tries for one in records}.items():
            self.log.note("ended", [id_], how=how, **({"tries": tries} if tries else {}))
