"""The way back: when a fallback tries its primary again, and what follows. Nothing here blocks; ``tick`` does what is due.

The first try comes soon after the fallback serves: its failure says which files to watch and which addresses to wait for.
Then a try follows when one of them changes (watch), when an address is free or answers again (cause), after an interval that
doubles (every), and on SIGHUP. A try is a probe in a process of its own (recovery/prober.py), one at a time; where it succeeds,
the process goes back. Where the primary then fails all the same, the brake holds the next return back.
"""

from __future__ import annotations

import math
import os
import time

from arun.core import addresses
from arun.core.failures import START_TIMEOUT, WORKER_DIED, StartupFailure
from arun.core.listen_spec import ListenSpec
from arun.instance.recovery_policy import Brake, RecoverPolicy, RecoveryState
from arun.listen import socket_files, sockets
from arun.recovery.awaited import Knock
from arun.recovery.watched import changed_since, signature
from arun.system import logs, tracebacks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arun.core.failures import FailureRecord
    from arun.instance.instance import Instance
    from arun.recovery.awaited import Awaited
    from arun.recovery.prober import Probe
    from arun.recovery.watched import Signature

__all__ = ("Recovery",)

#: Seconds between two looks at a probe that runs, at what is watched, and at what is awaited.
_PROBE_LOOK, _WATCH_LOOK, _CAUSE_LOOK = 0.02, 0.25, 0.5
#: Seconds from which on a probe takes long.
_LONG = 1.0
#: The part of its time that looking at what is watched may take.
_WATCH_PART = 0.01
#: The part by which an interval may be longer or shorter: many instances that lost one database do not come at once.
_JITTER = 0.1
#: So many tries may follow each other at once where something changes again and again, then one in so many seconds.
_TRIES, _SECONDS_PER_TRY = 8, 6.0
#: Nanoseconds by which the time of a file may lie behind the clock (a tick of the kernel).
_FILE_CLOCK = 20_000_000
#: Failures whose sentence says in which process they were noticed, and of which there is one kind only.
_WORDLESS = frozenset({WORKER_DIED.identifier, START_TIMEOUT.identifier})
#: A path that has changed during so many probes in a row is changed by the start itself.
_OWN_CHANGES = 3


class Recovery:
    """The way back of one fallback.

    Args:
        policy: when it is tried.
        brake: what holds it back.
        start: starts a probe.
        held: where the fallback listens.
        records: the failures of the primary, as they were told.
        instance: the instance that the fallback is; it is told of failures and of the state, and goes back.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it stands between
        self,
        policy: RecoverPolicy,
        brake: Brake,
        start: Callable[[], Probe],
        held: Callable[[], Sequence[ListenSpec]],
        records: Sequence[FailureRecord],
        instance: Instance,
    ) -> None:
        now = time.monotonic()
        self._policy, self._start, self._held, self._instance = policy, start, held, instance
        self._known = _essence(records)
        self._free_from = now + brake.first_try(policy)
        self._probe: Probe | None = None
        self._is_asked = self._was_asked = self._restarts = self._again = self._is_over = False
        self._attempts = self._failed = 0
        #: What was said of why a tick failed.
        self._warned = ""
        self._watch = _Watch()
        self._causes = _Causes()
        #: When the next try is due whatever happens, on the monotonic clock.
        self._due = self._free_from if policy.is_automatic else math.inf
        self._budget = _Budget()
        self._tell()

    def ask(self) -> None:
        """Try at once, as SIGHUP asks; a probe that runs begins anew. Handlers of signals may call it."""
        self._is_asked = True

    def end(self) -> None:
        """Try no more: the process stops, or becomes another one. A probe that runs is asked to end."""
        self._is_over = True
        self._causes.close()
        if self._probe is not None:
            self._probe.end()

    def pause(self) -> None:
        """End a probe that runs; it is tried again at once, unless the process becomes another one."""
        if self._probe is not None:
            self._restarts = True
            self._due = 0.0
            self._probe.end()

    def forget(self) -> None:
        """Close what a forked child has inherited."""
        self._causes.close()
        if self._probe is not None:
            self._probe.forget()

    def tick(self) -> float:
        """Do what is due; return in how many seconds something is due again."""
        try:
            return self._tick(time.monotonic())
        except Exception as error:  # noqa: BLE001 - a fallback serves on, whatever happens here
            why = tracebacks.described(error)
            if why != self._warned:
                self._warned = why
                logs.warning(f"the way back is tried later: {why}")
            self._failed += 1
            self._free_from = self._due = time.monotonic() + self._policy.wait(self._failed)
            return self._due - time.monotonic()

    def _tick(self, now: float) -> float:
        if self._probe is not None:
            if self._is_asked and not self._restarts:
                self._restarts = True
                self._probe.end()
            if not self._probe.is_over():
                self._look_at_hanging(self._probe, now)
                return _PROBE_LOOK
            probe, self._probe = self._probe, None
            if not (self._is_over or self._restarts):
                self._take(probe, now)
        if self._is_over:
            return math.inf
        if self._is_asked or self._is_due(now):
            self._try()
            return _PROBE_LOOK
        return max(0.0, self._next(now))

    def _look_at_hanging(self, probe: Probe, now: float) -> None:
        """Begin anew where something changes while a probe takes long: it may hang in what is mended by now."""
        if "watch" not in self._policy.ways or self._restarts or now - probe.began < _LONG:
            return
        self._watch.add(probe.reports.reads)
        if self._watch.has_changed(now) and self._budget.spend(now):
            self.pause()

    def _is_due(self, now: float) -> bool:
        """Return whether one of the ways leads to a try now."""
        if now < self._free_from:
            return False
        if now >= self._due:
            return True
        changed = self._watch.has_changed(now) if "watch" in self._policy.ways else False
        over = self._causes.are_over(now) if "cause" in self._policy.ways else False
        if over:
            self._failed = 0  # what it waited for may need a moment more
        self._again = self._again or changed or over
        return self._again and self._budget.spend(now)

    def _next(self, now: float) -> float:
        looks = [self._due]
        if "watch" in self._policy.ways:
            looks.append(self._watch.next_look)
        if "cause" in self._policy.ways:
            looks.append(self._causes.next_look)
        if self._again:
            looks.append(now + _CAUSE_LOOK)
        return max(min(looks), self._free_from) - now

    def _try(self) -> None:
        self._was_asked = self._is_asked
        self._is_asked = self._restarts = self._again = False
        self._attempts += 1
        self._due = math.inf
        self._probe = self._start()
        self._tell()

    def _take(self, probe: Probe, now: float) -> None:
        """Go back, or note why that is of no use yet."""
        reports, failure = probe.reports, probe.failure
        if reports.is_ready and failure is None:
            tries = "" if self._attempts == 1 else f", tried {self._attempts} times"
            logs.info(f"arun: the first start works again{tries}")
            self._is_over = True
            self._causes.close()
            self._instance.signals.go_back()
            return
        if (
            tuple(self._held()) != probe.held
        ):  # what the probe found busy may be this fallback itself, which has bound it since
            self._again = True
            self._due = min(self._due, now + self._policy.wait(self._failed))
            self._tell()
            return
        records = reports.records if failure is None else (self._instance.record_of_first(failure),)
        essence = _essence(records)
        is_new, self._known = essence != self._known, essence
        self._instance.still_failing(records, is_new=is_new, is_asked=self._was_asked)
        self._watch.take(reports.watched if failure is None else reports.reads, reports.reads)
        self._causes.take(reports.awaited, reports.busy)
        self._again = self._watch.changed_during(probe.began_at) and "watch" in self._policy.ways
        self._due = math.inf
        if "every" in self._policy.ways:
            self._due = now + _jittered(self._policy.wait(self._failed))
        self._failed += 1
        self._tell()

    def _tell(self) -> None:
        next_try = None if self._probe is None else time.time()
        if self._due < math.inf:
            next_try = time.time() + max(self._due, self._free_from) - time.monotonic()
        self._instance.status.recovering(RecoveryState(next_try, self._attempts, self._probe is not None))


def _jittered(seconds: float) -> float:
    return seconds * (1 + _JITTER * (os.urandom(1)[0] - 127.5) / 127.5)


def _essence(records: Sequence[FailureRecord]) -> tuple[tuple[str, str], ...]:
    """Return what makes two failures the same one."""
    return tuple(
        (record.identifier, "" if record.identifier in _WORDLESS else _without_places(record.sentence))
        for record in records
    )


def _without_places(sentence: str) -> str:
    """Return a sentence without the addresses of objects in memory, which are others in each process."""
    first, *more = sentence.split("0x")
    return "0x".join([first, *(text.lstrip("0123456789abcdefABCDEF") for text in more)])


class _Budget:
    """How many tries may follow each other because of something that changes again and again."""

    def __init__(self) -> None:
        self._left, self._at = float(_TRIES), time.monotonic()

    def spend(self, now: float) -> bool:
        """Return whether there is one left, and take it."""
        self._left, self._at = min(_TRIES, self._left + (now - self._at) / _SECONDS_PER_TRY), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _Watch:
    """The paths that a failed try read. The more they are, the less often they are looked at."""

    def __init__(self) -> None:
        self._seen: dict[str, Signature] = {}
        #: Those that were something else before the last probe read them, or before it ended: links that were switched, too.
        self._differing: set[str] = set()
        #: During how many probes in a row a path has changed.
        self._changes: dict[str, int] = {}
        self.next_look = math.inf

    def take(self, seen: dict[str, Signature], reads: dict[str, Signature]) -> None:
        """Watch these paths from now on, in place of those before; ``reads`` is how a probe found some as it began."""
        before = reads | self._seen
        self._differing = {path for path, signed in seen.items() if before.get(path, signed) != signed}
        self._seen = dict(seen)
        self.next_look = time.monotonic() + _WATCH_LOOK if seen else math.inf

    def add(self, reads: dict[str, Signature]) -> None:
        """Watch these paths as well, until others are taken."""
        if not reads.keys() <= self._seen.keys():
            self._seen = reads | self._seen
            self.next_look = min(self.next_look, time.monotonic() + _WATCH_LOOK)

    def has_changed(self, now: float) -> bool:
        """Return whether one of them has changed since the last look; looked at as often as ``next_look`` says."""
        if now < self.next_look:
            return False
        changed = [path for path, signed in self._seen.items() if signature(path) != signed]
        self._seen.update((path, signature(path)) for path in changed)
        done = time.monotonic()
        self.next_look = done + max(_WATCH_LOOK, (done - now) / _WATCH_PART)
        return bool(changed)

    def changed_during(self, moment: int) -> bool:
        """Return whether one has changed since the probe began, in nanoseconds of the epoch: it may have read what was before.

        What changes in each probe is changed by the start itself, and does not count.
        """
        changed = {path for path, signed in self._seen.items() if changed_since(signed, moment - _FILE_CLOCK)}
        changed |= self._differing
        self._changes = {path: self._changes.get(path, 0) + 1 for path in changed}
        return any(self._changes[path] <= _OWN_CHANGES for path in changed)


class _Causes:
    """What is over when a cause is gone: busy addresses that are free, addresses that refused and answer."""

    def __init__(self) -> None:
        self._awaited: list[Awaited] = []
        self._busy: list[addresses.Address] = []
        #: Those that were seen to refuse since the last try.
        self._refusing: set[Awaited] = set()
        #: Those that answered at once after a try that had failed over them, so that another one followed. Where that is so
        #: again they are not the cause, unless they refuse first.
        self._doubtful: set[Awaited] = set()
        self._knocks: dict[Awaited, Knock] = {}
        self.next_look = math.inf

    def take(self, awaited: Sequence[Awaited], busy: Sequence[str]) -> None:
        """Wait for these from now on, in place of those before."""
        self.close()
        self._awaited, self._busy = list(awaited), [addresses.parse(text) for text in busy]
        self._refusing.clear()
        self._doubtful &= set(awaited)
        self.next_look = time.monotonic() + _CAUSE_LOOK if awaited or busy else math.inf

    def are_over(self, now: float) -> bool:
        """Return whether one of them is over; looked at as often as ``next_look`` says."""
        if now < self.next_look:
            return False
        self.next_look = now + _CAUSE_LOOK
        return any([*map(self._is_back, self._awaited), *map(_is_free, self._busy)])

    def _is_back(self, one: Awaited) -> bool:
        answers = self._answers(one)
        if answers is False:
            self._refusing.add(one)
            self._doubtful.discard(one)
        if not answers or one in self._doubtful:
            return False
        if one not in self._refusing:
            self._doubtful.add(one)
        return True

    def close(self) -> None:
        """Close the connections that are being made."""
        while self._knocks:
            self._knocks.popitem()[1].close()

    def _answers(self, one: Awaited) -> bool | None:
        """Return whether a connection to it can be made; None while that is not known."""
        knock = self._knocks.pop(one, None) or Knock(one)
        answers = knock.answers()
        if answers is None:
            self._knocks[one] = knock
        else:
            knock.close()
        return answers


def _is_free(address: addresses.Address) -> bool:
    """Return whether an address that was busy can be bound now; nothing is."""
    spec = ListenSpec(address)
    try:
        if isinstance(address, addresses.Unix) and not address.is_abstract:
            socket_files.look(address, "")
            return True
        bound = sockets.bind_again(address, spec, sockets.Options(listen=False))
    except (OSError, StartupFailure):
        return False
    if bound is None:
        return False
    bound.socket.close()
    return True
