"""Where the lines of an instance go, and whether it goes to the background: what ``log-file`` and ``daemonize`` say."""

from __future__ import annotations

import os

from arun.system import logs
from arun.system.log_file import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.lifecycle.fallback import Attempt
    from arun.settings import Settings

__all__ = ("take",)


def take(attempt: Attempt, chosen: Settings) -> None:
    """Let standard output and standard error go where the settings say, and detach the process if they say so.

    A successor stays where it is: its pid would be another one. Relative paths count from the starting directory.

    Raises:
        StartupFailure(FILE_UNUSABLE): the log file cannot be opened.
        StartupFailure(DETACH_FAILED): the system allows no further process.
    """
    detaches = bool(chosen.daemonize) and not attempt.is_detached
    if detaches and (attempt.is_fallback or os.getpid() == 1):
        who = "a fallback" if attempt.is_fallback else "process 1"
        logs.warning(f"daemonize: {who} stays in the foreground, whoever waits for it would lose it")
        detaches = False
    name = "log_file" if chosen.log_file not in {None, "-"} else "daemonize"
    named: str | None = getattr(chosen, name)
    if not named:
        return
    path = os.path.join(attempt.program.cwd, named)
    if attempt.log_file is not None and attempt.log_file.path == path:
        return  # a predecessor has opened it
    log_file = LogFile(path)
    log_file.open(origin=chosen.origin(name))
    if detaches:
        from arun.system import daemon

        attempt.command = daemon.detach(log_file, origin=chosen.origin("daemonize"))
        attempt.is_detached = True
    else:
        log_file.take_streams()
    attempt.log_file = log_file
