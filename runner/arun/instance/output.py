"""Where the lines of an instance go, and whether it runs in the background: what ``log-file`` and ``daemonize`` name."""

from __future__ import annotations

import os

from arun.system import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arun.settings import Settings
    from arun.system.daemon import WaitingCommand
    from arun.system.log_file import LogFile

__all__ = ("Output",)


class Output:
    """Standard output and standard error of the process: the log file that they go to, if there is one.

    Args:
        path: the log file that a predecessor has opened, or empty.
        is_detached: a predecessor has gone to the background.
    """

    def __init__(self, path: str = "", *, is_detached: bool = False) -> None:
        self.is_detached = is_detached
        self._file: LogFile | None = None
        if path:
            self._file = _log_file(path)

    @property
    def path(self) -> str:
        """The absolute path of the log file; empty where standard error is what it was at the start."""
        return "" if self._file is None else self._file.path

    def reopen(self) -> None:
        """Open the log file again, if there is one: it was moved."""
        if self._file is not None:
            self._file.reopen()

    def take(self, settings: Settings, directory: str, *, is_fallback: bool) -> WaitingCommand | None:
        """Direct standard output and standard error as the settings ask, and detach the process if they do.

        A successor stays in the foreground or background where it is: its pid would be another one. Relative paths count
        from ``directory``. Returns the command that waits for the start of a process that has been detached.

        Raises:
            StartupFailure: the log file cannot be opened, or the system allows no further process.
        """
        detaches = bool(settings.daemonize) and not self.is_detached
        if detaches and (is_fallback or os.getpid() == 1):
            what = "a fallback" if is_fallback else "process 1"
            logs.warning(f"daemonize: {what} stays in the foreground, as its pid must not change")
            detaches = False
        name = "log_file" if settings.log_file not in {None, "-"} else "daemonize"
        named: str | None = getattr(settings, name)
        if not named:
            return None
        path = os.path.join(directory, named)
        if self.path == path:
            return None  # a predecessor has opened it
        file = _log_file(path)
        file.open(origin=settings.origin(name))
        command = None
        if detaches:
            from arun.system import daemon

            command = daemon.detach(file, origin=settings.origin("daemonize"))
            self.is_detached = True
        else:
            file.take_streams()
        logs.set_format()
        self._file = file
        return command


def _log_file(path: str) -> LogFile:
    from arun.system.log_file import LogFile

    return LogFile(path)
