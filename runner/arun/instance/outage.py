"""The outage that an instance is in, or has just left: where it is recorded how it began, goes on and ends.

It begins with a start that fails. A fallback that serves does not end it; it ends when the first start of the chain serves again,
or with the process. Meanwhile the first start is tried again: a failure for another cause is a record of its own, the same one
is counted.
"""

from __future__ import annotations

import os
import time
from math import inf

from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from arun.core.failures import FailureRecord
    from arun.instance.failure_log import FailureLog
    from arun.instance.handover import Handover
    from arun.instance.notices import Notices
    from arun.system.launch import Launch
    from arun.system.privileges import Identity

__all__ = ("Outage",)

#: Failures of outages that are over, kept in memory.
_EARLIER_KEPT = 16
#: Causes that tries of one fallback have found and that become records in the log: an app may fail in other words each time.
_MOST_CAUSES = 8


class Outage:
    """What is known of failed starts in this process, the log of them, and the commands that are run for them.

    Without a state directory nothing is loaded for the log, and without commands nothing for those.

    Args:
        past: what a predecessor has handed over.
        directory: the state directory as far as it is known, absolute; empty for none.
    """

    def __init__(self, past: Handover, directory: str = "") -> None:
        self._log: FailureLog | None = None
        self._notices: Notices | None = None
        #: What the notices are looked after with, once a loop turns.
        self._call_later: Callable[..., object] | None = None
        self._chain = past.failures
        #: The failures before this chain, the oldest first; those without an end are of the outage that may end now.
        self._earlier = past.earlier
        #: What the last try has found, where it is another cause than that of the start; and how many there were.
        self._found: tuple[FailureRecord, ...] = ()
        self._causes = 0
        #: What the log says of the fallback that serves.
        self._serves: dict[str, Any] = {}
        if directory := directory or past.state_dir:
            self._log = _failure_log(directory)
        if past.notices:
            from arun.instance.notices import Notices

            self._notices = Notices(past.notices)

    def open(self, directory: str, identity: Identity | None = None) -> None:
        """Open the failure log in the directory that the settings name, or in the one that is known already."""
        if self._log is None and directory:
            self._log = _failure_log(directory)
        if self._log is not None:
            self._log.open(directory or self._log.directory, identity)

    def close(self) -> None:
        """Close the failure log."""
        if self._log is not None:
            self._log.close()

    def handed_over(self, past: Handover) -> Handover:
        """Return a handover with what a successor is to know of it."""
        directory = "" if self._log is None else self._log.directory
        running = () if self._notices is None else self._notices.running
        return past._replace(state_dir=directory, earlier=self._earlier, notices=running)

    # ---- its commands

    @property
    def notified(self) -> frozenset[int]:
        """The processes of the commands that run."""
        return frozenset(() if self._notices is None else (notice.pid for notice in self._notices.running))

    def drive(self, call_later: Callable[..., object]) -> None:
        """Look after the commands by the timers of an event loop from now on."""
        self._call_later = call_later
        if self._notices is not None:
            self._notices.drive(call_later)

    def tick(self) -> float:
        """Look after the commands in the turns of a supervisor; return in how many seconds to do so again."""
        return inf if self._notices is None else self._notices.tick()

    def reaped(self, pid: int, status: int) -> None:
        """A child has ended and was reaped: it may be a command."""
        if self._notices is not None:
            self._notices.reaped(pid, status)

    def _tell(self, option: str, command: str, told: Mapping[str, Any], launch: Launch) -> None:
        if self._notices is None:
            from arun.instance.notices import Notices

            self._notices = Notices()
            if self._call_later is not None:
                self._notices.drive(self._call_later)
        self._notices.tell(option, command, told, launch)

    # ---- how it goes on

    def failed(self, records: Sequence[FailureRecord]) -> None:
        """A start has failed; the chain it belongs to goes on."""
        if not self._chain and not self._earlier:
            self._settle(records[0].command, "failed again")
        self._end("failed again")
        if self._log is not None:
            self._log.failed(records, self._chain)

    def tried(self, records: Sequence[FailureRecord], *, is_new: bool) -> tuple[FailureRecord, ...]:
        """The first start was tried again and would fail; return the failures that hold now, those of its fallbacks too."""
        first = self._chain[0].config
        if is_new:
            if self._causes <= _MOST_CAUSES:  # else no record of it was made
                self._note_end(self._found, "changed")
            self._found = tuple(records)
            self._causes += 1
            if self._causes <= _MOST_CAUSES:
                if self._log is not None:
                    self._log.failed(records)
                self._note("serving", records[:1], **self._serves)
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
        if self._log is not None:
            self._log.failed([record])
            self._log.note("ended", [record.id], how="survived")

    def serving(self, name: str, command: str, on_fallback: str, on_recover: str, launch: Launch) -> None:
        """The instance serves: record that, and run the command of ``on-fallback`` or ``on-recover``.

        ``name`` is that of its config, ``command`` its command line.
        """
        if self._chain:
            first = self._chain[0]
            self._serves = {"when": time.time(), "fallback": name, "pid": os.getpid()}
            self._note("serving", self._chain, **self._serves)
            if on_fallback:
                from arun.instance.failure_log import fields_of

                told = {"event": "fallback", "fallback": name, **fields_of(first)}
                told["failures"] = [fields_of(one) for one in self._chain]
                self._tell("on-fallback", on_fallback, told, launch)
            return
        ended = [one for one in self._earlier if not one.ended]
        if not self._earlier:
            self._settle(command, "restarted")
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
                from arun.instance.failure_log import fields_of

                told = {"event": "recover", **fields_of(first), "failures": [fields_of(one) for one in ended]}
                self._tell("on-recover", on_recover, told, launch)

    def returning(self) -> tuple[FailureRecord, ...]:
        """Return what the first start of the chain is to know, which is tried again: all failures so far."""
        return (*self._earlier, *self._chain, *self._found)[-_EARLIER_KEPT:]

    def over(self, how: str, records: Sequence[FailureRecord] = ()) -> None:
        """The process ends, and the outage with it: it was ``stopped``, or has ``exited``."""
        self._note_end((*self._chain, *self._found, *records), how)
        if self._notices is not None:
            self._notices.cut()

    def _end(self, how: str) -> None:
        """End the outage that was going on when the first start was tried again."""
        self._note_end([one for one in self._earlier if not one.ended], how)
        now = time.time()
        self._earlier = tuple(one if one.ended else one._replace(ended=how, ended_when=now) for one in self._earlier)

    def _note_end(self, records: Sequence[FailureRecord], how: str) -> None:
        for id_, tries in {one.id: one.tries for one in records}.items():
            if self._log is not None:
                more: dict[str, Any] = {"tries": tries} if tries else {}
                self._log.note("ended", [id_], how=how, **more)

    def _note(self, event: str, records: Sequence[FailureRecord], **fields: Any) -> None:
        if self._log is not None:
            self._log.note(event, [one.id for one in records], **fields)

    def _settle(self, command: str, how: str) -> None:
        if self._log is not None:
            self._log.settle(command, how)


def _failure_log(directory: str) -> FailureLog:
    from arun.instance.failure_log import FailureLog

    return FailureLog(directory)
