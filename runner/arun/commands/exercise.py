"""One exercise of a drill: a start that fails on purpose, the fallback that answers, the fault mended, and the way back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

from arun.commands import trials
from arun.commands.drill_client import Client
from arun.core.values import Value
from arun.settings.declaration import declared
from arun.settings.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from arun.commands.drill_configs import Copies
    from arun.instance.configuration import Configuration

__all__ = ("KINDS", "Course", "Exercise")

#: What is made to fail, and the identifier of that failure.
KINDS = {
    "bind": "address-in-use",
    "config": "option-unknown",
    "app": "app-import-failed",
    "startup": "app-startup-failed",
    "crash-loop": "crash-loop",
}
#: Seconds that a start may take to fail or to serve, that the way back may take by itself, and that a stop may take.
_PATIENCE, _BY_ITSELF, _ENDING = 30.0, 10.0, 15.0
#: Seconds in which a fallback that serves has answered a client.
_SOON = 3.0
_APP = """
import asyncio, os
{fault}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            {startup}
            await send({{"type": "lifespan.startup.complete"}})
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}})
        await send({{"type": "http.response.body", "body": b"arun drill: the app answers"}})
"""
#: The app of each failure, as long as it is broken.
_FAULTS = {
    "app": {"fault": "raise RuntimeError('arun drill: broken on purpose')", "startup": "pass"},
    "startup": {"fault": "", "startup": "raise RuntimeError('arun drill: broken on purpose')"},
    "crash-loop": {"fault": "", "startup": "asyncio.get_running_loop().call_later(0.05, os._exit, 3)"},
}
_SOUND = {"fault": "", "startup": "pass"}
#: Lines of its log that are shown of a start whose drill failed.
_MOST_SHOWN = 30


class Course(Value):
    """How an exercise went.

    ``answered_after`` are the seconds from the end of the failed start to the response of the fallback, ``back_after`` those
    from the mending to the first response of the start that was mended; None where none came. ``was_asked``: it went back on
    SIGHUP only. ``cut`` are connections that ended without a response. ``log`` are the last lines of a start with faults.
    """

    kind: str
    identifier: str = ""
    fallbacks: tuple[str, ...] = ()
    answered_after: float | None = None
    status: int = 0
    words: str = ""
    refused: int = 0
    cut: int = 0
    back_after: float | None = None
    was_asked: bool = False
    faults: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether everything went as it should."""
        return not self.faults


class _Log:
    """The events that a process logs as JSON, with the time of each; read by a thread of its own.

    What is no event of arun's (a print of the app, a traceback of the interpreter) is kept as a message.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._entries: list[tuple[float, dict[str, Any]]] = []
        self._news = threading.Condition()
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def first(self, event: str, seconds: float = 0.0, since: float = 0.0) -> float | None:
        """Return when the event came, after ``since``; None where it does not in so many seconds, or the process ends."""
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                found = next((at for at, one in self._entries if at > since and one.get("event") == event), None)
                left = deadline - time.monotonic()
                if found is not None or left <= 0 or not self._thread.is_alive():
                    return found
                self._news.wait(min(left, 0.5))

    def of(self, event: str, field: str) -> tuple[str, ...]:
        """Return this field of each such event."""
        with self._news:
            return tuple(str(one[field]) for _, one in self._entries if one.get("event") == event)

    def lines(self) -> tuple[str, ...]:
        """Return the last of what went wrong, as people read it; all that it said where nothing did."""
        with self._news:
            told = [one for _, one in self._entries]
        told = [one for one in told if one.get("level") != "info"] or told
        texts = [f"{one['message']}\n{one.get('traceback', '')}" for one in told]
        return tuple(line for line in "\n".join(texts).splitlines() if line.strip())[-_MOST_SHOWN:]

    def _read(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it is a pipe
        for line in self._process.stderr:
            one = _read_entry(line.decode(errors="replace").rstrip("\n"))
            with self._news:
                self._entries.append((time.monotonic(), one))
                self._news.notify_all()


def _read_entry(line: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        one = json.loads(line)
        if isinstance(one, dict) and "message" in one:
            return one
    return {"message": line}


class Exercise:
    """One failure, to be tried once.

    Args:
        kind: what is to fail, one of KINDS.
        configuration: of the instance.
        copies: of its configs.
        fallback: the copy of its fallback config.
    """

    def __init__(self, kind: str, configuration: Configuration, copies: Copies, fallback: str) -> None:
        self._kind = kind
        self._settings = configuration.settings
        self._directory = configuration.directory
        self._copies = copies
        self._fallback = fallback
        self._holder = socket.socket()

    def run(self) -> Course:
        """Let it fail, and see what comes of it; nothing is left afterwards."""
        with self._holder:
            arguments = self._break()
            address, is_secure = self._copies.listens(self._settings)
            client = Client(address, secure=is_secure)
            try:
                process = self._start(arguments)
                try:
                    return self._observed(process, _Log(process), client)
                finally:
                    _end(process)
            finally:
                client.close()

    # ---- what is broken, and mended

    def _break(self) -> Sequence[str]:
        """Prepare what is to fail; return the arguments of the start."""
        changes: dict[str, Any] = {}
        more: tuple[str, ...] = ()
        if self._kind == "bind":
            self._holder.bind(("127.0.0.1", 0))
            self._holder.listen()
            changes["bind"] = [f"127.0.0.1:{self._holder.getsockname()[1]}"]
        else:
            changes["app"] = self._write_app(_FAULTS.get(self._kind, _SOUND))
        if self._kind == "config":
            more = (self._copies.write("broken.ini", "[arun]\nbroken-on-purpose = 1\n"),)
        if self._kind == "crash-loop":
            changes |= {"supervise": "true", "crash-limit": "2"}
        keeps_app = self._kind == "bind"
        return (self._copies.primary(self._settings, self._fallback, changes, keeps_app=keeps_app), *more)

    def _mend(self) -> None:
        if self._kind == "bind":
            self._holder.close()
        elif self._kind == "config":
            self._copies.write("broken.ini", "[arun]\n")
        else:
            self._write_app(_SOUND)

    def _write_app(self, parts: dict[str, str]) -> str:
        return self._copies.write("drill_app.py", _APP.format(**parts))

    # ---- what comes of it

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in trials.environment().items() if not name.startswith("ARUN_")}
        for name in ("PORT", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "WEB_CONCURRENCY"):
            environ.pop(name, None)  # what it says is in the copies
        return subprocess.Popen(  # noqa: S603 - ourselves
            (*trials.command_of_arun(), "--log-format", "json", *arguments),
            cwd=self._directory,
            env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def _observed(self, process: subprocess.Popen[bytes], log: _Log, client: Client) -> Course:
        failed = log.first("exited", _PATIENCE)
        if failed is None:
            return self._course(log, client, faults=(f"the start did not fail within {_PATIENCE:.0f} s, or ended",))
        serves = log.first("listening", _PATIENCE, since=failed)
        answer = client.first(lambda one: one.ended > failed, _PATIENCE if serves is None else _SOON)
        faults = self._faults_of_fallback(log)
        if answer is None:
            elsewhere = "the fallback serves, but not where the start listens: its clients are refused"
            return self._course(log, client, faults=(*faults, "no answer came" if serves is None else elsewhere))
        answered = {"answered_after": answer.ended - failed, "status": answer.status, "words": answer.words}
        mended = time.monotonic()
        self._mend()
        back, was_asked = None, not _returns_by_itself(self._settings)
        if not was_asked:
            back = log.first("starting", _BY_ITSELF, since=mended)
        if back is None and process.poll() is None:
            was_asked = True
            process.send_signal(signal.SIGHUP)
            back = log.first("starting", _PATIENCE, since=mended)
        again = None if back is None else client.first(lambda one: one.ended > back, _PATIENCE)
        if again is None:
            faults += ("the start did not come back when its fault was mended",)
        elif was_asked and _returns_by_itself(self._settings):
            faults += (f"the start did not come back by itself within {_BY_ITSELF:.0f} s",)
        if back is not None and log.first("exited", since=back) is not None:
            faults += ("the start that was mended failed again",)
        after = None if again is None else again.ended - mended
        return self._course(log, client, faults=faults, back_after=after, was_asked=was_asked, **answered)

    def _faults_of_fallback(self, log: _Log) -> tuple[str, ...]:
        identifiers = log.of("failed", "identifier")
        if KINDS[self._kind] not in identifiers[:1]:
            return (f"it failed with {', '.join(identifiers) or 'nothing'} instead of {KINDS[self._kind]}",)
        if len(identifiers) > 1:
            return (f"the fallback failed too: {', '.join(identifiers[1:])}; run arun check",)
        return ()

    def _course(self, log: _Log, client: Client, faults: tuple[str, ...], **more: Any) -> Course:
        identifiers = log.of("failed", "identifier")
        if client.refused:
            faults += (f"{client.refused} connections were refused",)
        if client.cut and self._kind != "crash-loop":  # a worker that dies takes its connections along
            faults += (f"{client.cut} connections got no response",)
        return Course(
            self._kind,
            identifiers[0] if identifiers else "",
            log.of("fallback", "config"),
            refused=client.refused,
            cut=client.cut,
            faults=faults,
            log=log.lines() if faults else (),
            **more,
        )


def _returns_by_itself(settings: Settings) -> bool:
    if "recover" not in declared(Settings):
        return False
    return bool({"watch", "every", "cause"} & set(settings.value("recover")))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, which ends its own."""
    process.terminate()
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        for pid in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return list(map(int, file.read().split()))
    except OSError:
        return []
