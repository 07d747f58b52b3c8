"""The failure log: ``failures.jsonl`` in the state directory of an instance, one JSON line for each failed start.

A start that fails is an event ``failed`` with the whole record. What became of it follows as events with its id:
``serving`` when a fallback serves in its place, ``ended`` when the outage is over (``recovered``, ``failed again``,
``stopped``, ``exited``, ``restarted``), when a try of the start has found another cause (``changed``), or never began (``survived``: a reload has failed, or a worker, and the instance goes on). Readers merge them. A line is added by one write at the end of the file, so that several
instances may share a directory. What cannot be written is warned of once, and holds back neither a start nor an exec.
"""

from __future__ import annotations

import errno
import os
import time

from arun.system import links, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from arun.core.failures import FailureRecord
    from arun.system.privileges import Identity

__all__ = ("FILE", "FailureLog", "fields_of", "merged", "problem", "read", "rfc3339")

FILE = "failures.jsonl"
#: The file is rewritten where a start or a write finds more than so many bytes in it; then it keeps the last records, in half of them.
_MOST_BYTES = 1_048_576
_MOST_RECORDS = 200
#: Bytes at the end of the file in which a start looks for outages that no process has ended.
_SETTLED = 131_072
#: Mode of the folder and of the file: records may tell more of an app than its visitors should know.
_FOLDER_MODE, _FILE_MODE = 0o750, 0o640
#: Times that a lock is tried, and seconds between two of them: an instance that rewrites the file has it for milliseconds.
_TRIES, _PAUSE = 10, 0.005


class FailureLog:
    """The file in this state directory, by its absolute path; open from the start on."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._fd = -1
        self._has_warned = False

    @property
    def path(self) -> str:
        """The path of the file."""
        return os.path.join(self.directory, FILE)

    def open(self, directory: str, identity: Identity | None = None) -> None:
        """Open the file in this directory, which is made where it is missing, and shorten it if it is long.

        ``identity`` is what the process is going to be: what root makes here is given to it.
        """
        if directory != self.directory:
            self.close()
            self.directory = directory
        if self._fd >= 0:
            return
        import fcntl  # noqa: F401 - what writing needs

        try:
            is_new = not os.path.isdir(directory)
            if is_new:
                os.makedirs(directory, _FOLDER_MODE)
            self._fd = self._opened()
            if identity is not None and os.geteuid() == 0:
                os.fchown(self._fd, identity.uid, identity.gid)
                if is_new:
                    os.chown(directory, identity.uid, identity.gid)
            self._shorten()
        except (OSError, ValueError) as error:
            self._warn(error)

    def failed(self, records: Sequence[FailureRecord], chain: Iterable[FailureRecord] = ()) -> None:
        """Record that a start has failed, with all its problems; ``chain`` are the failures before it in its chain."""
        if records:
            first, *others = records
            fields = fields_of(first, chain)
            if others:
                fields["problems"] = [problem(one) for one in others]
            self._add("failed", fields)

    def note(self, event: str, ids: Iterable[str], *, when: float | None = None, **fields: object) -> None:
        """Record what became of failed starts, now or ``when``, in seconds of the epoch."""
        moment = rfc3339(time.time() if when is None else when)
        for one in dict.fromkeys(filter(None, ids)):
            self._add(event, {"id": one, "time": moment, **fields})

    def settle(self, command: str, how: str) -> None:
        """End the outages of this command line that no process has ended: it was killed, or the machine was switched off."""
        if self._fd < 0:
            return
        try:
            size = os.fstat(self._fd).st_size
            tail = os.pread(self._fd, _SETTLED, max(0, size - _SETTLED)) if size else b""
            records = merged(tail.splitlines())
        except (OSError, ValueError) as error:
            self._warn(error)
            return
        self.note(
            "ended", [one["id"] for one in records if one.get("command") == command and "ended" not in one], how=how
        )

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        return links.open_file(self.path, flags, _FILE_MODE)

    def _warn(self, error: BaseException) -> None:
        if not self._has_warned:
            self._has_warned = True
            reason = getattr(error, "strerror", None) or error
            logs.warning(f"the failure log {self.path} cannot be written: {reason}; this is told once")

    def _add(self, event: str, fields: dict[str, Any]) -> None:
        """Add a line. It raises nothing, and waits for nothing longer than a rewriting takes."""
        try:
            import json

            line = json.dumps({"event": event, **fields}, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
            self._write(line)
            self._shorten()
        except Exception as error:  # noqa: BLE001 - a full disk, a folder that is gone, memory: the way out goes on
            self._warn(error)

    def _write(self, line: bytes) -> None:
        import fcntl

        if self._fd < 0:
            self._fd = self._opened()
        self._lock(fcntl.LOCK_SH)
        try:
            if self._was_replaced():
                self.close()
                self._fd = self._opened()
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last one was torn: the disk was full, or the power gone
            _write_whole(self._fd, line)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self, how: int) -> bool:
        import fcntl

        for count in range(_TRIES):
            try:
                fcntl.flock(self._fd, how | fcntl.LOCK_NB)
            except OSError:
                if count < _TRIES - 1:
                    time.sleep(_PAUSE)
            else:
                return True
        return False

    def _was_replaced(self) -> bool:
        """Return whether the path leads to another file by now: another instance has rewritten it, or it was removed."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return True
        ours = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _shorten(self) -> None:
        """Keep the newest records of a long file, in a new one that takes its place."""
        import fcntl

        if os.fstat(self._fd).st_size <= _MOST_BYTES:
            return
        if not self._lock(fcntl.LOCK_EX) or self._was_replaced():
            return  # another instance is at it
        try:
            size = os.fstat(self._fd).st_size
            kept = _newest(os.pread(self._fd, size, 0))
            status = os.fstat(self._fd)
            beside = f"{self.path}.{os.getpid()}"
            fd = links.open_file(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
            try:
                _write_whole(fd, kept)
                if os.geteuid() == 0:
                    os.fchown(fd, status.st_uid, status.st_gid)
                os.fchmod(fd, status.st_mode & 0o777)
                os.replace(beside, self.path)
            except OSError:
                os.unlink(beside)
                raise
            finally:
                os.close(fd)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.close()
        self._fd = self._opened()


def _write_whole(fd: int, content: bytes) -> None:
    if os.write(fd, content) < len(content):  # the rest would meet what the system has against it, or other lines
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(directory: str) -> list[dict[str, Any]]:
    """Return the records of a state directory with what became of them, the oldest first.

    Lines that are torn or that no arun has written are passed over.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        with open(os.path.join(directory, FILE), "rb") as file:
            return merged(file.read().splitlines())
    except FileNotFoundError:
        return []


def merged(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the records among these lines, each with the later events of its id in it."""
    found: dict[str, dict[str, Any]] = {}
    for event in map(_event, lines):
        if event is None:
            continue
        name, one = event.pop("event"), str(event.pop("id"))
        if name == "failed":
            found[one] = {"id": one, **event}
        elif one in found and name == "serving":
            found[one]["fallback"] = event
        elif one in found and name == "ended":
            found[one] |= {"ended": event.get("how", ""), "ended_time": event.get("time", "")}
            found[one] |= {"tries": event["tries"]} if "tries" in event else {}
    return list(found.values())


def _event(line: bytes) -> dict[str, Any] | None:
    import json

    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event and "id" in event else None


def _newest(content: bytes) -> bytes:
    """Return the last records of a file with what belongs to them, as much as may stay."""
    import json

    records = merged(content.splitlines())
    kept, size = list[bytes](), 0
    for record in reversed(records[-_MOST_RECORDS:]):
        fallback, ended, when = (record.pop(name, None) for name in ("fallback", "ended", "ended_time"))
        events = [{"event": "failed", **record}]
        if fallback:
            events.append({"event": "serving", "id": record["id"], **fallback})
        if ended:
            tries = {"tries": record["tries"]} if record.get("tries") else {}
            events.append({"event": "ended", "id": record["id"], "time": when, "how": ended, **tries})
        lines = "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events)
        encoded = lines.encode(errors="backslashreplace")
        size += len(encoded)
        if size > _MOST_BYTES // 2:
            break
        kept.append(encoded)
    return b"".join(reversed(kept))


def fields_of(record: FailureRecord, chain: Iterable[FailureRecord] = ()) -> dict[str, Any]:
    """Return a record as it is kept and shown to programs; ``chain`` are the failures before it in its chain."""
    fields = {
        "id": record.id,
        "time": rfc3339(record.when),
        "identifier": record.identifier,
        "stage": record.stage,
        "sentence": record.sentence,
        "origin": record.origin,
        "hint": record.hint,
        "traceback": record.detail,
        "config": record.config,
        "command": record.command,
        "pid": record.pid,
        "duration": round(record.duration, 3),
        "tries": record.tries,
        "versions": dict(record.versions),
        "chain": [problem(one) | {"id": one.id, "config": one.config} for one in chain],
    }
    if record.ended:
        fields |= {"ended": record.ended, "ended_time": rfc3339(record.ended_when)}
    return fields


def problem(record: FailureRecord) -> dict[str, str]:
    """Return what is told of one of several problems of a start."""
    return {
        "identifier": record.identifier,
        "sentence": record.sentence,
        "origin": record.origin,
        "hint": record.hint,
    }


def rfc3339(when: float) -> str:
    """Return a time in seconds since the epoch as a timestamp in UTC with milliseconds (RFC 3339)."""
    whole = int(when)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((when - whole) * 1000):03}Z"
